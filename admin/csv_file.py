"""Lists as CSV files, page by page from the core, so that no list is ever held whole."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC
from typing import Any, ClassVar

from google.protobuf.message import Message

from admin.layout.formats import ZONE
from admin.page import Page
from admin.visit import Reply, Visit

MOST_ROWS = 50_000
"""Rows of one file; the pages say so."""
PAGE_SIZE = 1000
_MOST_PAGES = 2500
"""Also when each comes almost empty: what was looked through is then ten million orders."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EXACT_DIGITS = 15
"""A spreadsheet makes zeros of what a number has beyond these; providers' numbers have more."""


def line(cells: Iterable[str]) -> bytes:
    """A row. What a spreadsheet would take for a formula, or would round, is made text: names come from strangers."""
    text = io.StringIO()
    csv.writer(text).writerow([_as_text(cell) for cell in cells])
    return text.getvalue().encode("utf-8")


def _as_text(cell: str) -> str:
    is_rounded = len(cell) > _EXACT_DIGITS and cell.isdigit()
    return f"'{cell}" if is_rounded or cell.startswith(_FORMULA) else cell


def time_cell(row: Message, field: str) -> str:
    """A time with its zone; empty when it is not there."""
    moment: Any = getattr(row, field)
    if not row.HasField(field):
        return ""
    return str(moment.ToDatetime(UTC).astimezone(ZONE).isoformat(timespec="milliseconds"))


async def rows(
    header: Sequence[str],
    ask: Callable[[str], Awaitable[tuple[Sequence[Any], str]]],
    cells: Callable[[Any], Sequence[str]],
) -> AsyncIterator[bytes]:
    """The file. `ask` answers the page of a token and the next token."""
    yield b"\xef\xbb\xbf" + line(header)
    token, written = "", 0
    for _ in range(_MOST_PAGES):
        items, token = await ask(token)
        kept = items[: MOST_ROWS - written]
        written += len(kept)
        if kept:
            yield b"".join(line(cells(item)) for item in kept)
        if not token or written >= MOST_ROWS:
            return


class ListFile(Page):
    """The list of a page as a file: at the page's address with `.csv`, by the same filters.

    Subclasses set `rpc`, `rows` and `columns` and define `wanted` and `cells`; there is no sensible one for all.
    """

    page_size: ClassVar[int] = PAGE_SIZE
    rows: ClassVar[str]
    """The field of the answer that has them."""
    columns: ClassVar[tuple[str, ...]]
    """Text keys."""

    def wanted(self, visit: Visit) -> Any:
        """The request that the page would send. Raises INVALID_REQUEST."""
        raise NotImplementedError

    def cells(self, row: Any) -> list[str]:
        """One for each column."""
        raise NotImplementedError

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """As it is made."""
        wanted = self.wanted(visit)
        wanted.page_size = self.page_size

        async def ask(token: str) -> tuple[Any, str]:
            wanted.page_token = token
            found = await visit.call(self.rpc, wanted)
            return getattr(found, self.rows), found.next_page_token

        # The first page before the answer begins: a refusal must still become an error page.
        first = await ask("")

        async def ask_on(token: str) -> tuple[Any, str]:
            return first if not token else await ask(token)

        lines = rows([visit.t(key) for key in self.columns], ask_on, self.cells)
        name = self.path.rpartition("/")[2]
        return visit.download(name, "text/csv; charset=utf-8", lines)
