"""Keyset paging over lists that show the newest first: a token names the last row of its page."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from core_service.errors import FieldViolation, invalid_request

T = TypeVar("T")

LARGEST_PAGE = 1000
"""Also the size of a page whose size nobody asked for."""
_SEPARATOR = "|"


@dataclass(frozen=True)
class Position:
    """The last row of a page; the next page holds what is older."""

    created_at: datetime
    id: str


@dataclass(frozen=True)
class PageRequest:
    """Which rows are wanted."""

    size: int
    after: Position | None


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows, newest first, and where the next page begins."""

    items: Sequence[T]
    next_token: str
    """Empty on the last page."""


def page_request(size: int | None, token: str | None) -> PageRequest:
    """Reads what a caller asked for. Raises INVALID_REQUEST for a token that is not one of ours."""
    return PageRequest(min(size or LARGEST_PAGE, LARGEST_PAGE), _position(token) if token else None)


def page_of(rows: Sequence[T], wanted: PageRequest, position: Callable[[T], Position]) -> Page[T]:
    """The page out of `wanted.size` + 1 rows; the surplus one only tells that there is more."""
    items = rows[: wanted.size]
    has_more = len(rows) > wanted.size
    return Page(items, token_of(position(items[-1])) if has_more else "")


def token_of(position: Position) -> str:
    """Names a row after which a page begins."""
    text = f"{position.created_at.isoformat()}{_SEPARATOR}{position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(token: str) -> Position:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
        created_at, separator, row_id = text.partition(_SEPARATOR)
        moment = datetime.fromisoformat(created_at)
    except (ValueError, binascii.Error):
        raise _not_ours() from None
    if not separator or not row_id or not row_id.isprintable() or moment.tzinfo is None:
        raise _not_ours()
    return Position(moment, row_id)


def _not_ours() -> Exception:
    return invalid_request(FieldViolation("page_token", "is not a token that a list answered"))
