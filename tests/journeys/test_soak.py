"""Fault O06: what a load with broken requests in it leaves behind. `make prove PARTS=soak` takes half an hour."""

import json
import os
import subprocess
import sys

import pytest

from tests.stack import ROOT

MINUTES = "0.25"
MOST_MEMORY = 1.25
"""In so short a time caches still fill."""


@pytest.mark.slow
def test_o06_half_the_peak_with_faults_leaves_nothing_behind() -> None:
    paths = f"{ROOT}{os.pathsep}{ROOT / 'generated'}"
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", MINUTES, "--share", "0.5", "--faults"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    print(said)
    assert said["broken_on_purpose"] >= 4, "every kind of fault"
    assert [bound for bound in said["broken"] if not bound.startswith("memory")] == [], said
    for first, last in said["memory"].values():
        assert last <= MOST_MEMORY * first, said
