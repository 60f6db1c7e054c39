"""Reading the audit log, and checking that nobody changed it afterwards."""

from dataclasses import dataclass
from enum import StrEnum

from core_service.domain import audit_chain
from core_service.errors import FieldViolation, invalid_request
from core_service.storage import audit
from core_service.storage.audit import AuditEntry, AuditFilter, ChainEnd
from core_service.storage.paging import Page, page_request

BATCH = 2_000
RECORDS_PER_CALL = 20_000
"""About a second of work; whoever asks goes on from where the answer says."""


class Problem(StrEnum):
    """How a record can fail to fit."""

    CHANGED = "CHANGED"
    """Its hash is not that of its content after the record before it."""
    MISSING = "MISSING"
    """There is no record in this place, but there are later ones or should be."""
    NOT_AT_THE_END = "NOT_AT_THE_END"
    """The newest record is not the one that was written last."""


@dataclass(frozen=True)
class Verification:
    """What a walk along the chain found; `broken_at` is the first place that does not fit."""

    checked: int
    next_sequence: int | None
    """Where to go on; None: the end was reached, or something does not fit."""
    broken_at: int | None
    problem: Problem | None
    end: ChainEnd


def newest(
    which: AuditFilter, *, page_size: int | None, page_token: str | None
) -> Page[AuditEntry]:
    """Records, newest first. Raises INVALID_REQUEST."""
    wanted = page_request(page_size, page_token)
    if not all(text.isprintable() for text in vars(which).values() if text):
        return Page((), "")
    return audit.newest(which, wanted)


def verify(first: int = 1, *, limit: int = RECORDS_PER_CALL) -> Verification:
    """Walk at most `limit` records of the chain from the place `first` on.

    Records that are written meanwhile are left to the next walk. Raises INVALID_REQUEST for a place beyond the end.
    """
    newest_record = audit.last_sequence()
    end = audit.chain_end()  # read after it, so that it can only be further on
    if first > end.sequence + 1:
        raise invalid_request(FieldViolation("fromSequence", "is beyond the end of the log"))
    place, checked = first, 0
    previous = _hash_before(first)
    if previous is None:
        return Verification(0, None, first - 1, Problem.MISSING, end)
    while checked < limit:
        entries = audit.stretch(place, min(BATCH, limit - checked))
        for entry in entries:
            if entry.sequence > end.sequence:
                break
            problem = _problem(entry, place, previous)
            if problem is not None:
                return Verification(checked, None, place, problem, end)
            place, checked, previous = place + 1, checked + 1, entry.hash
        if place > end.sequence:
            return _at_the_end(checked, previous, end, newest_record)
        if not entries:
            return Verification(checked, None, place, Problem.MISSING, end)
    return Verification(checked, place, None, None, end)


def _hash_before(first: int) -> bytes | None:
    if first <= 1:
        return audit_chain.BEGINNING
    before = audit.stretch(first - 1, 1)
    return before[0].hash if before and before[0].sequence == first - 1 else None


def _problem(entry: AuditEntry, place: int, previous: bytes) -> Problem | None:
    if entry.sequence != place:
        return Problem.MISSING
    is_right = audit_chain.link(previous, entry.content) == entry.hash
    return None if is_right else Problem.CHANGED


def _at_the_end(checked: int, previous: bytes, end: ChainEnd, newest_record: int) -> Verification:
    if previous == end.hash and newest_record <= end.sequence:
        return Verification(checked, None, None, None, end)
    return Verification(checked, None, end.sequence, Problem.NOT_AT_THE_END, end)
