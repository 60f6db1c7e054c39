"""NovaPay behind PgBouncer as `deploy/pgbouncer` configures it; needs Debian's package pgbouncer, or is skipped."""

import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest

from core_service.child_process import child_command
from core_service.embedded_postgres import DATABASE, USER, EmbeddedPostgres
from core_service.storage import database
from deploy.pgbouncer.pooler import FOLDER, PROGRAM, configure
from tests.payer import PROVIDERS, Payer, sandbox_accounts
from tests.stack import Answer, Merchant, Receiver, Stack, free_port, wait_until
from tests.stack_fixtures import open_shop

SERVER_CONNECTIONS = 4
"""Fewer than NovaPay opens, so that sessions really are shared."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer: apt-get install pgbouncer"),
]


@dataclass
class Pooled:
    """A server and the address at which the pooler offers it."""

    server: EmbeddedPostgres
    url: str
    own: Path
    """The pooler's folder, with its socket."""


@pytest.fixture(scope="module")
def pooled() -> Iterator[Pooled]:
    with pooling() as running:
        yield running


@contextmanager
def pooling() -> Iterator[Pooled]:
    with TemporaryDirectory(prefix="novapay-pooled-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # the account that runs PostgreSQL for root must get through
        port = free_port()
        with EmbeddedPostgres(folder / "database", port=port) as server:
            password = server._password_file.read_text().strip()
            own = folder / "pgbouncer"
            server._own(own)
            pool_port = free_port()
            file = configure(
                own,
                server_port=port,
                port=pool_port,
                password=password,
                server_connections=SERVER_CONNECTIONS,
            )
            for path in own.iterdir():
                if server._account:
                    os.chown(path, server._account.uid, server._account.gid)
            pooler = subprocess.Popen(
                child_command(
                    [str(PROGRAM), "-q", file],
                    account=server._account,
                    death_signal=signal.SIGINT,
                )
            )
            url = f"postgresql://{USER}:{password}@127.0.0.1:{pool_port}/{DATABASE}"
            try:
                wait_until(lambda: _answers(url), what="PgBouncer")
                yield Pooled(server, url, own)
            finally:
                pooler.terminate()
                pooler.wait()


def _answers(url: str) -> bool:
    try:
        return ask(url, "SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def ask(url: str, sql: str, **connecting: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url, **connecting)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@pytest.fixture(scope="module")
def stack(pooled: Pooled) -> Iterator[Stack]:
    with TemporaryDirectory(prefix="novapay-behind-", ignore_cleanup_errors=True) as folder:
        running = Stack(
            Path(folder),
            DATABASE_URL=pooled.url,
            NOVAPAY_PREPARED_STATEMENTS="off",
            NOVAPAY_CORE_PROCESSES="2",
            NOVAPAY_WORKER_PROCESSES="1",
            NOVAPAY_EDGE_PROCESSES="1",
        ).start()
        try:
            yield running
        finally:
            assert running.stop() == 0, running.log.read_text()[-4000:]
            assert running.internal_errors() == []


def test_every_session_has_the_limits_of_the_program(pooled: Pooled) -> None:
    found = ask(
        pooled.url,
        "SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout',"
        " 'idle_in_transaction_session_timeout', 'TimeZone')",
        options="-c statement_timeout=1",  # swallowed
    )
    assert dict(found) == {
        "lock_timeout": str(database.LOCK_TIMEOUT_MS),
        "statement_timeout": str(database.STATEMENT_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(database.IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "TimeZone": "UTC",
    }


def test_a_change_of_leader_is_seen_through_the_pooler() -> None:
    with pooling() as pooled:
        assert ask_leader(pooled) == [(True,)]
        become_standby(pooled.server)
        reconnect(pooled)
        with pytest.raises(psycopg2.OperationalError, match="read-only"):
            ask_leader(pooled)
        ask(pooled.server.url, "SELECT pg_promote(wait => true)")
        reconnect(pooled)
        assert ask_leader(pooled) == [(True,)]


def ask_leader(pooled: Pooled) -> list[tuple[Any, ...]]:
    """As NovaPay connects, which takes only a server that takes writes."""
    sql = "SELECT NOT pg_is_in_recovery()"
    return ask(pooled.url, sql, target_session_attrs="read-write")


def become_standby(server: EmbeddedPostgres) -> None:
    server.stop()
    owner = server._data.stat()
    signal_file = server._data / "standby.signal"
    signal_file.touch()
    os.chown(signal_file, owner.st_uid, owner.st_gid)
    server._server = server._launch()
    wait_until(lambda: _answers(server.url), what="the standby")


def reconnect(pooled: Pooled) -> None:
    """What Patroni runs when its server gets another role."""
    script = (FOLDER / "reconnect").read_text()
    port = pooled.url.rpartition(":")[2].partition("/")[0]
    subprocess.run(
        child_command(["/bin/sh", "-c", script], account=pooled.server._account),
        env={"PATH": f"{pooled.server._bin}:/bin", "PGHOST": str(pooled.own), "PGPORT": port},
        cwd="/",
        check=True,
    )


def test_the_money_path_through_the_pooler(pooled: Pooled, stack: Stack) -> None:
    merchant = open_shop(stack, sandbox_accounts(stack))[0]
    payer = Payer(stack, stack.accounts_of[merchant.code])
    with Receiver() as receiver, ThreadPoolExecutor(2) as clients:
        channels = [*PROVIDERS] * 4
        list(clients.map(lambda channel: story(merchant, payer, receiver, channel), channels))
    assert stack.cli("books", "verify")["balanced"]
    assert stack.cli("audit", "verify")
    assert stack.cli("doctor")
    # As many as the pool has, whatever NovaPay opened: it has reached the server no other way.
    counted = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    assert ask(pooled.server.url, counted)[0][0] <= SERVER_CONNECTIONS


def story(merchant: Merchant, payer: Payer, receiver: Receiver, channel: str) -> None:
    """Created, paid, told, refunded."""
    created = merchant.create_order(channel, "30.00", callbackUrl=receiver.url)
    assert created.status == 200, created.raw
    order = created.json["order"]
    payer.pay(order, waitSeconds=10)
    assert merchant.order(order["id"])["status"] == "SUCCEEDED"
    wait_until(lambda: receiver.about(order["id"]), what="the callback")
    made = merchant.refund(order["id"], "10.00")
    assert made.status == 200, made.raw
    wait_until(lambda: refund_status(merchant, made) == "SUCCEEDED", what="the refund")


def refund_status(merchant: Merchant, made: Answer) -> Any:
    path = f"/api/payment-refunds/{made.json['refund']['id']}"
    answer = merchant.post(path, {"sync": False})
    assert answer.status == 200, answer.raw
    return answer.json["refund"]["status"]
