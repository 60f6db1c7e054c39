"""Transactions against a real PostgreSQL: contention, an empty pool, a lost server, a lost COMMIT."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peewee
import psycopg2
import pytest

from core_service.embedded_postgres import EmbeddedPostgres
from core_service.errors import CoreError
from core_service.storage import database
from core_service.storage.database import (
    Prepared,
    connection_scope,
    execute,
    fetch_all,
    fetch_one,
    transact,
    write,
)


@pytest.fixture
def counters(core_database: str) -> Iterator[None]:
    """A table with two rows, both 0."""
    with connection_scope():
        execute("DROP TABLE IF EXISTS counters")
        execute("CREATE TABLE counters (id integer PRIMARY KEY, value integer NOT NULL)")
        execute("INSERT INTO counters VALUES (1, 0), (2, 0)")
        yield


def value_of(row: int) -> int:
    found = fetch_one("SELECT value FROM counters WHERE id = %s", (row,))
    assert found is not None
    value: int = found["value"]
    return value


def add(row: int) -> None:
    execute("UPDATE counters SET value = value + 1 WHERE id = %s", (row,))


def in_thread(work: object) -> None:
    with connection_scope():
        assert callable(work)
        work()


def test_what_raises_leaves_nothing(counters: None) -> None:
    def work() -> None:
        add(1)
        raise CoreError("AMOUNT_TOO_SMALL")

    with pytest.raises(CoreError, match="AMOUNT_TOO_SMALL"):
        transact(work)
    assert value_of(1) == 0
    assert not database.in_transaction()


def test_what_nobody_waits_for_leaves_with_the_next_statement_or_with_commit(
    counters: None,
) -> None:
    plus = Prepared("UPDATE counters SET value = value + %s WHERE id = %s")
    seen = []

    def work() -> None:
        write(plus, (1, 1))
        write("UPDATE counters SET value = value * 10 WHERE id = %(id)s", {"id": 1})
        seen.append(value_of(1))
        write(plus, (5, 1))
        write(plus, (100, 2))

    transact(work)
    assert seen == [10]
    assert (value_of(1), value_of(2)) == (15, 100)


def test_what_nobody_waits_for_is_forgotten_when_something_raises(counters: None) -> None:
    def work() -> None:
        write("UPDATE counters SET value = 7 WHERE id = 1")
        raise CoreError("AMOUNT_TOO_SMALL")

    with pytest.raises(CoreError, match="AMOUNT_TOO_SMALL"):
        transact(work)
    transact(lambda: add(2))
    assert (value_of(1), value_of(2)) == (0, 1)


def test_what_nobody_waits_for_does_not_outlive_a_transaction_that_was_left(
    counters: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt just before COMMIT; the connection goes back to the pool."""

    def left() -> None:
        def interrupted() -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(database.database, "commit", interrupted)
            with pytest.raises(KeyboardInterrupt):
                transact(lambda: write("UPDATE counters SET value = 7 WHERE id = 1"))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(in_thread, left).result()
        assert pool.submit(in_thread, lambda: add(2)).result() is None
    assert (value_of(1), value_of(2)) == (0, 1)


def test_what_is_wrong_with_a_statement_that_nobody_waits_for_shows_at_commit(
    counters: None,
) -> None:
    def work() -> None:
        add(1)
        write("INSERT INTO counters VALUES (%s, %s)", (2, 0))
        write("UPDATE counters SET value = 7 WHERE id = 1")

    with pytest.raises(peewee.IntegrityError, match="counters_pkey"):
        transact(work)
    assert not database.in_transaction()
    transact(lambda: add(2))
    assert (value_of(1), value_of(2)) == (0, 1)


def test_text_is_never_taken_for_a_parameter(counters: None) -> None:
    execute("CREATE TEMPORARY TABLE words (word text)")

    def work() -> None:
        write("INSERT INTO words VALUES (%s)", ("50 %s; -- 'off' \\ %%",))
        write("INSERT INTO words VALUES (%s)", ("$1",))
        execute("INSERT INTO words VALUES (%s)", ("%(a)s",))

    transact(work)
    assert [row["word"] for row in fetch_all("SELECT word FROM words")] == [
        "50 %s; -- 'off' \\ %%",
        "$1",
        "%(a)s",
    ]


@pytest.mark.parametrize("change", [execute, write], ids=["at its statement", "at COMMIT"])
def test_c13_serialization_failures_are_retried(
    counters: None, change: Callable[[str, tuple[int]], object]
) -> None:
    tries = []

    def work() -> str:
        tries.append(1)
        execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        before = value_of(1)
        if len(tries) == 1:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(in_thread, lambda: add(1)).result()
        change("UPDATE counters SET value = %s WHERE id = 1", (before + 1,))
        return "done"

    assert transact(work) == "done"
    assert len(tries) == 2
    assert value_of(1) == 2


def test_c13_deadlocks_are_retried(counters: None) -> None:
    meet = threading.Barrier(2, timeout=5)
    tries = []

    def cross(first: int, second: int) -> None:
        mine = []

        def work() -> None:
            mine.append(1)
            tries.append(1)
            # Longer than the deadlock detector waits, so that it and not the lock limit decides.
            execute("SET LOCAL lock_timeout = '3s'")
            execute("SET LOCAL deadlock_timeout = '50ms'")
            add(first)
            if len(mine) == 1:
                meet.wait()
            add(second)

        with connection_scope():
            transact(work)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(cross, 1, 2), pool.submit(cross, 2, 1)]
        for each in both:
            each.result()
    assert (value_of(1), value_of(2)) == (2, 2)
    assert len(tries) == 3


def test_contention_without_end_is_overloaded(counters: None) -> None:
    """Somebody holds the row for longer than all the tries take."""
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        def work() -> None:
            execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            add(1)
            held.set()
            assert leave.wait(10)

        with connection_scope():
            transact(work)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(5)
        with pytest.raises(CoreError) as refusal:
            transact(lambda: add(1))
        leave.set()
        holding.result()
    assert (refusal.value.reason, refusal.value.retry_after_seconds) == ("OVERLOADED", 1)
    assert value_of(1) == 1


def test_a_constraint_violation_passes_as_it_is(counters: None) -> None:
    with pytest.raises(peewee.IntegrityError):
        transact(lambda: execute("INSERT INTO counters VALUES (1, 0)"))
    assert value_of(1) == 0


def test_transactions_do_not_nest(counters: None) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        transact(lambda: transact(lambda: None))
    assert not database.in_transaction()


def test_k11_an_empty_pool_is_overloaded(core_database: str) -> None:
    database.configure(core_database, max_connections=2)
    held, leave = threading.Barrier(3, timeout=5), threading.Event()

    def hold() -> None:
        with connection_scope():
            held.wait()
            assert leave.wait(10)

    with ThreadPoolExecutor(2) as pool:
        holding = [pool.submit(hold) for _ in range(2)]
        held.wait()
        with pytest.raises(CoreError) as refusal, connection_scope():
            pass
        leave.set()
        for each in holding:
            each.result()
    assert (refusal.value.reason, refusal.value.retry_after_seconds) == ("OVERLOADED", 1)
    with connection_scope():
        assert fetch_one("SELECT 1 AS one") == {"one": 1}


def test_k10_a_server_that_is_not_there(core_database: str) -> None:
    database.configure("postgresql://nobody@127.0.0.1:1/none", max_connections=2)
    with pytest.raises(CoreError) as refusal, connection_scope():
        pass
    assert (refusal.value.reason, refusal.value.retry_after_seconds) == ("DATABASE_UNAVAILABLE", 1)


def test_k09_a_server_that_goes_away_in_the_middle(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    database.configure(postgres.ensure_running(), max_connections=4)
    try:
        with connection_scope():
            execute("CREATE TABLE counters (id integer PRIMARY KEY, value integer NOT NULL)")
            execute("INSERT INTO counters VALUES (1, 0)")

            def work() -> None:
                add(1)
                postgres.stop()
                add(1)

            with pytest.raises(CoreError, match="DATABASE_UNAVAILABLE"):
                transact(work)
        postgres.ensure_running()
        with connection_scope():
            assert value_of(1) == 0
    finally:
        database.database.close_all()
        postgres.stop()


def kill_my_session(url: str) -> None:
    """Ends this thread's connection from outside, as a failover would."""
    pid = database.database.connection().info.backend_pid
    other = psycopg2.connect(url)
    try:
        other.autocommit = True
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            assert cursor.fetchone() == (True,)
    finally:
        other.close()


def test_a_connection_lost_at_commit_is_unknown(counters: None, core_database: str) -> None:
    """It was lost just before: nothing stands, and without anybody to ask that is a 503."""

    def work() -> None:
        add(1)
        kill_my_session(core_database)

    def lose() -> None:
        with pytest.raises(CoreError, match="DATABASE_UNAVAILABLE"):
            transact(work)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(in_thread, lose).result()
    assert value_of(1) == 0


def test_a_connection_lost_at_commit_is_done_again_when_it_does_not_stand(
    counters: None, core_database: str
) -> None:
    tries = []

    def work() -> int:
        tries.append(1)
        add(1)
        if len(tries) == 1:
            kill_my_session(core_database)
        return len(tries)

    assert transact(work, committed=lambda: value_of(1) > 0) == 2
    assert value_of(1) == 1


def test_a_connection_lost_at_commit_is_not_done_again_when_it_stands(
    counters: None, core_database: str
) -> None:
    tries = []

    def work() -> str:
        tries.append(1)
        add(0)
        kill_my_session(core_database)
        # What the lost COMMIT did on the server, although its answer never came.
        other = psycopg2.connect(core_database)
        with other, other.cursor() as cursor:
            cursor.execute("UPDATE counters SET value = value + 1 WHERE id = 1")
        other.close()
        return "first"

    assert transact(work, committed=lambda: value_of(1) > 0) == "first"
    assert tries == [1]
    assert value_of(1) == 1


def test_a_thread_gets_a_live_connection_after_its_own_was_killed(core_database: str) -> None:
    with connection_scope():
        kill_my_session(core_database)
        with pytest.raises(CoreError, match="DATABASE_UNAVAILABLE"):
            fetch_one("SELECT 1 AS one")
    with connection_scope():
        assert fetch_one("SELECT 1 AS one") == {"one": 1}


def test_a_connection_to_what_became_a_standby_is_not_kept(counters: None) -> None:
    """A pooler keeps connections to a leader that hands over; ours to it must not be used again."""

    def change_leaders() -> None:
        execute("SET default_transaction_read_only = on")  # as everything is on a standby
        with pytest.raises(CoreError, match="DATABASE_UNAVAILABLE"):
            transact(lambda: add(1))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(in_thread, change_leaders).result()
        pool.submit(in_thread, lambda: transact(lambda: add(1))).result()
    assert value_of(1) == 1
