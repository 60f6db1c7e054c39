"""Runs everything that proves something for a given time, and writes docs/PROOF.md: `make prove TIME=3600`.

The time is shared: schedules, fuzzing and generated requests get what is left after the parts that take as long as they
take (mutants, kills). A part that fails is named in the page, and the exit status is 1.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "PROOF.md"
SCHEDULES_A_SECOND = 2.0
"""On two cores; decides how many are tried in the time there is."""
EXECUTIONS_A_SECOND = 20_000
KILL_TESTS = (
    "tests/core_service/application/test_kills.py",
    "tests/journeys/test_kill.py",
    "tests/journeys/test_outages.py",
    "tests/journeys/test_rolling_restart.py",
)
SHARES = {"schedules": 0.5, "fuzzing": 0.3, "requests": 0.2}


@dataclass
class Proof:
    """What was done and what came of it."""

    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, done: subprocess.CompletedProcess[str], said: str) -> None:
        verdict = "0 violations" if done.returncode == 0 else "**FAILED**"
        self.lines.append(f"| {name} | {said} | {verdict} |")
        if done.returncode:
            self.failures.append(f"## {name}\n\n```\n{done.stdout[-4000:]}\n```\n")


def main(seconds: float) -> int:
    """The exit status."""
    began = datetime.now(UTC)
    proof = Proof()
    seed = int(time.time())
    simulate(proof, seed, max(100, int(seconds * SHARES["schedules"] * SCHEDULES_A_SECOND)))
    fuzz(proof, seconds * SHARES["fuzzing"])
    requests(proof, seed, max(500, int(seconds * SHARES["requests"] * 25)))
    pytest_part(proof, "kills and restarts", *KILL_TESTS)
    mutants(proof)
    PAGE.write_text(page(proof, began, seed))
    print(PAGE.read_text())
    return 1 if proof.failures else 0


def simulate(proof: Proof, seed: int, schedules: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        done = pytest(
            "tests/simulation", "-n", "2", "--dist", "loadfile",
            NOVAPAY_SCHEDULES=str(schedules), NOVAPAY_FIRST_SEED=str(seed),
            NOVAPAY_SIMULATION_REPORT=folder,
        )  # fmt: skip
        counted = [json.loads(file.read_text()) for file in Path(folder).glob("*.json")]
    faults: Counter[str] = Counter()
    for one in counted:
        faults.update(one["faults"])
    total = sum(one["schedules"] for one in counted)
    answers = sum(sum(one["answers"].values()) for one in counted)
    said = (
        f"{total} schedules from seed {seed}, {answers} requests, {faults.total()} faults of "
        f"{len(faults)} kinds, {sum(n for name, n in faults.items() if name.startswith('crash'))} crashes"
    )
    proof.add("simulation", done, said)
    shown = ", ".join(f"{name} {n}" for name, n in sorted(faults.items()))
    proof.lines.append(f"| | faults: {shown} | |")


def fuzz(proof: Proof, seconds: float) -> None:
    """Each target as long as its share, at most a million executions."""
    for name in TARGETS:
        with tempfile.TemporaryDirectory() as folder:
            done = run(
                [sys.executable, "-m", "tests.fuzz", name, "1000000", str(max(2, seconds / len(TARGETS)))],
                cwd=folder, PYTHONPATH=f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            )  # fmt: skip
        found = re.search(r"number_of_executed_units: (\d+)", done.stdout)
        proof.add(f"fuzzing {name}", done, f"{int(found[1]) if found else 0} executions")


def requests(proof: Proof, seed: int, count: int) -> None:
    done = pytest(
        "tests/contract/test_generated_requests.py",
        NOVAPAY_GENERATED_REQUESTS=str(count), NOVAPAY_GENERATED_SEED=str(seed),
    )  # fmt: skip
    proof.add("requests made from the API document", done, f"{count} requests")


def pytest_part(proof: Proof, name: str, *files: str) -> None:
    done = pytest(*(file for file in files if (ROOT / file).exists()))
    found = re.search(r"(\d+) passed", done.stdout)
    proof.add(name, done, f"{found[1] if found else 0} tests")


def mutants(proof: Proof) -> None:
    done = run([sys.executable, "-m", "tests.mutants"], cwd=str(ROOT))
    found = re.search(r"(\d+ of \d+) mutants caught", done.stdout)
    proof.add("mutants", done, f"{found[1] if found else 0} caught")


def pytest(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run([sys.executable, "-m", "pytest", "-q", *arguments], cwd=str(ROOT), **environment)


def run(command: list[str], *, cwd: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    print(" ".join(command), flush=True)
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def page(proof: Proof, began: datetime, seed: int) -> str:
    commit = run(["git", "rev-parse", "--short", "HEAD"], cwd=str(ROOT)).stdout.strip()
    minutes = (datetime.now(UTC) - began).total_seconds() / 60
    return "\n".join(
        (
            "# Proof",
            "",
            "Written by `make prove`; do not edit. Everything ran on one machine, against real PostgreSQL.",
            "",
            f"{began:%Y-%m-%d %H:%M} UTC, commit {commit}, {minutes:.0f} minutes, seed {seed}.",
            "",
            "| part | what was run | result |",
            "|---|---|---|",
            *proof.lines,
            "",
            *proof.failures,
        )
    )


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600))
