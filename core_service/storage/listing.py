"""Lists of many rows, newest first, along ids that sort by time.

A filter that only a few rows pass must not make the database look through all of them. So a list looks through a
bounded stretch of ids for each page; a page may come short and still have a next one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from core_service.domain.ids import first_id
from core_service.storage.database import Row, execute, fetch_one, transact
from core_service.storage.paging import Page, PageRequest, Position, page_of, page_request, token_of

T = TypeVar("T")

PAGE_SIZE = 50
STRETCH = 4_000
"""Rows that one page looks through at most. Those of one merchant lie scattered, so each may be a block to read."""
_ID_LATER_THAN_CREATION = timedelta(minutes=1)
"""A row's id is made after `created_at` was taken, by much less than this."""


@dataclass(frozen=True)
class Found(Page[T]):
    """A page; `searched_back_to` is set when it ended because enough was looked through."""

    searched_back_to: datetime | None


def along_indexes(read: Callable[[], T]) -> T:
    """Runs reads in a transaction of their own that stays on indexes."""

    def work() -> T:
        stay_on_indexes()
        return read()

    return transact(work)


def stay_on_indexes() -> None:
    """Makes the planner find an index for whatever this transaction reads.

    Left to itself it counts on a stretch lying scattered all over the table, and near a million rows it comes out
    just in favour of reading the whole. Ids sort by time, so a stretch lies together.
    """
    execute("SET LOCAL enable_seqscan = off; SET LOCAL random_page_cost = 1.1; SET LOCAL jit = off")


class Conditions:
    """Parts of a WHERE clause, joined by AND, and their parameters."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.parameters: dict[str, Any] = {}

    def add(self, part: str, **parameters: Any) -> None:
        """`part` is a constant of ours; values are parameters."""
        self._parts.append(part)
        self.parameters.update(parameters)

    def add_if_given(self, part: str, **parameters: Any) -> None:
        """The same unless the only parameter is None."""
        if None not in parameters.values():
            self.add(part, **parameters)

    @property
    def sql(self) -> str:
        return " AND ".join(self._parts) or "true"

    def __bool__(self) -> bool:
        return bool(self._parts)


def add_time_range(
    ids: Conditions, rest: Conditions, prefix: str, start: datetime | None, end: datetime | None
) -> None:
    """Creation at or after `start` and before `end`: bounds on the id, and what they leave over."""
    if start is not None:
        ids.add("id >= %(start_id)s", start_id=first_id(prefix, start))
        rest.add("created_at >= %(start)s", start=start)
    if end is not None:
        ids.add("id < %(end_id)s", end_id=first_id(prefix, end + _ID_LATER_THAN_CREATION))
        rest.add("created_at < %(end)s", end=end)


def wanted_page(size: int | None, token: str | None) -> PageRequest:
    """As for other lists, but a page has 50 rows when nobody asked for more. Raises INVALID_REQUEST."""
    return page_request(size or PAGE_SIZE, token)


def stretch_sql(table: str, columns: str, ids: Conditions) -> str:
    """The next stretch of a table, newest first."""
    return f"SELECT {columns} FROM {table} WHERE {ids.sql} ORDER BY id DESC LIMIT {STRETCH}"  # noqa: S608 (constants)


def found_page(
    table: str,
    ids: Conditions,
    rows: Sequence[T],
    wanted: PageRequest,
    position: Callable[[T], Position],
    *,
    is_stretch: bool,
) -> Found[T]:
    """The page, and whether the search may go on beyond the stretch that it looked through."""
    page = page_of(rows, wanted, position)
    if page.next_token or not is_stretch:
        return Found(page.items, page.next_token, None)
    last = fetch_one(
        # The inner statement stays inside the index; only the row that it ends with is read.
        f"SELECT t.id, t.created_at FROM (SELECT id FROM {table} WHERE {ids.sql} ORDER BY id DESC "  # noqa: S608 (constants)
        f"OFFSET {STRETCH - 1} LIMIT 1) last JOIN {table} t ON t.id = last.id",
        ids.parameters,
    )
    if last is None:
        return Found(page.items, "", None)
    return Found(page.items, token_of(Position(last["created_at"], last["id"])), last["created_at"])


def without(row: Row, *names: str) -> tuple[Row, list[Any]]:
    """A row without some columns, and these columns' values."""
    return {key: value for key, value in row.items() if key not in names}, [
        row[name] for name in names
    ]
