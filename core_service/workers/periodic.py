"""Housekeeping by the clock: a table of jobs, each done in bounded batches.

Several processes may run it at the same time: a job skips the rows that another one holds.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from core_service.application import books_pass, order_hours, purge
from core_service.storage.database import connection_scope

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """Does one batch when called and returns how many rows; a full batch is repeated at once."""

    name: str
    every_seconds: float
    work: Callable[[], int]


JOBS = (
    Job("close_dead_resends", 10, purge.close_dead_resends),
    Job("purge_nonces", 30, purge.purge_nonces),
    Job("purge_idempotency_keys", 60, purge.purge_idempotency_keys),
    Job("purge_sessions", 300, purge.purge_sessions),
    Job("count_hours", 30, lambda: order_hours.count_hours(datetime.now(UTC))),
    Job("check_books", 1, books_pass.check_slice),
    Job("purge_staff_sessions", 300, purge.purge_staff_sessions),
    Job("purge_signed_requests", 60, purge.purge_signed_requests),
    Job("purge_sign_in_failures", 300, purge.purge_sign_in_failures),
)


class Periodic:
    """Does each job when its time has come, and at once after the start."""

    name = "periodic"
    drain_seconds = 5.0

    def __init__(self, jobs: tuple[Job, ...] = JOBS) -> None:
        self.wake = threading.Event()
        self._due_at = dict.fromkeys(jobs, 0.0)

    def round(self, stop: threading.Event) -> int:
        """One batch of every job that is due."""
        handled = 0
        for job, due_at in self._due_at.items():
            if stop.is_set():
                break
            if time.monotonic() < due_at:
                continue
            # Before the work: a job that fails waits its turn, and the others get theirs.
            self._due_at[job] = time.monotonic() + job.every_seconds
            with connection_scope():
                count = job.work()
            if count >= purge.BATCH:
                self._due_at[job] = 0.0
            if count:
                _log.info("periodic_job", job=job.name, rows=count)
            handled += count
        return handled

    def drain(self) -> None:
        """Nothing is in flight between rounds."""
