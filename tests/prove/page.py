"""docs/PROOF.md, made from the slices: never more than what they say."""

import os
import platform
from collections import Counter
from pathlib import Path

from tests.prove.parts import FAULT_KINDS, PARTS, Part
from tests.prove.record import Record

LONGEST_BAR = 40


def page(record: Record) -> str:
    """The whole page."""
    blocks = [
        "# Proof",
        "Written by `make prove`; do not edit. Counts what was run and nothing else, each part on its newest commit.",
        f"- Machine: {machine()}\n- Whole: {whole(record)}",
        "\n".join(["| Part | Done | Wanted | Violations | Minutes | State | Commit | Run |",
                   "|---|--:|--:|--:|--:|---|---|---|", *(line(record, part) for part in PARTS)]),
        *faults(record),
        *kills(record),
        *told(record),
        *seeds(record),
        *mutants(record),
        *failures(record),
    ]  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def whole(record: Record) -> str:
    missing = [part.name for part in PARTS if state(record, part) != "whole"]
    return "yes" if not missing else f"no: {', '.join(missing)}"


def state(record: Record, part: Part) -> str:
    """How far it came."""
    if record.failed(part.name) and not is_mended(record, part):
        return "**failed**"
    if record.done(part.name) >= part.wanted:
        silent = silent_faults(record, part.name)
        return f"**never struck: {', '.join(silent)}**" if silent else "whole"
    if not part.exists:
        return "no test yet"
    return "cut short" if record.done(part.name) else "not run"


def is_mended(record: Record, part: Part) -> bool:
    """Mutants that survived and were caught by a later run; a failure of any other part stands."""
    return part.name == "mutants" and record.done(part.name) >= part.wanted


def line(record: Record, part: Part) -> str:
    violations = len(record.failed(part.name)) if record.of(part.name) else "–"
    minutes = record.seconds(part.name) / 60
    slices = record.of(part.name)
    where = f"`{slices[-1].commit}` | {slices[-1].at}" if slices else "|"
    return (
        f"| {part.name}: {part.unit} | {record.done(part.name):,} | {part.wanted:,} | {violations} | "
        f"{minutes:.1f} | {state(record, part)} | {where} |"
    )


def struck(record: Record, part: str) -> Counter[str]:
    name, _ = FAULT_KINDS[part]
    return record.counted(part, name, "faults")


def silent_faults(record: Record, part: str) -> list[str]:
    """Kinds of fault that this part is about and that never happened."""
    if part not in FAULT_KINDS:
        return []
    counts = struck(record, part)
    return [kind for kind in FAULT_KINDS[part][1] if not counts[kind]]


def faults(record: Record) -> list[str]:
    blocks = []
    for part, (_, kinds) in FAULT_KINDS.items():
        counts = struck(record, part)
        if counts:
            blocks += [f"## Faults of {part}", bars({kind: counts[kind] for kind in kinds})]
    return blocks


def bars(counts: dict[str, int]) -> str:
    """A bar for each, by its share of the largest."""
    largest = max(counts.values(), default=0) or 1
    width = max(map(len, counts), default=0)
    rows = [
        f"{name:{width}} {n:>8,} {'█' * -(-n * LONGEST_BAR // largest)}".rstrip()
        for name, n in counts.items()
    ]
    return "\n".join(["```text", *rows, "```"])


def kills(record: Record) -> list[str]:
    points = Counter(fact["point"] for fact in record.facts("kills", "kill"))
    if not points:
        return []
    return [f"## Kills at {len(points)} points", bars(dict(sorted(points.items())))]


def told(record: Record) -> list[str]:
    """Figures of the parts that measure, as their tests told them."""
    names = ("failover", "rolling restart", "overload", "soak", "black hole", "generated requests")
    rows = [
        f"- {name}: " + ", ".join(f"{key} {value}" for key, value in fact.items() if key != "name")
        for name in names
        for part in PARTS
        for one in record.of(part.name)
        for fact in one.facts
        if fact["name"] == name
    ]
    counts = record.counted("schedules", "schedules", "answers")
    more = record.counted("processes", "process schedules", "answers")
    rows += [f"- requests in schedules: {counts.total():,}"] if counts else []
    rows += [f"- requests in process schedules: {more.total():,}"] if more else []
    return ["## Figures", "\n".join(rows)] if rows else []


def seeds(record: Record) -> list[str]:
    rows = [
        f"- {part}: seeds 0 to {record.done(part) - 1}"
        for part in ("schedules", "processes")
        if record.done(part)
    ]
    return ["## Seeds", "\n".join(rows)] if rows else []


def mutants(record: Record) -> list[str]:
    results = [fact["caught"] for fact in record.facts("mutants", "mutants")]
    if not results:
        return []
    rows = [f"| {name} | {test or '**nobody**'} |" for name, test in results[-1].items()]
    return ["## Mutants", "\n".join(["| Defect put in | Test that noticed |", "|---|---|", *rows])]


def failures(record: Record) -> list[str]:
    failed = [one for part in PARTS for one in record.of(part.name) if not one.passed]
    return [f"## Failure of {one.part}, {one.at}\n\n```text\n{one.failure}\n```" for one in failed]


def machine() -> str:
    """Processor, memory, system."""
    model = ""
    for entry in Path("/proc/cpuinfo").read_text().splitlines():
        if entry.startswith("model name"):
            model = entry.partition(": ")[2]
            break
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {model or platform.machine()}, {gigabytes:.0f} GB, Python {platform.python_version()}"
