"""What passes through the books found."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core_service.domain.ids import new_id
from core_service.storage.database import execute, fetch_one


@dataclass(frozen=True)
class BooksReportRow:
    """A finished pass; `violations` has every check by name."""

    started_at: datetime
    finished_at: datetime
    orders: int
    violations: Mapping[str, int]


def insert(report: BooksReportRow) -> None:
    """Keeps a report."""
    execute(
        "INSERT INTO books_reports (id, started_at, finished_at, orders, violations) VALUES (%s, %s, %s, %s, %s)",
        (new_id("bks"), report.started_at, report.finished_at, report.orders, json.dumps(dict(report.violations))),
    )  # fmt: skip


def newest() -> BooksReportRow | None:
    """The last pass; None until one is finished."""
    row = fetch_one(
        "SELECT started_at, finished_at, orders, violations FROM books_reports ORDER BY id DESC LIMIT 1"
    )
    if row is None:
        return None
    return BooksReportRow(**{**row, "violations": json.loads(row["violations"])})
