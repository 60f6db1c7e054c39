"""What became of merchants' signed requests, for their developers; costs a request nothing but memory.

Requests are noted in a bounded queue and written by a thread beside them. Under a flood the surplus
is dropped and counted; a crash loses what the last flush had not written. Only requests with the id
of a key that exists are kept, those with a wrong signature too.
"""

from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime

import structlog

from core_service.application.admin_values import is_reference, merchant_by_code
from core_service.domain import signature
from core_service.storage import signed_requests
from core_service.storage.paging import Page, page_request
from core_service.storage.signed_requests import SignedRequestRow

MOST_WAITING = 4000
MOST_OF_ONE_KEY = 1000
"""Of those that are written at once: a flood with one key leaves room for the others."""
LONGEST_DETAIL = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Noted:
    """A signed request that was answered."""

    id: str
    at: datetime
    operation: str
    outcome: str
    detail: str | None
    key_id: bytes
    """As it was sent; nobody has judged it."""
    client_address: str | None
    request_id: str
    duration_ms: int


class _Waiting:
    """Requests that are not written yet."""

    def __init__(self) -> None:
        # Appending to a deque and taking from it need no lock of ours.
        self._noted: deque[Noted] = deque()
        self._dropped = 0

    def note(self, request: Noted) -> None:
        if len(self._noted) >= MOST_WAITING:
            self._dropped += 1
            return
        self._noted.append(request)

    def take(self) -> tuple[list[Noted], int]:
        taken = [self._noted.popleft() for _ in range(len(self._noted))]
        dropped, self._dropped = self._dropped, 0
        return taken, dropped


_waiting = _Waiting()


def note(request: Noted) -> None:
    """Keep a request for the next flush, if there is room."""
    if signature.is_key_id(request.key_id):
        _waiting.note(request)


def flush() -> None:
    """Write what was noted since the last flush; for a thread beside the requests."""
    taken, dropped = _waiting.take()
    by_key: Counter[bytes] = Counter()
    kept = []
    for request in taken:
        by_key[request.key_id] += 1
        if by_key[request.key_id] <= MOST_OF_ONE_KEY:
            kept.append(request)
    dropped += len(taken) - len(kept)
    if dropped:
        _log.warning("request_log_dropped", requests=dropped)
    if not kept:
        return
    owners = signed_requests.owners_of({request.key_id.decode("ascii") for request in kept})
    rows = [
        SignedRequestRow(
            merchant_id=owners[key_id],
            id=request.id,
            at=request.at,
            operation=request.operation,
            outcome=request.outcome,
            detail=None if request.detail is None else request.detail[:LONGEST_DETAIL],
            key_id=key_id,
            client_address=request.client_address,
            request_id=request.request_id,
            duration_ms=request.duration_ms,
        )
        for request in kept
        if (key_id := request.key_id.decode("ascii")) in owners
    ]
    signed_requests.insert(rows)


def newest(
    merchant_code: str,
    *,
    refused: bool,
    key_id: str | None,
    page_size: int | None,
    page_token: str | None,
) -> Page[SignedRequestRow]:
    """A merchant's requests, newest first. Raises MERCHANT_NOT_FOUND and INVALID_REQUEST."""
    wanted = page_request(page_size, page_token)
    merchant = merchant_by_code(merchant_code)
    if key_id and not is_reference(key_id):
        return Page((), "")
    return signed_requests.newest(
        merchant.id, refused=refused, key_id=key_id or None, wanted=wanted
    )
