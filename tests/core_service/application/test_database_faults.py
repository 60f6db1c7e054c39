"""A database that is there and refuses to write, and one that is far away: K12, K13 (25006), N07."""

import os
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg2
import pytest

from core_service.application import provider_asking
from core_service.errors import CoreError
from core_service.storage import database
from tests.conftest import execute
from tests.core_service.far_database import far_database
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Shop,
    count,
    end_leases,
    make_due,
    refusal_of,
)
from tests.core_service.workers.callback_steps import wait_for
from tests.invariants import broken_invariants
from tests.slow_network import SlowNetwork, chance_of

LONGEST_DELAY_SECONDS = 0.4
RESET_SHARE = 0.05


def test_k12_disk_full_is_a_503_and_then_it_goes_on(shop: Shop, money_database: str) -> None:
    execute(
        money_database,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
    )
    order = shop.create()
    for table in ("payment_orders", "payment_events"):
        execute(
            money_database,
            f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION full_disk()",
        )
    for channel in (LOCAL, REMOTE):
        with pytest.raises(CoreError) as caught:
            shop.ask_create(channel, f"full-{channel}", key=f"k-{channel}")
        assert caught.value.reason == "DATABASE_UNAVAILABLE"
        assert caught.value.retry_after_seconds
    shop.books.pay(order.id, order.amount_fen)
    assert shop.notify(order).status == 503, "no success before the commit"
    for table in ("payment_orders", "payment_events"):
        execute(money_database, f"DROP TRIGGER full_disk ON {table}")
    assert shop.notify(order).status == 200
    for channel in (LOCAL, REMOTE):
        assert shop.ask_create(channel, f"full-{channel}", key=f"k-{channel}").mark == "created"
    assert count("payment_orders") == 3


def test_k13_a_server_that_became_read_only_is_a_503(shop: Shop, money_database: str) -> None:
    order = shop.create()
    with _read_only_server(money_database):
        # The connection of this thread lives on: its statements get 25006.
        assert (
            refusal_of(lambda: shop.ask_create(LOCAL, "later", key="k")) == "DATABASE_UNAVAILABLE"
        )
        shop.books.pay(order.id, order.amount_fen)
        assert shop.notify(order).status == 503
        # A new one does not take this server for the primary.
        with ThreadPoolExecutor(1) as other:
            assert other.submit(_connecting).result() == "DATABASE_UNAVAILABLE"
    assert shop.ask_create(LOCAL, "later", key="k").mark == "created"
    assert shop.notify(order).status == 200


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON payment_events FOR EACH ROW EXECUTE FUNCTION slow()
"""


@pytest.mark.parametrize("seconds", [0.4, 1.6])
@pytest.mark.parametrize(
    ("kind", "key"),
    [(LOCAL, None), (LOCAL, "k"), (REMOTE, None), (REMOTE, "k"), ("refund", None), ("refund", "k")],
)
def test_v18_a_connection_that_is_cut_while_the_server_goes_on(
    shop: Shop, money_database: str, kind: str, key: str | None, seconds: float
) -> None:
    """The server writes what was asked a moment later, whatever became of its client."""
    paid = shop.paid()
    execute(money_database, SLOW.format(seconds=seconds))
    connections: list[Any] = []

    def ask() -> Any:
        with database.connection_scope():
            call = shop.call(key)
            connections.append(database.database.connection())
            if kind == "refund":
                return shop.ask_refund(paid.id, "10.00", "cut", call=call)
            return shop.ask_create(kind, "cut", call=call)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(lambda: refusal_of(ask))
        running = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait_for(lambda: bool(database.fetch_all(running)))
        cut(connections[0])
        answer = asking.result()
    wait_for(lambda: not database.fetch_all(running))
    made = count("refunds") if kind == "refund" else count("payment_orders") - 1
    allowed = {("OK", 1), ("PROVIDER_TIMEOUT", 1)}
    if kind == REMOTE:
        allowed.add(("DATABASE_UNAVAILABLE", 0))  # COMMIT had not been sent yet
    assert (answer, made) in allowed


def cut(connection: Any) -> None:
    """Ends the connection under the driver, as a network does."""
    with socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


def test_n07_slow_and_breaking_connections_to_the_database_lose_and_leak_nothing(
    shop: Shop, money_database: str
) -> None:
    order = shop.paid()
    before = sessions_of_this_database()
    with _far_database(money_database) as network:
        with ThreadPoolExecutor(8) as threads:
            outcomes = list(
                threads.map(lambda number: _from_afar(shop, order.id, number), range(8))
            )
        network.delay, network.breaks = (lambda: 0.0), (lambda: False)
        assert network.resets > 0
    assert set(outcomes) <= {"OK", "DATABASE_UNAVAILABLE", "OVERLOADED", "PROVIDER_TIMEOUT"}
    database.configure(money_database, max_connections=60)
    database.database.connect()  # for the fixture as well, which looks once more
    end_leases()
    # Whoever got no answer asks again, and gets a final one.
    assert [refusal_of(partial(_some_work, shop, order.id, number)) for number in range(8)] == [
        "OK"
    ] * 8
    make_due()
    while provider_asking.ask_due_orders(20) or provider_asking.ask_due_refunds(20):
        continue
    assert broken_invariants(shop.books) == []
    assert count("payment_orders") == 9
    assert count("refunds WHERE status = 'SUCCEEDED'") == 8
    assert sessions_of_this_database() <= before + 1


def _some_work(shop: Shop, order_id: str, number: int) -> None:
    shop.ask_create((LOCAL, REMOTE)[number % 2], f"far-{number}", key=f"create-{number}")
    shop.ask_refund(order_id, "3.00", f"far-{number}", key=f"refund-{number}")


def _from_afar(shop: Shop, order_id: str, number: int) -> str:
    """Over a connection of its own; the connecting may fail as well."""

    def work() -> None:
        with database.connection_scope():
            _some_work(shop, order_id, number)

    return refusal_of(work)


def sessions_of_this_database() -> int:
    return count("pg_stat_activity WHERE datname = current_database()")


@contextmanager
def _far_database(url: str) -> Iterator[SlowNetwork]:
    """The pool reaches the server through a network with 200 ± 200 ms and resets."""
    with far_database(url, max_connections=20) as network:
        delays = random.Random(7)
        network.delay = lambda: delays.uniform(0, LONGEST_DELAY_SECONDS)
        network.breaks = chance_of(RESET_SHARE, 7)
        yield network


def _connecting() -> str:
    def work() -> None:
        with database.connection_scope():
            pass

    return refusal_of(work)


@contextmanager
def _read_only_server(url: str) -> Iterator[None]:
    """As a primary that was demoted: every session, also those that are open, may only read."""
    _tell_server(url, "ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        _wait_for_setting("on")
        yield
    finally:
        _tell_server(url, "ALTER SYSTEM RESET default_transaction_read_only")
        _wait_for_setting("off")


def _wait_for_setting(wanted: str) -> None:
    """Sessions read the new configuration each at its next statement, once it was signalled to them."""
    told = {"default_transaction_read_only": wanted}
    wait_for(lambda: database.fetch_one("SHOW default_transaction_read_only") == told)


def _tell_server(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute(statement)
            cursor.execute("SELECT pg_reload_conf()")
    finally:
        connection.close()
