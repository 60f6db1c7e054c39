"""Failpoints do what they are armed with, once, at the hit that was named."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core_service import failpoints

ROOT = Path(__file__).parents[2]
PROGRAM = """
from core_service.failpoints import FailpointHit, failpoint
for number in range(1, 4):
    try:
        failpoint("c2")
        print(number, flush=True)
    except FailpointHit as hit:
        print(f"hit {hit}", flush=True)
"""


def run(**environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("armed", "said", "status"),
    [
        ("", ["1", "2", "3"], 0),
        ("c3=kill", ["1", "2", "3"], 0),
        ("c2=raise", ["hit c2", "2", "3"], 0),
        ("c1=kill,c2=raise@3", ["1", "2", "hit c2"], 0),
        ("c2=delay:0.01", ["1", "2", "3"], 0),
        ("c2=kill@2", ["1"], -signal.SIGKILL),
    ],
)
def test_points_strike_at_the_hit_that_was_named(armed: str, said: list[str], status: int) -> None:
    with run(NOVAPAY_FAILPOINTS=armed) as process:
        output, _ = process.communicate(timeout=30)
    assert (output.split("\n")[:-1], process.returncode) == (said, status)


def test_a_paused_process_goes_on_when_it_is_told_to() -> None:
    with run(NOVAPAY_FAILPOINTS="c2=pause@2") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
    assert output.split() == ["1", "2", "3"]


def test_a_file_arms_a_point_once(tmp_path: Path) -> None:
    (tmp_path / "c2").write_text("raise\n")
    with run(NOVAPAY_FAILPOINT_DIR=str(tmp_path)) as process:
        output, _ = process.communicate(timeout=30)
    assert output.split("\n")[:-1] == ["hit c2", "2", "3"]
    assert list(tmp_path.iterdir()) == []


def test_an_observer_sees_every_point_until_it_is_gone() -> None:
    seen: list[str] = []
    failpoints.observe(seen.append)
    try:
        failpoints.failpoint("n1")
    finally:
        failpoints.observe(None)
    failpoints.failpoint("n2")
    assert seen == ["n1"]
