"""Processor seconds, memory and descriptors of process trees, from /proc."""

import os
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree_seconds(roots: list[int]) -> float:
    """What the processes and all their descendants have used so far, ended children included."""
    return sum(own + reaped for _, own, reaped in _tree(roots).values()) / TICKS


def tree_resident_bytes(roots: list[int]) -> int:
    """Resident memory; what processes share counts for each, so that strangers who share it too change nothing."""
    pages = 0
    for pid in _tree(roots):
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tree_descriptors(roots: list[int]) -> int:
    """Files, sockets and pipes that are open."""
    count = 0
    for pid in _tree(roots):
        with suppress(OSError):
            count += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return count


def machine() -> str:
    """Processor, cores, memory and how busy the machine is, in one line."""
    info = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "?"
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    load = Path("/proc/loadavg").read_text().split()[0]
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, load {load} before the run"


def _tree(roots: list[int]) -> dict[int, tuple[int, int, int]]:
    """The processes and all their descendants, as `_stat` says."""
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in stats.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = {}, [root for root in roots if root in stats]
    while waiting:
        pid = waiting.pop()
        found[pid] = stats[pid]
        waiting += children.get(pid, [])
    return found


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
