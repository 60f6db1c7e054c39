"""The parts of the proof: how much of each is wanted, and how one slice of it is run."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS
from tests.journeys.process_faults import FAULTS
from tests.mutants.catalogue import MUTANTS
from tests.prove.record import ROOT, Record, Slice
from tests.simulation.faults import RATES

KILL_TESTS = (
    "tests/core_service/application/test_kills.py", "tests/core_service/workers/test_worker_process.py",
    "tests/frame/test_migrator.py", "tests/journeys/test_key_rotation.py",
)  # fmt: skip
Facts = list[dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """One kind of proof; `run` does a slice of at most `most` and counts what it did."""

    name: str
    unit: str
    wanted: int
    most: int
    run: Callable[["Part", Record, int], Slice]
    needs: str = ""
    """A file without which there is nothing to run."""

    @property
    def exists(self) -> bool:
        return not self.needs or (ROOT / self.needs).exists()


def pytest_part(
    name: str, unit: str, wanted: int, most: int, *files: str, count: Callable[[Facts], int],
    sizes: Mapping[str, int] | None = None, first: str = "", options: tuple[str, ...] = (),
) -> Part:  # fmt: skip
    """Tests that tell what they did.

    `sizes`: setting that says how much → how much of it for one of the unit; `first`: the setting for the first seed.
    """

    def run(part: Part, record: Record, left: int) -> Slice:
        many = min(left, part.most)
        environment = {setting: str(each * many) for setting, each in (sizes or {}).items()}
        if first:
            environment[first] = str(record.done_here(name))
        return ran(name, [*files, *options], environment, count)

    return Part(name, unit, wanted, most, run, files[0])


def ran(
    name: str, arguments: list[str], environment: dict[str, str], count: Callable[[Facts], int]
) -> Slice:
    """A slice from one run of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder, "lines")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        began = time.monotonic()
        done = execute(command, {**environment, "NOVAPAY_PROOF_LINES": str(lines)})
        facts = (
            [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
        )
    passed = done.returncode == 0
    return Slice(
        name, count(facts) if passed else 0, time.monotonic() - began, passed, facts,
        "" if passed else done.stdout[-4000:],
    )  # fmt: skip


def fuzzing(part: Part, record: Record, left: int) -> Slice:
    """One target, guided by what earlier slices found."""
    target = part.name.removeprefix("fuzz ")
    corpus = record.folder / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done = execute(
        [sys.executable, "-m", "tests.fuzz", target, str(min(left, part.most)), "0", str(corpus)],
        {},
        corpus.parent,  # where it leaves an input that breaks something
    )
    found = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    passed = done.returncode == 0 and found is not None
    return Slice(
        part.name, int(found[1]) if found else 0, time.monotonic() - began, passed,
        failure="" if passed else done.stdout[-4000:],
    )  # fmt: skip


def overload(part: Part, _record: Record, _left: int) -> Slice:
    """One minute each of the peak and of ten times as much."""
    return benched(part, 1, ["bench.overload", "60"])


def soak(part: Part, _record: Record, left: int) -> Slice:
    """Half of the peak, with faults."""
    minutes = min(left, part.most)
    return benched(part, minutes, ["bench.soak", str(minutes), "--share", "0.5", "--faults"])


def benched(part: Part, many: int, arguments: list[str]) -> Slice:
    """A slice from a program of `bench`, which judges itself and says one line about `part`."""
    began = time.monotonic()
    done = execute([sys.executable, "-m", *arguments], {})
    start = f'{{"name": "{part.name}"'
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(start)]
    passed = done.returncode == 0 and bool(said)
    return Slice(
        part.name, many if passed else 0, time.monotonic() - began, passed, said,
        "" if passed else done.stdout[-4000:],
    )  # fmt: skip


def mutants(part: Part, record: Record, _left: int) -> Slice:
    """All that are not known to be caught yet; each result is kept when it is there."""
    file = record.folder / "mutants.jsonl"
    began = time.monotonic()
    done = execute([sys.executable, "-m", "tests.mutants"], {"NOVAPAY_MUTANTS_KNOWN": str(file)})
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    results = {line["name"]: line["caught_by"] for line in lines}  # the last of each
    new = sum(map(bool, results.values())) - record.done_here(part.name)
    return Slice(
        part.name, new, time.monotonic() - began, done.returncode == 0,
        [{"name": "mutants", "caught": results}], "" if done.returncode == 0 else done.stdout[-4000:],
    )  # fmt: skip


def execute(
    command: list[str], environment: dict[str, str], folder: Path = ROOT
) -> "subprocess.CompletedProcess[str]":
    """Runs it in a folder; its output is kept."""
    paths = f"{ROOT}{os.pathsep}{ROOT / 'generated'}"
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths, **environment}, text=True,
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def total(name: str, what: str) -> Callable[[Facts], int]:
    """Counts by the sum of a field of the lines of this name."""
    return lambda facts: sum(int(fact[what]) for fact in facts if fact["name"] == name)


def lines(name: str) -> Callable[[Facts], int]:
    """Counts the lines of this name."""
    return lambda facts: sum(fact["name"] == name for fact in facts)


PARTS = (
    pytest_part(
        "schedules", "schedules in one process", 10_000, 500, "tests/simulation/test_schedules_1.py",
        "tests/simulation/test_schedules_2.py", count=total("schedules", "schedules"),
        sizes={"NOVAPAY_SCHEDULES": 1}, first="NOVAPAY_FIRST_SEED", options=("-n", "2", "--dist", "loadfile"),
    ),
    pytest_part(
        "processes", "schedules over real processes", 40, 5, "tests/journeys/test_process_schedules.py",
        count=lines("process schedule"), sizes={"NOVAPAY_PROCESS_SCHEDULES": 1}, first="NOVAPAY_FIRST_SEED",
    ),
    pytest_part("kills", "kills at named points", 600, 600, *KILL_TESTS, count=lines("kill")),
    pytest_part(
        "failover", "failovers to the standby", 10, 5, "tests/journeys/test_failover.py",
        count=total("failover", "failovers"), sizes={"NOVAPAY_FAILOVERS": 1},
    ),
    pytest_part(
        "rolling", "rolling restarts under 5,000 requests each", 10, 2, "tests/journeys/test_rolling_restart.py",
        count=total("rolling restart", "restarts"),
        sizes={"NOVAPAY_RESTARTS": 1, "NOVAPAY_RESTART_REQUESTS": 5_000},
    ),
    Part("overload", "loads of ten times the capacity", 1, 1, overload, "bench/overload.py"),
    # Half an hour at a stretch: what grows slowly is not seen in pieces.
    Part("soak", "minutes at half the peak with 1 % of faults", 30, 30, soak, "bench/soak.py"),
    pytest_part(
        "black hole", "merchants that never answer", 1, 1, "tests/core_service/workers/black_hole.py",
        count=lines("black hole"),
    ),
    pytest_part("slow sockets", "runs with 500 slow or idle sockets", 1, 1, "tests/rest_edge/test_framing.py",
                count=lambda _facts: 1),
    pytest_part(
        "requests", "requests made from the API document", 20_000, 2_000,
        "tests/contract/test_generated_requests.py", count=total("generated requests", "requests"),
        sizes={"NOVAPAY_GENERATED_REQUESTS": 1}, first="NOVAPAY_GENERATED_SEED",
    ),
    *(Part(f"fuzz {target}", "executions", 1_000_000, 250_000, fuzzing) for target in TARGETS),
    Part("mutants", "mutants caught", len(MUTANTS), len(MUTANTS), mutants),
)  # fmt: skip

FAULT_KINDS = {
    "schedules": ("schedules", tuple(RATES)),
    "processes": ("process schedules", FAULTS),
}
"""Part → the line that counts its faults, and every kind that must strike before the part is whole."""
