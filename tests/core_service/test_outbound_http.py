"""The only door out, against real servers on loopback; names are resolved by the tests."""

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core_service import outbound_http
from core_service.outbound_http import (
    Answer,
    CallbackClient,
    OutboundError,
    OutboundKind,
    ProviderClient,
    is_public,
    parse_url,
    vet_url,
)
from tests.core_service.certificates import TestAuthority, new_authority, self_signed_context
from tests.core_service.raw_server import raw_server

LOOPBACK = (ipaddress.IPv4Network("127.0.0.0/8"),)


def ok(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nok")


class Names:
    """A resolver that knows what the test tells it and counts the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.questions: list[str] = []

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.questions.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def client() -> Iterator[CallbackClient]:
    """A client that may call loopback; every name is this machine."""
    with CallbackClient(LOOPBACK, resolver=Names(["127.0.0.1"])) as made:
        yield made


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every connection that is attempted."""
    seen: list[tuple[str, int]] = []
    real = outbound_http.connect_socket

    def watch(address: str, port: int, timeout_seconds: float) -> socket.socket:
        seen.append((address, port))
        return real(address, port, timeout_seconds)

    monkeypatch.setattr(outbound_http, "connect_socket", watch)
    return seen


def post(client: CallbackClient | ProviderClient, url: str, seconds: float = 5.0) -> Answer:
    return client.request("POST", url, headers={}, body=b"{}", timeout_seconds=seconds)


def refusal(
    client: CallbackClient | ProviderClient, url: str, seconds: float = 5.0
) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        post(client, url, seconds)
    return caught.value


# ---- what goes out and comes back ---------------------------------------------------------------


def test_sends_exactly_the_request_and_nothing_of_its_own(client: CallbackClient) -> None:
    with raw_server(ok) as server:
        url = f"http://shop.example:{server.port}/a%20b/支付?x=1&y=é"
        answer = client.request("POST", url, headers={"X-Mine": "1"}, body=b"{}", timeout_seconds=5)
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"ok", "1, 2")
    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /a%20b/%E6%94%AF%E4%BB%98?x=1&y=%C3%A9 HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Accept-Encoding: identity",
        "Content-Length: 2",
        f"Host: shop.example:{server.port}",
        "X-Mine: 1",
    ]


def test_ignores_the_proxy_of_the_environment(
    client: CallbackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with raw_server(ok) as server:
        assert post(client, f"http://shop.example:{server.port}/").status == 200


def test_keeps_the_connection_for_the_same_name_only(client: CallbackClient) -> None:
    with raw_server(ok) as server:
        for _ in range(3):
            post(client, f"http://one.example:{server.port}/")
        assert server.connections == 1
        post(client, f"http://two.example:{server.port}/")
        assert server.connections == 2


def test_a_connection_closed_by_the_other_side_is_not_used_again(client: CallbackClient) -> None:
    closed = threading.Event()

    def answer_and_leave(connection: socket.socket, head: bytes) -> None:
        ok(connection, head)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with raw_server(answer_and_leave) as server:
        for _ in range(3):
            assert post(client, f"http://shop.example:{server.port}/").status == 200
            assert closed.wait(5)
            closed.clear()


def test_m02_redirects_are_answers_and_never_followed(client: CallbackClient) -> None:
    def redirect(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n"
        )

    with raw_server(redirect) as server:
        answer = post(client, f"http://shop.example:{server.port}/")
    assert answer.status == 302
    assert len(server.heads) == 1


def test_v10_an_interim_answer_is_not_the_answer(client: CallbackClient) -> None:
    def hints_first(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        status = b"200 OK" if b"/first" in head else b"500 No"
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    with raw_server(hints_first) as server:
        address = f"http://shop.example:{server.port}"
        answers = [post(client, f"{address}/{path}") for path in ("first", "second", "first")]
    assert [answer.status for answer in answers] == [200, 500, 200]
    assert "link" not in answers[0].headers


def test_compressed_answers_stay_as_they_are(client: CallbackClient) -> None:
    def packed(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
        )

    with raw_server(packed) as server:
        answer = post(client, f"http://shop.example:{server.port}/")
    assert answer.body == b"\x1f\x8b\x08\x00"


# ---- limits -----------------------------------------------------------------------------------


def endless(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"2000\r\n" + b"x" * 8192 + b"\r\n")


def test_m05_of_an_endless_answer_a_little_is_kept(client: CallbackClient) -> None:
    with raw_server(endless) as server:
        answer = post(client, f"http://shop.example:{server.port}/")
    assert (answer.status, answer.body) == (200, b"x" * 4096)


def test_a_provider_answer_over_the_limit_is_no_answer() -> None:
    with raw_server(endless) as server, ProviderClient() as provider:
        error = refusal(provider, f"http://127.0.0.1:{server.port}/")
    assert (error.kind, error.request_sent) == (OutboundKind.TOO_LARGE, True)


@pytest.mark.timeout(30)  # without the deadline it would never end
@pytest.mark.parametrize(
    "beginning",
    [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
    ids=["status line", "headers", "body"],
)
def test_m01_a_dripping_answer_ends_at_the_deadline(
    client: CallbackClient, beginning: bytes
) -> None:
    stop = threading.Event()

    def drip(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(beginning)
        while not stop.wait(0.02):
            connection.sendall(b"H")

    with raw_server(drip) as server:
        error = refusal(client, f"http://shop.example:{server.port}/", 0.3)
        stop.set()
    assert (error.kind, error.request_sent) == (OutboundKind.TIMEOUT, True)


def test_silence_after_the_request_is_a_timeout(client: CallbackClient) -> None:
    with raw_server(lambda _connection, _head: None) as server:
        error = refusal(client, f"http://shop.example:{server.port}/", 0.2)
    assert (error.kind, error.request_sent) == (OutboundKind.TIMEOUT, True)


def test_a_slow_name_server_ends_at_the_deadline() -> None:
    release = threading.Event()

    def slow(_host: str, _port: int) -> Sequence[str]:
        release.wait(30)
        return ["127.0.0.1"]

    with ProviderClient(resolver=slow) as provider:
        error = refusal(provider, "http://shop.example/", 0.2)
        release.set()
    assert (error.kind, error.request_sent) == (OutboundKind.TIMEOUT, False)


def flood_of_interim_answers(connection: socket.socket, _head: bytes) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def flood_of_headers(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Long: " + b"x" * 60_000 + b"\r\n")


def flood_of_trailers(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n")
    while True:
        connection.sendall(b"a: b\r\n" * 1000)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("flood", [flood_of_interim_answers, flood_of_headers])
def test_m05_of_an_endless_head_a_little_is_read(
    client: CallbackClient, flood: Callable[[socket.socket, bytes], None]
) -> None:
    with raw_server(flood) as server:
        error = refusal(client, f"http://shop.example:{server.port}/", 30.0)
    assert (error.kind, error.request_sent) == (OutboundKind.TOO_LARGE, True)


@pytest.mark.timeout(60)
def test_m05_of_endless_trailers_a_little_is_read(client: CallbackClient) -> None:
    with raw_server(flood_of_trailers) as server:
        assert post(client, f"http://shop.example:{server.port}/", 30.0).status == 200


def test_a_name_that_never_resolves_holds_up_its_own_merchant_only() -> None:
    release = threading.Event()

    def resolve(host: str, _port: int) -> Sequence[str]:
        if host.endswith("silent.example"):
            release.wait(30)
        return ["127.0.0.1"]

    def call(client: CallbackClient | ProviderClient, host: str, share: str) -> None:
        url = f"http://{host}:{server.port}/"
        client.request("POST", url, headers={}, body=b"", timeout_seconds=5.0, share=share)

    with (
        raw_server(ok) as server,
        CallbackClient(LOOPBACK, resolver=resolve) as callbacks,
        ProviderClient(resolver=resolve) as provider,
        ThreadPoolExecutor(80) as merchants,
    ):
        lost = [
            merchants.submit(call, callbacks, f"{number}.silent.example", "silent")
            for number in range(80)  # more than may run in all
        ]
        call(callbacks, "shop.example", "honest")
        call(provider, "gateway.example", "")
        assert all(isinstance(one.exception(), OutboundError) for one in lost)
        call(callbacks, "other.example", "honest")
        release.set()


# ---- failures ---------------------------------------------------------------------------------


def test_connection_refused_was_not_sent(client: CallbackClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refusal(client, f"http://shop.example:{port}/")
    assert (error.kind, error.request_sent) == (OutboundKind.CONNECT, False)


def test_an_unknown_name_was_not_sent() -> None:
    def unknown(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with ProviderClient(resolver=unknown) as provider:
        error = refusal(provider, "http://nowhere.example/")
    assert (error.kind, error.request_sent) == (OutboundKind.CONNECT, False)


@pytest.mark.parametrize(
    "part",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"],
    ids=["before the answer", "in its middle"],
)
def test_m03_a_reset_may_have_had_its_effect(client: CallbackClient, part: bytes) -> None:
    def reset(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(part)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with raw_server(reset) as server:
        error = refusal(client, f"http://shop.example:{server.port}/")
    assert (error.kind, error.request_sent) == (OutboundKind.RESET, True)


def test_what_is_not_http_is_a_protocol_error(client: CallbackClient) -> None:
    def chatter(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"220 mail ready\r\n\r\n")

    with raw_server(chatter) as server:
        error = refusal(client, f"http://shop.example:{server.port}/")
    assert (error.kind, error.request_sent) == (OutboundKind.PROTOCOL, True)


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return new_authority(tmp_path)


def test_tls_with_the_right_name_passes_and_keeps_the_name(authority: TestAuthority) -> None:
    names = Names(["127.0.0.1"])
    context = authority.client_context()
    with (
        raw_server(ok, authority.server_context("shop.example")) as server,
        CallbackClient(LOOPBACK, resolver=names, ssl_context=context) as client,
    ):
        assert post(client, f"https://shop.example:{server.port}/").status == 200
        assert post(client, f"https://shop.example:{server.port}/").status == 200
        assert server.connections == 1


@pytest.mark.parametrize("fault", ["wrong name", "expired", "self-signed"])
def test_m06_bad_certificates_fail(authority: TestAuthority, tmp_path: Path, fault: str) -> None:
    served = {
        "wrong name": lambda: authority.server_context("other.example"),
        "expired": lambda: authority.server_context("shop.example", expired=True),
        "self-signed": lambda: self_signed_context(tmp_path, "shop.example"),
    }[fault]()
    with (
        raw_server(ok, served) as server,
        CallbackClient(
            LOOPBACK, resolver=Names(["127.0.0.1"]), ssl_context=authority.client_context()
        ) as client,
    ):
        error = refusal(client, f"https://shop.example:{server.port}/")
    assert (error.kind, error.request_sent) == (OutboundKind.TLS, False)
    assert server.heads == []


# ---- where callbacks may go -------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - never bound
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.8",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "fc00::1",
        "fe80::1",
        "ff02::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "4000::1",
    ],
)
def test_internal_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "203.0.112.1", "::ffff:8.8.8.8", "2606:4700::1111", "2400:3200::1"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_m08_v21_a_name_with_one_internal_address_is_never_called(
    connects: list[tuple[str, int]],
) -> None:
    for answers in (
        ["10.0.0.1"],
        ["1.1.1.1", "127.0.0.1"],
        ["::ffff:169.254.169.254"],
        ["fd00::1"],
    ):
        with CallbackClient(resolver=Names(answers)) as client:
            error = refusal(client, "http://shop.example/")
        assert (error.kind, error.request_sent) == (OutboundKind.FORBIDDEN, False)
    assert connects == []


def test_m08_rebinding_is_impossible_because_the_vetted_address_is_called(
    connects: list[tuple[str, int]],
) -> None:
    """The second answer of the name server would be internal; nobody asks for it."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    with raw_server(ok) as server, CallbackClient(LOOPBACK, resolver=names) as client:
        assert post(client, f"http://shop.example:{server.port}/").status == 200
        assert names.questions == ["shop.example"]
        assert connects == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "a.localhost.",
     "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254"],
)  # fmt: skip
def test_m07_internal_literals_are_forbidden_without_a_name_server(
    host: str, connects: list[tuple[str, int]]
) -> None:
    names = Names(["1.1.1.1"])
    with pytest.raises(OutboundError) as caught:
        vet_url(f"http://{host}/callback")
    assert caught.value.kind is OutboundKind.FORBIDDEN
    with CallbackClient(resolver=names) as client:
        assert refusal(client, f"http://{host}:8080/").kind is OutboundKind.FORBIDDEN
    assert (connects, names.questions) == ([], [])


def test_allowed_networks_open_addresses_for_development() -> None:
    vet_url("http://127.0.0.1:9000/x", LOOPBACK)
    vet_url("http://localhost:9000/x", LOOPBACK)
    with pytest.raises(OutboundError):
        vet_url("http://10.0.0.1/x", LOOPBACK)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example/",
        "javascript:alert(1)",
        "//shop.example/",
        "shop.example/callback",
        "http://",
        "http:///path",
        "http://user@shop.example/",
        "http://user:pw@shop.example/",
        "http://shop.example:0/",
        "http://shop.example:/",
        "http://shop.example:65536/",
        "http://shop.example:8o/",
        "http://shop example/",
        "http://shop.example/a b",
        "http://shop.example/\r\nX: 1",
        "http://shop.example\\@evil.example/",
        "http://商店.example/",
        "http://127.0.0.256/",
        "http://1.2.3.4.5/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://-shop.example/",
        "http://shop..example/",
        "http://shop.example/" + "x" * 2048,
    ],
)
def test_m09_malformed_urls_are_refused_with_a_reason(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        vet_url(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://shop.example", "shop.example", 443, "/"),
        ("HTTPS://Shop.Example./x?y=1#part", "shop.example.", 443, "/x?y=1"),
        ("http://[2606:4700:0::1111]:8080/", "2606:4700::1111", 8080, "/"),
        ("http://shop_1.example/?a=%2F", "shop_1.example", 80, "/?a=%2F"),
    ],
)
def test_urls_are_taken_apart_once(url: str, host: str, port: int, path: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.path) == (host, port, path)


def test_the_first_address_that_answers_is_used(connects: list[tuple[str, int]]) -> None:
    with raw_server(ok) as server:
        names = Names(["127.0.0.2", "127.0.0.1"])
        with CallbackClient(LOOPBACK, resolver=names) as client:
            assert post(client, f"http://shop.example:{server.port}/").status == 200
    assert [address for address, _ in connects] == ["127.0.0.2", "127.0.0.1"]
