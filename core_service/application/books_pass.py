"""Goes through all the books, a slice at a time, again and again.

Each slice is one short look at one instant: every check of its table, for its rows, against everything that belongs to
them. So the check holds at any size, and a payment between two slices breaks nothing. A finished pass leaves a report.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from core_service.storage import books_reports, finance, job_progress
from core_service.storage.books_reports import BooksReportRow
from core_service.storage.database import transact
from core_service.storage.listing import stay_on_indexes

JOB = "books_pass"
SLICE = 1000
REST = timedelta(minutes=5)
"""Between two passes at least; a long pass is followed by a rest of three times its length."""

_log = structlog.get_logger(__name__)


def check_slice(now: datetime | None = None) -> int:
    """One slice; 1 when it ended a pass, else 0."""
    now = now or datetime.now(UTC)
    position = transact(lambda: job_progress.claim(JOB))
    if position is None:
        return 0
    try:
        if "rest_until" in position and now < datetime.fromisoformat(position["rest_until"]):
            return 0
        if "rest_until" in position or not position:
            position.clear()
            position.update(started_at=now.isoformat(), table=0, after=finance.FIRST_KEY, orders=0)
            position["violations"] = dict.fromkeys(finance.CHECKS, 0)
        _check(position)
        if position["table"] < len(finance.TABLES):
            return 0
        _finish(position, now)
        return 1
    finally:
        job_progress.give_back(JOB, position)


def orders_in_progress() -> int:
    """How many orders the pass that runs now has gone through."""
    return int(job_progress.position_of(JOB).get("orders", 0))


def _check(position: dict[str, Any]) -> None:
    table = finance.TABLES[position["table"]]
    after: tuple[str, str] = (position["after"][0], position["after"][1])

    def work() -> tuple[tuple[str, str], int, dict[str, int]]:
        finance.read_one_instant()
        stay_on_indexes()
        last, size = finance.end_of_slice(table, after, SLICE)
        rows = (after, SLICE)
        found = {
            name: finance.count_violations(name, tables=(table,), rows=rows)
            for name, by_table in finance.CHECKS.items()
            if table in by_table and size
        }
        return last, size, found

    last, size, found = transact(work)
    for name, violations in found.items():
        if violations:
            _log.error("books_broken", check=name, table=table, rows=violations, after=after)
        position["violations"][name] += violations
    if table == "payment_orders":
        position["orders"] += size
    position["after"] = last
    if size < SLICE:
        position["table"] += 1
        position["after"] = finance.FIRST_KEY


def _finish(position: dict[str, Any], now: datetime) -> None:
    started_at = datetime.fromisoformat(position["started_at"])
    report = BooksReportRow(started_at, now, position["orders"], position["violations"])
    transact(lambda: books_reports.insert(report))
    rest_until = now + max(REST, 3 * (now - started_at))
    position.clear()
    position["rest_until"] = rest_until.isoformat()
