"""Lists as CSV files, page by page from the core, so that no list is ever held whole."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

MOST_ROWS = 50_000
"""Rows of one file; the pages say so."""
PAGE_SIZE = 1000
_MOST_PAGES = 2500
"""Also when each comes almost empty: what was looked through is then ten million orders."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def line(cells: Iterable[str]) -> bytes:
    """A row. What a spreadsheet would take for a formula is made text: names come from strangers."""
    text = io.StringIO()
    csv.writer(text).writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return text.getvalue().encode("utf-8")


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
