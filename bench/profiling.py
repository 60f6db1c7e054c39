"""Flame graphs of every process under the load of each scenario, by py-spy."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from bench import measuring
from bench.installation import Installation
from bench.scenarios import Scenario

CONNECTIONS = 32


def profile(
    installation: Installation, scenarios: Sequence[Scenario], folder: Path, seconds: float
) -> None:
    """`folder/SCENARIO-PROCESS.svg`, and the same as collapsed stacks in `.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    installation.pause_workers()
    for scenario in scenarios:
        measuring.scenario_sample(installation, scenario, CONNECTIONS, 0.7)
        word = scenario.name.replace(" ", "-")
        for form, ending in (("flamegraph", "svg"), ("raw", "txt")):
            recorders = [
                _recorder(pid, folder / f"{word}-{name}.{ending}", form, seconds)
                for name, pid in _processes(installation)
            ]
            load = threading.Thread(
                target=measuring.scenario_sample,
                args=(installation, scenario, CONNECTIONS, seconds + 1),
            )
            load.start()
            load.join()
            for recorder in recorders:
                recorder.wait()


def _processes(installation: Installation) -> list[tuple[str, int]]:
    groups = installation.groups()
    edge_workers = [child for pid in groups["edge"] for child in _children(pid)]
    return [
        *((f"core-{number}", pid) for number, pid in enumerate(groups["core"], 1)),
        *((f"edge-{number}", pid) for number, pid in enumerate(edge_workers, 1)),
    ]


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _recorder(pid: int, path: Path, form: str, seconds: float) -> "subprocess.Popen[bytes]":
    spy = Path(sys.executable).with_name("py-spy")
    return subprocess.Popen(
        [
            str(spy), "record", "--pid", str(pid), "--output", str(path), "--format", form,
            "--duration", str(max(1, round(seconds))), "--rate", "200", "--gil", "--nonblocking",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
