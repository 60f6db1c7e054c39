"""Where the real code meets the scheduler: SQL, failpoints, the clocks.

Everything is put back at the end. What is replaced belongs to drivers and to Python; our own code runs as it is.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from unittest import mock

import psycopg2

from core_service import failpoints
from core_service.application import callback_attempts, callbacks, provider_asking
from core_service.storage import audit, idempotency
from core_service.storage import database as storage
from tests.core_service import fake_provider
from tests.simulation.faults import Faults
from tests.simulation.scheduler import Actor, Crash, Scheduler, current_actor

SQLSTATES = {
    "db.serialization_failure": "40001",
    "db.deadlock": "40P01",
    "db.lock_timeout": "55P03",
    "db.statement_timeout": "57014",
    "db.disk_full": "53100",
    "db.read_only": "25006",
}
WRITES_ONLY = ("db.disk_full", "db.read_only")
CLOCK = """
CREATE SCHEMA sim;
CREATE FUNCTION sim.now() RETURNS timestamptz STABLE LANGUAGE sql AS
    $$ SELECT current_setting('sim.now')::timestamptz $$;
CREATE FUNCTION sim.fail(state text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'simulated' USING ERRCODE = state; END $$;
"""
"""Found before the real now(): every statement sees the time that its session was told."""


class Clock:
    """Virtual time: it passes when somebody sleeps or the schedule says so, the same for Python and PostgreSQL.

    Never by itself, so that no decision depends on how fast this machine is; a little for each transaction.
    """

    TICK_SECONDS = 0.001

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = datetime.now(UTC)
        self.start = self._start.timestamp()
        """Unix seconds."""

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds)

    def told(self) -> str:
        """The statement that tells a session what time it is, a little later than before."""
        self.advance(self.TICK_SECONDS)
        return f"SET sim.now = '{self.now().isoformat()}'; "


class Hooks:
    """Puts a point before each statement, at each failpoint, and around each call to the outside."""

    def __init__(self, scheduler: Scheduler, faults: Faults, clock: Clock) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._clock = clock
        self.findings: list[str] = []
        self._away_until: dict[str, float] = {}
        """Actor → when a server that it lost takes connections again."""
        self._leases: dict[int, float] = {}
        """Thread → until when the delivery that it sends is its own."""

    def point(self, kind: str, name: str) -> None:
        """Others may go on here, or this actor's process may die."""
        actor = current_actor()
        if actor is None:
            return
        if actor.is_dead:
            raise Crash(name)
        self._scheduler.note(f"{actor.name} {name}")
        actor.pass_baton()
        if self._faults.strikes(f"crash.{kind}"):
            self._die(actor, name)

    def outside(self, kind: str, name: str) -> None:
        """A point of a call to a provider or merchant, which no transaction may hold open (V22)."""
        if storage.in_transaction():
            self.findings.append(f"V22 {name} is called inside a transaction")
        self.point(kind, name)

    def has_lost_lease(self) -> bool:
        """Whether whoever sends a delivery no longer may: a process that stood still in between cannot know."""
        return self._clock.seconds > self._leases[threading.get_ident()]

    def _die(self, actor: Actor, name: str) -> None:
        actor.is_dead = True
        self._scheduler.note(f"{actor.name} dies")
        raise Crash(name)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While a schedule runs."""
        database = storage.database
        real = _Driver(database.execute_sql, database.commit, database.connect)
        with ExitStack() as stack:
            for target, name, replacement in (
                (database, "begin", lambda *_: self._on_begin(real)),
                (database, "commit", lambda: self._on_commit(real)),
                (database, "execute_sql", lambda sql, params=None: self._on_sql(real, sql, params)),
                (database, "connect", lambda **named: self._on_connect(real, named)),
                (time, "sleep", self._on_sleep),
                (time, "monotonic", lambda: self._clock.seconds),
            ):
                stack.enter_context(mock.patch.object(target, name, replacement))
            send = self._noting_lease(callback_attempts._post)
            stack.enter_context(mock.patch.object(callback_attempts, "_post", send))
            virtual = _datetime_of(self._clock)
            for module in (callback_attempts, callbacks, provider_asking, audit, fake_provider):
                stack.enter_context(mock.patch.object(module, "datetime", virtual))
            failpoints.observe(lambda name: self.point("failpoint", f"failpoint {name}"))
            try:
                yield
            finally:
                failpoints.observe(None)

    def _noting_lease(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def noted(attempt: callback_attempts.Attempt, merchant: Any) -> Any:
            self._leases[threading.get_ident()] = attempt.lease_ends
            return send(attempt, merchant)

        return noted

    def _on_connect(self, real: "_Driver", named: dict[str, Any]) -> Any:
        actor = current_actor()
        if actor is not None and (
            self._clock.seconds < self._away_until.get(actor.name, 0.0)
            or self._faults.strikes("db.connect_refused")
        ):
            raise psycopg2.OperationalError("connection refused")
        return real.connect(**named)

    def _on_begin(self, real: "_Driver") -> None:
        if _noticed() is not None:
            self.point("statement", "BEGIN")
        real.execute(f"{self._clock.told()} BEGIN")

    def _on_sql(self, real: "_Driver", sql: str, params: Any) -> Any:
        actor = _noticed()
        if actor is not None:
            self.point("statement", " ".join(sql.split()[:3]))
            self._break_statement(sql, real.execute)
        commits = not storage.in_transaction()
        try:
            done = real.execute(self._clock.told() + sql if commits else sql, params)
        finally:
            if actor is not None and actor.is_blocked:
                # The lock is ours at last, while whoever let it go still holds the baton.
                actor.pass_baton()
        if actor is not None and commits and _writes(sql):
            self._lose_answer()
        return done

    def _on_sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self.point("statement", "sleep")

    def _on_commit(self, real: "_Driver") -> Any:
        if _noticed() is None:
            return real.commit()
        self.point("commit", "COMMIT")
        if self._faults.strikes("db.commit_failed"):
            real.execute("SELECT sim.fail('40001')")
        if self._faults.strikes("db.commit_lost_before"):
            self._lose_connection()
            self._stay_away()
        done = real.commit()
        self._lose_answer()
        return done

    def _lose_answer(self) -> None:
        """Of what is committed."""
        if self._faults.strikes("db.commit_lost_after"):
            self._lose_connection()
            self._stay_away()
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    def _stay_away(self) -> None:
        """For a little longer than anybody waits."""
        actor = current_actor()
        assert actor is not None
        if self._faults.strikes("db.stays_away"):
            self._away_until[actor.name] = self._clock.seconds + storage.RECONNECT_SECONDS + 1.0

    def _break_statement(self, sql: str, execute: Callable[..., Any]) -> None:
        for name, state in SQLSTATES.items():
            if (_writes(sql) or name not in WRITES_ONLY) and self._faults.strikes(name):
                execute("SELECT sim.fail(%s)", (state,))
        if self._faults.strikes("db.connection_lost"):
            self._lose_connection()

    def _lose_connection(self) -> None:
        connection = storage.database.connection()
        if connection.closed:
            return
        backend = connection.info.backend_pid
        connection.close()
        self._scheduler.await_end_of(backend)


def _writes(sql: str) -> bool:
    return not sql.lstrip().upper().startswith("SELECT")


@dataclass(frozen=True)
class _Driver:
    """What the hooks stand before."""

    execute: Callable[..., Any]
    commit: Callable[[], Any]
    connect: Callable[..., Any]


def _noticed() -> Actor | None:
    """The actor of this thread, whose backend is known from here on."""
    actor = current_actor()
    if actor is not None and not storage.database.is_closed():
        connection = storage.database.connection()
        actor.backend = None if connection.closed else connection.info.backend_pid
    return actor


def _datetime_of(clock: Clock) -> type[datetime]:
    class VirtualDatetime(datetime):
        """As `datetime`, but for what time it is."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "VirtualDatetime":
            return clock.now().astimezone(tz)  # type: ignore[return-value]  # only compared

    return VirtualDatetime


@contextmanager
def patient_locks() -> Iterator[None]:
    """A lock is waited for as long as the schedule wants: only its faults make a wait time out."""
    claim = idempotency._CLAIM.sql.replace(
        f"'{idempotency.KEY_WAIT_MS}'", f"'{60_000}'"
    ).replace(f"'{storage.LOCK_TIMEOUT_MS}'", f"'{60_000}'")  # fmt: skip
    with (
        mock.patch.object(idempotency, "_CLAIM", storage.Prepared(claim)),
        mock.patch.object(storage, "LOCK_TIMEOUT_MS", 60_000),
        mock.patch.object(storage, "STATEMENT_TIMEOUT_MS", 60_000),
        mock.patch.object(storage, "IDLE_IN_TRANSACTION_TIMEOUT_MS", 60_000),
    ):
        yield
