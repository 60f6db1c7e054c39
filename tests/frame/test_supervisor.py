"""The supervisor runs in a process of its own here, as it does in life: it owns the signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# Programs append a line when they start and when they are told to stop.
CHILD = """
import os, signal, sys, time
name, journal = sys.argv[1:3]
def note(what):
    with open(journal, "a") as file: file.write(f"{what} {name} {os.getpid()}\\n")
def stop(*_):
    note("stopping"); time.sleep(0.1); note("stopped"); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
while True: time.sleep(60)
"""

PARENT = """
import os, sys
from core_service.supervisor import Program, StopRequested, Supervisor
child, journal = sys.argv[1:3]
def has(line):
    return os.path.exists(journal) and line in open(journal).read()
def program(name):
    command = [sys.executable, "-c", child, name, journal]
    return Program(name, command, os.environ, is_ready=lambda: has(f"started {name}"))
try:
    with Supervisor() as supervisor:
        supervisor.start(program("database"))
        supervisor.start(program("core-1"), program("core-2"))
        supervisor.start(program("edge"))
        print("ready", flush=True)
        supervisor.watch()
except StopRequested:
    pass
"""


class Running:
    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, CHILD, self.journal],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def names(self, what: str) -> list[str]:
        return [line.split()[1] for line in self.lines() if line.startswith(f"{what} ")]

    def pid_of(self, name: str) -> int:
        return int(
            next(x for x in reversed(self.lines()) if x.startswith(f"started {name}")).split()[2]
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def events(self) -> list[dict[str, Any]]:
        assert self.process.stderr is not None
        return [json.loads(line) for line in self.process.stderr.read().splitlines()]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    run = Running(tmp_path)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()
        wait_for(lambda: not any(alive(int(line.split()[2])) for line in run.lines()))


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_starts_in_order_and_stops_in_reverse(running: Running, number: signal.Signals) -> None:
    running.wait_until_ready()
    started = running.names("started")
    assert (started[0], set(started[1:3]), started[3]) == ("database", {"core-1", "core-2"}, "edge")
    running.process.send_signal(number)
    assert running.process.wait(20) == 0
    stopped = running.names("stopped")
    assert (stopped[0], set(stopped[1:3]), stopped[3]) == ("edge", {"core-1", "core-2"}, "database")
    # One group has quite gone before the next one is told.
    journal = [line.rsplit(" ", 1)[0] for line in running.lines()]
    assert journal.index("stopped edge") < journal.index("stopping core-1")
    assert journal.index("stopped core-2") < journal.index("stopping database")


def test_a_program_that_dies_is_started_again(running: Running) -> None:
    running.wait_until_ready()
    first = running.pid_of("core-1")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: running.names("started").count("core-1") == 2)
    assert running.pid_of("core-1") != first
    running.process.terminate()
    assert running.process.wait(20) == 0
    events = running.events()
    ended = next(event for event in events if event["event"] == "program_ended")
    assert (ended["program"], ended["exit_status"]) == ("core-1", -signal.SIGKILL)
    assert "program_restarted" in {event["event"] for event in events}


def test_nothing_is_left_when_the_supervisor_is_killed(running: Running) -> None:
    running.wait_until_ready()
    pids = [running.pid_of(name) for name in ("database", "core-1", "core-2", "edge")]
    running.process.kill()
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_a_program_that_cannot_start_is_named_and_the_others_stop() -> None:
    script = """
import os, sys, time
from core_service.supervisor import Program, StartFailedError, Supervisor
good = Program("good", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
bad = Program("bad", [sys.executable, "-c", "raise SystemExit(3)"], os.environ, lambda: False)
try:
    with Supervisor() as supervisor:
        supervisor.start(good)
        supervisor.start(bad)
except StartFailedError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "bad ended with 3 while starting\n"
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["program"] for event in events if event["event"] == "program_stopping"] == [
        "good"
    ]


def test_restart_pauses_grow_up_to_a_limit() -> None:
    from core_service.supervisor import restart_pause

    assert [0.0, 0.5, 1.0, 2.0, 4.0] == [restart_pause(failures) for failures in range(5)]
    assert restart_pause(50) == 30.0
