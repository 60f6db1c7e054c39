"""Lets one actor at a time go on, and decides by chance which.

Every actor is a thread that runs the real use cases. It holds the baton from one point to the next: before each SQL
statement, at each failpoint, before and after each call to the outside, whenever it would sleep. So the interleaving of
statements, also inside open transactions, follows from the seed alone.

A statement may have to wait for a row that another actor has locked. That is seen by asking PostgreSQL whom the backend
waits for, never by time: such an actor is set aside until the lock is its own.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from random import Random

import psycopg2

LOOK_AFTER_SECONDS = 0.004
"""How long a statement may take before PostgreSQL is asked whether it waits for a lock."""
LONGEST_STEP_SECONDS = 60.0

_local = threading.local()


class Crash(BaseException):
    """The process of an actor died: nothing that catches exceptions may see it, and nothing more is written."""


class Stuck(AssertionError):
    """An actor neither went on nor waited for a lock."""


class Actor:
    """A thread that moves only while it holds the baton; `work` is all that it ever does."""

    def __init__(self, name: str, work: Callable[["Actor"], None], chance: Random) -> None:
        self.name = name
        self.chance = chance
        self.is_done = False
        self.is_blocked = False
        self.is_dead = False
        """Its process crashed; true until its next operation begins."""
        self.backend: int | None = None
        self.blockers: frozenset[int] = frozenset()
        """Backends whose locks it waits for."""
        self.failure: BaseException | None = None
        self.go, self.yielded = threading.Semaphore(0), threading.Semaphore(0)
        self._work = work
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        _local.actor = self
        self.go.acquire()
        try:
            self._work(self)
        except BaseException as failure:  # noqa: BLE001 (reported by the scheduler)
            self.failure = failure
        self.is_done = True
        self.yielded.release()

    def pass_baton(self) -> None:
        self.yielded.release()
        self.go.acquire()


def current_actor() -> Actor | None:
    """The actor that this thread is, if any."""
    return getattr(_local, "actor", None)


class Scheduler:
    """Runs actors to their end; `trace` says what happened in which order, the same for the same seed."""

    def __init__(self, chance: Random, monitor: "psycopg2.extensions.connection") -> None:
        self._chance = chance
        self._monitor = monitor
        self._stickiness = chance.choice((0.0, 0.5, 0.9))
        self._trace = hashlib.sha256()
        self.steps = 0
        self.waits = 0
        """How often an actor had to wait for another one's lock."""

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        """Adds to the trace."""
        self._trace.update(text.encode() + b"\n")

    def run(self, actors: Sequence[Actor]) -> None:
        """Returns when all are done. Raises what an actor raised."""
        for actor in actors:
            actor.thread.start()
        last: Actor | None = None
        while alive := [actor for actor in actors if not actor.is_done]:
            runnable = self._runnable(alive)
            if not runnable:
                self._await_any(alive)
                continue
            if last not in runnable or self._chance.random() >= self._stickiness:
                last = self._chance.choice(runnable)
            assert last is not None
            self.steps += 1
            last.go.release()
            self._settle(last)
            for waiting in alive:
                if waiting.is_blocked:
                    self._settle(waiting)
        for actor in actors:
            if actor.failure is not None:
                raise actor.failure

    def await_end_of(self, backend: int) -> None:
        """Until a lost connection's server has noticed: how long its locks stand must not depend on the machine."""
        with self._monitor.cursor() as cursor:
            for _ in range(int(LONGEST_STEP_SECONDS / LOOK_AFTER_SECONDS)):
                cursor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (backend,))
                if not cursor.rowcount:
                    return
                cursor.execute("SELECT pg_sleep(%s)", (LOOK_AFTER_SECONDS,))
        raise Stuck(f"backend {backend}")

    def _runnable(self, alive: Sequence[Actor]) -> list[Actor]:
        """While somebody waits, only who holds the lock: which of two waiters is next would be PostgreSQL's choice."""
        free = [actor for actor in alive if not actor.is_blocked]
        wanted = {pid for actor in alive if actor.is_blocked for pid in actor.blockers}
        return [actor for actor in free if actor.backend in wanted] if wanted else free

    def _settle(self, actor: Actor) -> None:
        """Waits until the actor stands at its next point or waits for a lock."""
        patience = 0.0 if actor.is_blocked else LOOK_AFTER_SECONDS
        waited = 0.0
        while not actor.yielded.acquire(timeout=patience):
            waited += patience
            if self._waits_for_lock(actor):
                if not actor.is_blocked:
                    actor.is_blocked = True
                    self.waits += 1
                    self.note(f"{actor.name} waits")
                return
            patience = LOOK_AFTER_SECONDS
            if waited > LONGEST_STEP_SECONDS:
                raise Stuck(actor.name)
        actor.is_blocked = False

    def _await_any(self, blocked: Sequence[Actor]) -> None:
        """Everybody waits for everybody: PostgreSQL finds that out and ends one of them."""
        for _ in range(int(LONGEST_STEP_SECONDS / LOOK_AFTER_SECONDS)):
            for actor in blocked:
                if actor.yielded.acquire(timeout=LOOK_AFTER_SECONDS):
                    actor.is_blocked = False
                    return
        raise Stuck(", ".join(actor.name for actor in blocked))

    def _waits_for_lock(self, actor: Actor) -> bool:
        if actor.backend is None:
            return False
        with self._monitor.cursor() as cursor:
            cursor.execute("SELECT pg_blocking_pids(%s)", (actor.backend,))
            row = cursor.fetchone()
        actor.blockers = frozenset(row[0]) if row else frozenset()
        return bool(actor.blockers)
