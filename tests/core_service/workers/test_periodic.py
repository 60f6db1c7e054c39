"""Housekeeping: what goes, what stays, in which portions; and loops that survive failures."""

import threading

import pytest

from core_service.application import purge
from core_service.errors import CoreError
from core_service.storage.database import execute, fetch_all, fetch_one
from core_service.workers.periodic import JOBS, Job, Periodic
from core_service.workers.runner import run_loop
from tests.core_service.workers.callback_steps import configure

pytestmark = pytest.mark.usefixtures("wired")


def test_expired_nonces_go_in_batches_and_live_ones_stay() -> None:
    execute(
        """
        INSERT INTO nonces
        SELECT 'mch_1', 'expired-' || n, now() - interval '1 s' FROM generate_series(1, 2500) n
        """
    )
    execute("INSERT INTO nonces VALUES ('mch_1', 'live-one', now() + interval '1 min')")
    assert [purge.purge_nonces() for _ in range(4)] == [1000, 1000, 500, 0]
    assert fetch_all("SELECT nonce FROM nonces") == [{"nonce": "live-one"}]


def test_idempotent_answers_go_after_their_retention() -> None:
    configure(idempotency_retention_days=7)
    for key, age_days, finished, lease_minutes in (
        ("old", 8, True, -10),
        ("old-crashed", 8, False, -10),
        ("old-running", 8, False, 10),
        ("young", 6, True, -10),
    ):
        execute(
            """
            INSERT INTO idempotency_keys (merchant_id, operation, key, fingerprint, lease_until,
                                          outcome, response, created_at)
            VALUES ('mch_1', 'payment_order.create', %s, '', now() + %s * interval '1 min',
                    %s, %s, now() - %s * interval '1 day')
            """,
            (key, lease_minutes, "OK" if finished else None, b"" if finished else None, age_days),
        )
    assert purge.purge_idempotency_keys() == 2
    kept = fetch_all("SELECT key FROM idempotency_keys ORDER BY key")
    assert [row["key"] for row in kept] == ["old-running", "young"]


def test_ended_sessions_and_old_sign_in_failures_go() -> None:
    execute(
        """
        INSERT INTO operators (id, email, name, role, password_hash, created_at, updated_at)
        VALUES ('op_1', 'a@example.com', 'A', 'VIEWER', 'x', now(), now())
        """
    )
    for token, minutes in ((b"ended", -1), (b"live", 1)):
        execute(
            """
            INSERT INTO operator_sessions
                (token_hash, operator_id, created_at, last_seen_at, expires_at)
            VALUES (%s, 'op_1', now(), now(), now() + %s * interval '1 min')
            """,
            (token, minutes),
        )
        execute(
            "INSERT INTO sign_in_failures VALUES (%s, 3, now() + %s * interval '1 min')",
            (token.decode(), minutes),
        )
    assert (purge.purge_sessions(), purge.purge_sign_in_failures()) == (1, 1)
    sessions = fetch_all("SELECT encode(token_hash, 'escape') AS token FROM operator_sessions")
    assert sessions == [{"token": "live"}]
    assert fetch_one("SELECT subject FROM sign_in_failures") == {"subject": "live"}


def test_rows_that_another_worker_holds_are_skipped() -> None:
    execute(
        """
        INSERT INTO nonces
        SELECT 'mch_1', n::text, now() - interval '1 s' FROM generate_series(1, 9) n
        """
    )
    jobs = (Job("purge_nonces", 3600, purge.purge_nonces),)
    start = threading.Barrier(3)

    def one_round() -> None:
        loop = Periodic(jobs)
        start.wait()
        counts.append(loop.round(threading.Event()))

    counts: list[int] = []
    threads = [threading.Thread(target=one_round) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 9


def test_a_full_batch_is_followed_at_once_and_a_job_done_waits_its_turn() -> None:
    batches = [purge.BATCH, 3]
    loop = Periodic((Job("test", 3600, lambda: batches.pop(0)),))
    stop = threading.Event()
    assert [loop.round(stop) for _ in range(3)] == [purge.BATCH, 3, 0]


def test_every_job_of_the_table_runs_on_an_empty_database() -> None:
    assert Periodic(JOBS).round(threading.Event()) == 0


def test_k09_a_loop_survives_whatever_a_round_raises() -> None:
    loop = Unlucky([CoreError("DATABASE_UNAVAILABLE"), CoreError("OVERLOADED"), ValueError("x")])
    thread = threading.Thread(target=run_loop, args=(loop, loop.done))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert loop.drained


class Unlucky:
    name = "unlucky"
    drain_seconds = 1.0

    def __init__(self, failures: list[Exception]) -> None:
        self.wake = threading.Event()
        self.done = threading.Event()
        self.drained = False
        self._failures = failures

    def round(self, stop: threading.Event) -> int:
        if self._failures:
            raise self._failures.pop()
        stop.set()
        return 0

    def drain(self) -> None:
        self.drained = True
