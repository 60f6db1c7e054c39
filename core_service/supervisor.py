"""Starts programs in order, keeps them alive, and stops them in the reverse order.

Each program runs in a session of its own, so that Ctrl-C reaches only the supervisor, which then
stops the edge before the core and the core before the database. Each one also gets a death signal
from the kernel, so that nothing is left behind when the supervisor itself is killed.

It must run in the main thread: signals are delivered there, and the kernel ties the death signal
to the thread that started the child.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Self

from core_service.child_process import child_command

TICK_SECONDS = 1.0
READY_POLL_SECONDS = 0.1
FIRST_RESTART_PAUSE_SECONDS = 0.5
LONGEST_RESTART_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A program that lived this long starts again without a pause when it ends."""


class StopRequested(Exception):
    """SIGINT or SIGTERM came while programs were being started."""


class StartFailedError(Exception):
    """A program ended or did not become ready in time; the message names it."""


@dataclass(frozen=True)
class Program:
    """What to run, and how to see that it is ready and how long it may take to stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    is_ready: Callable[[], bool] | None = None
    """Asked again and again; None: ready as soon as it runs."""
    ready_timeout_seconds: float = 60.0
    stop_timeout_seconds: float = 30.0


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    restart_at: float | None = None


class Supervisor:
    """Context manager: leaving it, for whatever reason, stops everything that was started."""

    def __init__(self, tell: Callable[..., None] | None = None) -> None:
        self._tell = tell or log_line
        self._groups: list[list[_Child]] = []
        self._at_the_end: list[Callable[[], None]] = []
        self._is_stopping = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._restore: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        self._old_wakeup = signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        handlers = {
            signal.SIGINT: self._ask_to_stop,
            signal.SIGTERM: self._ask_to_stop,
            signal.SIGHUP: self._ask_to_stop,  # the terminal was closed
            signal.SIGCHLD: _only_wake,
        }
        for number, handler in handlers.items():
            self._restore[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_stopping = True
        while self._groups:
            self._stop_group(self._groups.pop())
        for finish in self._at_the_end:
            finish()
        for number, handler in self._restore.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def at_the_end(self, finish: Callable[[], None]) -> None:
        """Call `finish` when every program has stopped."""
        self._at_the_end.append(finish)

    def start(self, *programs: Program) -> None:
        """Start the programs of one group together and wait until all are ready.

        Raises StartFailedError, and StopRequested when a signal comes meanwhile.
        """
        children: list[_Child] = []
        self._groups.append(children)
        children.extend(self._spawn(program) for program in programs)
        for child in children:
            self._wait_until_ready(child)
            self._tell("program_ready", program=child.program.name, pid=child.process.pid)

    def watch(self, each_tick: Callable[[], object] | None = None) -> None:
        """Restart what ends, and call `each_tick` every second, until a signal asks to stop."""
        while self._sleep(TICK_SECONDS):
            if each_tick:
                each_tick()
            for child in [child for group in self._groups for child in group]:
                self._revive(child)

    def check_stop(self) -> None:
        """Raise StopRequested if a signal came; for long steps between two starts."""
        if self._is_stopping:
            raise StopRequested

    def _spawn(self, program: Program) -> _Child:
        process = subprocess.Popen(
            child_command(program.command, death_signal=signal.SIGTERM),
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            # Standard output is ours alone, so that `--json` stays one object.
            stdout=sys.stderr.fileno(),
            start_new_session=True,
        )
        return _Child(program, process, started=time.monotonic())

    def _wait_until_ready(self, child: _Child) -> None:
        program = child.program
        deadline = time.monotonic() + program.ready_timeout_seconds
        while True:
            self.check_stop()
            code = child.process.poll()
            if code is not None:
                raise StartFailedError(f"{program.name} ended with {code} while starting")
            if program.is_ready is None or program.is_ready():
                return
            if time.monotonic() > deadline:
                seconds = program.ready_timeout_seconds
                raise StartFailedError(f"{program.name} was not ready within {seconds:.0f} s")
            self._sleep(READY_POLL_SECONDS)

    def _revive(self, child: _Child) -> None:
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                fresh = self._spawn(child.program)
                child.process, child.started, child.restart_at = fresh.process, now, None
                self._tell("program_restarted", program=child.program.name, pid=fresh.process.pid)
            return
        code = child.process.poll()
        if code is None:
            return
        child.failures = 0 if now - child.started > STEADY_SECONDS else child.failures + 1
        pause = restart_pause(child.failures)
        child.restart_at = now + pause
        self._tell(
            "program_ended", program=child.program.name, exit_status=code, restart_in_seconds=pause
        )

    def _stop_group(self, children: list[_Child]) -> None:
        running = [child for child in children if child.process.poll() is None]
        for child in running:
            self._tell("program_stopping", program=child.program.name, pid=child.process.pid)
            child.process.terminate()
        for child in running:
            try:
                child.process.wait(child.program.stop_timeout_seconds)
            except subprocess.TimeoutExpired:
                self._tell("program_killed", program=child.program.name, pid=child.process.pid)
                # Its whole session: a killed master would leave its workers behind.
                os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()

    def _sleep(self, seconds: float) -> bool:
        """Sleep until time is up, a child ends or a signal comes; False when asked to stop."""
        if not self._is_stopping and select.select([self._wake_reader], [], [], seconds)[0]:
            os.read(self._wake_reader, 4096)
        return not self._is_stopping

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_stopping = True


def restart_pause(failures: int) -> float:
    """Seconds until the next start after this many quick ends in a row."""
    if failures == 0:
        return 0.0
    return min(FIRST_RESTART_PAUSE_SECONDS * 2.0 ** (failures - 1), LONGEST_RESTART_PAUSE_SECONDS)


def log_line(event: str, **fields: object) -> None:
    """Write one JSON object to standard error, as every program of NovaPay does."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"timestamp": moment, "level": "info", "event": event, **fields}
    sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stderr.flush()


def _only_wake(number: int, frame: FrameType | None) -> None:
    """A Python handler must exist for the signal to write into the wake-up pipe."""
