"""Which of several servers takes a connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import psycopg2
import pytest
from psycopg2 import extensions

from core_service.storage import servers

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
WELCOME = b"".join(
    kind + (4 + len(rest)).to_bytes(4) + rest
    for kind, rest in (
        (b"R", bytes(4)),
        (b"S", b"client_encoding\0UTF8\0"),
        (b"S", b"DateStyle\0ISO\0"),
        (b"S", b"in_hot_standby\0off\0"),
        (b"S", b"default_transaction_read_only\0off\0"),
        (b"Z", b"I"),
    )
)
"""You are in; I take writes; go on."""


class Bereft:
    """A pooler whose server is gone: lets everybody in, and ends the conversation at the first statement."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.met = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                self.met += 1
                with taken:
                    if taken.recv(4096) == SSL_REQUEST:
                        taken.sendall(b"N")
                        taken.recv(4096)
                    taken.sendall(WELCOME)
                    taken.recv(4096)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def bereft() -> Iterator[Bereft]:
    with closing(Bereft()) as pooler:
        yield pooler


def beside(url: str, pooler: Bereft) -> str:
    """What names the pooler first and then the real server."""
    named = extensions.parse_dsn(url)
    named["host"] = f"127.0.0.1,{named['host']}"
    named["port"] = f"{pooler.port},{named['port']}"
    return str(extensions.make_dsn(**named))


def test_a_pooler_without_its_server_is_passed_over_and_not_asked_again(
    core_database: str, bereft: Bereft
) -> None:
    url = beside(core_database, bereft)
    with closing(psycopg2.connect(url, target_session_attrs="read-write")) as believed:
        assert believed.info.port == bereft.port
        with pytest.raises(psycopg2.OperationalError), believed.cursor() as cursor:
            cursor.execute("SELECT 1")
    met = bereft.met
    for _ in range(3):
        with closing(servers.connect(url)) as connection:
            assert connection.info.port != bereft.port
            assert connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
    assert bereft.met == met + 1


def test_the_others_are_asked_when_the_last_one_is_gone(core_database: str, bereft: Bereft) -> None:
    url = beside(core_database, bereft)
    servers._last[url] = {"host": "127.0.0.1", "port": str(bereft.port)}
    with closing(servers.connect(url)) as connection:
        assert connection.info.port != bereft.port


def test_a_server_that_takes_no_writes_will_not_do(core_database: str) -> None:
    named = extensions.parse_dsn(core_database)
    twice = {
        "host": f"{named['host']},{named['host']}",
        "options": "-c default_transaction_read_only=on",
    }
    with pytest.raises(psycopg2.OperationalError, match="takes no writes"):
        servers.connect(extensions.make_dsn(**{**named, **twice}))


def test_when_none_will_do_the_last_one_says_why(bereft: Bereft) -> None:
    url = f"postgresql://nobody@127.0.0.1:{bereft.port},127.0.0.1:1/nothing"
    with pytest.raises(psycopg2.OperationalError, match="port 1 failed: Connection refused"):
        servers.connect(url)
    assert bereft.met == 1


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("postgresql://a:1,b:2/d", ["1", "2"]),
        ("postgresql://a,b/d", ["", ""]),
        ("postgresql:///d?host=a,b&port=7", ["7", "7"]),
        ("postgresql://a/d", []),
        ("postgresql:///d", []),
        ("postgresql:///d?host=a,b&port=1,2,3", []),
        ("postgresql://a,b/d?hostaddr=127.0.0.1,127.0.0.2", []),
    ],
)
def test_hosts_and_ports_are_paired_as_the_library_does(url: str, ports: list[str]) -> None:
    expected = [{"host": host, "port": port} for host, port in zip("ab", ports, strict=False)]
    assert servers._servers(url) == expected
