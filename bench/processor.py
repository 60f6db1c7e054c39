"""Processor seconds of process trees, from /proc."""

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree_seconds(roots: list[int]) -> float:
    """What the processes and all their descendants have used so far, ended children included."""
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    ticks, waiting = 0, [root for root in roots if root in stats]
    while waiting:
        pid = waiting.pop()
        _, own, reaped = stats[pid]
        ticks += own + reaped
        waiting += children.get(pid, [])
    return ticks / TICKS


def machine() -> str:
    """Processor, cores, memory and how busy the machine is, in one line."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?"
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    load = Path("/proc/loadavg").read_text().split()[0]
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, load {load} before the run"


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _stat(pid: int) -> tuple[int, int, int] | None:
    """Parent, ticks of its own, ticks of children that it has waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
