"""The table that `make bench` prints and keeps in `RESULTS.md`."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.floor import SIGNATURE, TRANSACTION
from bench.results import GROUPS, Row

RESULTS = Path(__file__).with_name("RESULTS.md")
HISTORY = "## History\n"
_HEAD = (
    "| ratio | by processor | scenario | connections | ok/s | p50 ms | p95 ms | p99 ms | errors "
    "| edge ms | core ms | worker ms | PostgreSQL ms |"
)


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Each scenario's rate over the floor rate of create at the same concurrency (operations.md's definition)."""
    floors = {row.connections: cost for row in rows if (cost := _floor(rows, row.connections))}
    if not floors:
        return list(rows)
    least = min(floors.values())
    return [
        row if "floor" in row.processor else _with_ratio(row, floors.get(row.connections, least))
        for row in rows
    ]


def _with_ratio(row: Row, floor: float) -> Row:
    spent = sum(row.processor.get(group, 0.0) for group in (*GROUPS, "load"))
    return replace(
        row,
        ratio=row.rate / _rate(floor),
        processor_ratio=floor / spent if spent else 0.0,
    )


def _rate(floor: float) -> float:
    return 1000 * (os.cpu_count() or 1) / floor


def _floor(rows: Sequence[Row], connections: int) -> float | None:
    """Processor milliseconds of one signature and one transaction, database and pgbench together."""
    each = {(row.name, row.connections): row.processor.get("floor", 0.0) for row in rows}
    signature, transaction = each.get((SIGNATURE, 1)), each.get((TRANSACTION, connections))
    return signature + transaction if signature and transaction else None


def table(rows: Sequence[Row]) -> str:
    """Markdown, scenarios first, then the floor."""
    lines = [_HEAD, "|" + "---:|" * 2 + "---|" + "---:|" * 10]
    lines += [_line(row) for row in rows if row.ratio is not None]
    lines += ["", "| floor piece | connections | a second | processor ms |", "|---|---:|---:|---:|"]
    lines += [
        f"| {row.name} | {row.connections} | {row.rate:.0f} | {row.processor['floor']:.3f} |"
        for row in rows
        if "floor" in row.processor
    ]
    for connections in sorted({row.connections for row in rows if row.name == TRANSACTION}):
        floor = _floor(rows, connections)
        if floor:
            lines.append(
                f"| **floor of create** | {connections} | **{_rate(floor):.0f}** | {floor:.3f} |"
            )
    problems = [
        f"- {row.name} at {row.connections}: {row.first_error}" for row in rows if row.first_error
    ]
    return "\n".join([*lines, *(["", "First wrong answers:", *problems] if problems else [])])


def _line(row: Row) -> str:
    spent = " | ".join(f"{row.processor.get(group, 0.0):.2f}" for group in GROUPS)
    times = f"{row.p50:.1f} | {row.p95:.1f} | {row.p99:.1f}"
    connections = row.connections or "all"
    ratios = f"{row.ratio:.2f} | {row.processor_ratio:.2f}"
    return f"| {ratios} | {row.name} | {connections} | {row.rate:.0f} | {times} | {row.errors} | {spent} |"


def verdicts(rows: Sequence[Row]) -> str:
    """The targets that can be read from one run, each with what was seen."""
    by_name = {(row.name, row.connections): row for row in rows}
    most = max(row.connections for row in rows)
    create = by_name.get(("create alipay.page", most))
    if create is None or create.ratio is None:
        return ""
    hop = by_name.get(("empty RPC", most))
    facts = [
        ("create over its floor rate", create.ratio, 0.40, True),
        ("the same by processor time", create.processor_ratio or 0.0, 0.40, True),
        ("create p99 over p50", create.p99 / max(create.p50, 0.001), 4.0, False),
    ]
    facts += [
        (f"{name} over create", by_name[key].rate / create.rate, target, True)
        for name, target in (
            ("query", 3.0),
            ("replay", 2.0),
            ("notification", 1.0),
            ("delivery", 2.0),
        )
        if (key := (name, 0 if name == "delivery" else most)) in by_name
    ]
    if hop is not None:
        ratio = create.processor["edge"] / hop.processor["floor"]
        facts.append(("edge's processor time over the empty RPC's", ratio, 1.5, False))
    return "\n".join(
        f"- {name}: {seen:.2f} (target {'≥' if at_least else '≤'} {target})"
        f"{'' if (seen >= target) == at_least or seen == target else ' **missed**'}"
        for name, seen, target, at_least in facts
    )


def keep(text: str, machine: str) -> None:
    """Put this run at the top of RESULTS.md; earlier ones become history, newest first."""
    title = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {_commit()} · {machine}"
    before = RESULTS.read_text() if RESULTS.exists() else ""
    head, _, past = before.partition(HISTORY)
    latest = head.partition("## Latest run\n")[2].strip()
    if latest:
        past = f"\n### {latest}\n{past}"
    RESULTS.write_text(f"{_INTRODUCTION}\n## Latest run\n\n{title}\n\n{text}\n\n{HISTORY}{past}")


_INTRODUCTION = """\
# Results of `make bench`

Written by `make bench`, unless an entry says otherwise; how to read it: [docs/performance.md](../docs/performance.md).
Ratios hold on any machine, absolute figures only on the one that is named. Load, database and everything
else share its cores.
"""


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=RESULTS.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "no commit"
