"""Runs loops until the process is told to stop.

A loop is asked for one round after another. A round that found work is followed by the next at
once, an empty one by a pause that doubles up to a second; pauses jitter, so that several processes
do not look at the same moment. Whatever goes wrong in a round is logged and survived: a database
that is away is simply asked again.
"""

import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import structlog

from core_service.errors import CoreError, Family

SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
PAUSE_JITTER = 0.2

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger(__name__)


class Loop(Protocol):
    """One kind of background work."""

    name: str
    wake: threading.Event
    """Set by the loop itself when there may be work before the pause is over."""

    @property
    def drain_seconds(self) -> float:
        """How long work in flight may take after the loop was told to stop."""
        ...

    def round(self, stop: threading.Event) -> int:
        """Does what is due and returns how much that was; looks at `stop` between pieces."""
        ...

    def drain(self) -> None:
        """Waits for what is in flight."""
        ...


def run_until_signal(loops: Sequence[Loop]) -> int:
    """Runs the loops, each in a thread, until SIGTERM or SIGINT; returns the exit code.

    0: everything in flight has ended; 1: something had not within its time.
    """
    with _stop_signals() as wait:
        return _run(loops, wait)


def _run(loops: Sequence[Loop], wait_for_signal: Callable[[], str]) -> int:
    stop = threading.Event()
    threads = [
        threading.Thread(target=run_loop, args=(loop, stop), name=loop.name, daemon=True)
        for loop in loops
    ]
    for thread in threads:
        thread.start()
    _log.info("workers_started", workers=[loop.name for loop in loops])
    _log.info("workers_stopping", signal=wait_for_signal())
    stop.set()
    for loop in loops:
        loop.wake.set()
    deadline = time.monotonic() + max(loop.drain_seconds for loop in loops)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    unfinished = [thread.name for thread in threads if thread.is_alive()]
    _log.info("workers_stopped", unfinished=unfinished)
    return 1 if unfinished else 0


def run_loop(loop: Loop, stop: threading.Event) -> None:
    """Asks `loop` for rounds until `stop` is set, then drains it."""
    pause = SHORTEST_PAUSE_SECONDS
    while not stop.is_set():
        loop.wake.clear()
        if _round(loop, stop):
            pause = SHORTEST_PAUSE_SECONDS
            continue
        # The loop's own event: set by finished work and by the end.
        loop.wake.wait(pause * _jitter())
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    loop.drain()


def _round(loop: Loop, stop: threading.Event) -> int:
    try:
        return loop.round(stop)
    except CoreError as refusal:
        if refusal.family is Family.UNAVAILABLE:
            _log.warning("round_postponed", worker=loop.name, reason=refusal.reason)
        else:
            _log.exception("round_failed", worker=loop.name, reason=refusal.reason)
    except Exception:  # noqa: BLE001 (logged; the next round may fare better)
        _log.exception("round_failed", worker=loop.name)
    return 0


def _jitter() -> float:
    return random.uniform(1 - PAUSE_JITTER, 1 + PAUSE_JITTER)  # noqa: S311 (no secret)


@contextmanager
def _stop_signals() -> Iterator[Callable[[], str]]:
    """Catches the stop signals from here on; gives the function that waits for one.

    The wake-up socket is written to whichever thread the signal is delivered to, and whether or not
    the process blocked these signals while it started.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        try:
            yield lambda: signal.Signals(reader.recv(1)[0]).name
        finally:
            signal.set_wakeup_fd(-1)
