"""What a report about a refund means: a total table, the fee share, and how often an open refund is asked about."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from core_service.domain.money import fee_fen


class RefundStatus(StrEnum):
    """Contract section 5."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class RefundEvent(StrEnum):
    """What can be known about one refund number."""

    UNKNOWN = "UNKNOWN"
    """Accepted, stuck, or no trustworthy answer: the amount stays reserved."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """A definite no."""


OPEN_STATUSES = frozenset({RefundStatus.PENDING, RefundStatus.PROCESSING})

_PENDING, _PROCESSING = RefundStatus.PENDING, RefundStatus.PROCESSING
_SUCCEEDED, _FAILED = RefundStatus.SUCCEEDED, RefundStatus.FAILED

TRANSITIONS: dict[tuple[RefundStatus, RefundEvent], RefundStatus] = {
    (_PENDING, RefundEvent.UNKNOWN): _PROCESSING,
    (_PENDING, RefundEvent.SUCCEEDED): _SUCCEEDED,
    (_PENDING, RefundEvent.FAILED): _FAILED,
    (_PROCESSING, RefundEvent.UNKNOWN): _PROCESSING,
    (_PROCESSING, RefundEvent.SUCCEEDED): _SUCCEEDED,
    (_PROCESSING, RefundEvent.FAILED): _FAILED,
    (_SUCCEEDED, RefundEvent.UNKNOWN): _SUCCEEDED,
    (_SUCCEEDED, RefundEvent.SUCCEEDED): _SUCCEEDED,
    (_SUCCEEDED, RefundEvent.FAILED): _SUCCEEDED,
    (_FAILED, RefundEvent.UNKNOWN): _FAILED,
    # A number that was definitely refused stays so: its reservation has been given back.
    (_FAILED, RefundEvent.SUCCEEDED): _FAILED,
    (_FAILED, RefundEvent.FAILED): _FAILED,
}


@dataclass(frozen=True)
class OrderMoney:
    """An order's money while a refund is being reserved."""

    amount_fen: int
    fee_rate: Decimal
    fee_fen: int
    reserved_fen: int
    """Before this refund."""
    refunds_fee_fen: int
    """Fee that the order's other refunds take back (failed ones do not count)."""


def fee_share(order: OrderMoney, amount_fen: int) -> int:
    """The fee that goes back with a refund; the refund that uses up the order takes what is left.

    Never more than the refund itself: many small refunds whose shares were rounded down can leave
    more than the last one is worth.
    """
    left = order.fee_fen - order.refunds_fee_fen
    if order.reserved_fen + amount_fen == order.amount_fen:
        return min(left, amount_fen)
    return min(left, fee_fen(amount_fen, order.fee_rate))


FIRST_CALL_SECONDS = 30
"""By then a new refund's first call to the provider has ended, and what came of it is written down: nobody else may
send the refund before, or a refusal of one call would be taken for the end while the other one pays out."""
FIRST_ASK_SECONDS = 10
"""Alipay wants ten seconds between a refund and the question about it."""
LONGEST_ASK_SECONDS = 300
STUCK_AFTER = timedelta(hours=1)


def next_ask(*, ask_count: int, now: datetime) -> datetime:
    """When the provider is asked next about an open refund: pauses double to five minutes, for ever."""
    seconds = min(FIRST_ASK_SECONDS * 2 ** min(ask_count, 10), LONGEST_ASK_SECONDS)
    return now + timedelta(seconds=seconds)
