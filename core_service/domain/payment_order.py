"""What a report about a payment means for an order: a total table and the marks that go with it.

Statuses move PENDING → PROCESSING → SUCCEEDED, FAILED or CANCELLED. Money is a fact: when a provider proves
it for an order that was closed or had failed, the order becomes SUCCEEDED and is marked late. Nothing leaves
SUCCEEDED.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class OrderStatus(StrEnum):
    """Contract section 5."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class OrderEvent(StrEnum):
    """What a provider can say about a payment; the names are those of providers' `PaymentState`."""

    UNPAID = "UNPAID"
    PAID = "PAID"
    CLOSED = "CLOSED"
    FAILED = "FAILED"


OPEN_STATUSES = frozenset({OrderStatus.PENDING, OrderStatus.PROCESSING})

_PENDING, _PROCESSING = OrderStatus.PENDING, OrderStatus.PROCESSING
_SUCCEEDED, _FAILED, _CANCELLED = OrderStatus.SUCCEEDED, OrderStatus.FAILED, OrderStatus.CANCELLED

TRANSITIONS: dict[tuple[OrderStatus, OrderEvent], OrderStatus] = {
    (_PENDING, OrderEvent.UNPAID): _PENDING,
    (_PENDING, OrderEvent.PAID): _SUCCEEDED,
    (_PENDING, OrderEvent.CLOSED): _CANCELLED,
    (_PENDING, OrderEvent.FAILED): _FAILED,
    (_PROCESSING, OrderEvent.UNPAID): _PROCESSING,
    (_PROCESSING, OrderEvent.PAID): _SUCCEEDED,
    (_PROCESSING, OrderEvent.CLOSED): _CANCELLED,
    (_PROCESSING, OrderEvent.FAILED): _FAILED,
    # Late or repeated news about a paid order changes nothing.
    (_SUCCEEDED, OrderEvent.UNPAID): _SUCCEEDED,
    (_SUCCEEDED, OrderEvent.PAID): _SUCCEEDED,
    (_SUCCEEDED, OrderEvent.CLOSED): _SUCCEEDED,
    (_SUCCEEDED, OrderEvent.FAILED): _SUCCEEDED,
    (_FAILED, OrderEvent.UNPAID): _FAILED,
    (_FAILED, OrderEvent.PAID): _SUCCEEDED,
    (_FAILED, OrderEvent.CLOSED): _FAILED,
    (_FAILED, OrderEvent.FAILED): _FAILED,
    (_CANCELLED, OrderEvent.UNPAID): _CANCELLED,
    # The payer was faster than the close.
    (_CANCELLED, OrderEvent.PAID): _SUCCEEDED,
    (_CANCELLED, OrderEvent.CLOSED): _CANCELLED,
    (_CANCELLED, OrderEvent.FAILED): _CANCELLED,
}


@dataclass(frozen=True)
class OrderFacts:
    """What the decision needs to know of an order."""

    status: OrderStatus
    amount_fen: int
    currency: str
    gateway_order_id: str | None


@dataclass(frozen=True)
class PaymentFacts:
    """What a verified report says."""

    event: OrderEvent
    gateway_order_id: str | None
    paid_amount_fen: int | None
    currency: str | None


@dataclass(frozen=True)
class Decision:
    """What follows from a report."""

    status: OrderStatus
    is_news: bool
    """The status changes."""
    is_late: bool = False
    is_duplicate: bool = False
    """A second payment on a paid order: kept, flagged, never dropped."""
    is_mismatch: bool = False
    """Paid, but not this amount or currency: nothing changes, a person must look."""


def decide(order: OrderFacts, report: PaymentFacts) -> Decision:
    """The one rule by which an order's status changes. Missing amount or currency counts as wrong."""
    if report.event is OrderEvent.PAID:
        if (report.paid_amount_fen, report.currency) != (order.amount_fen, order.currency):
            return Decision(order.status, is_news=False, is_mismatch=True)
        if order.status is OrderStatus.SUCCEEDED:
            numbers = (report.gateway_order_id, order.gateway_order_id)
            is_other = None not in numbers and numbers[0] != numbers[1]
            return Decision(order.status, is_news=False, is_duplicate=is_other)
    status = TRANSITIONS[order.status, report.event]
    is_late = status is OrderStatus.SUCCEEDED and order.status in (
        OrderStatus.FAILED,
        OrderStatus.CANCELLED,
    )
    return Decision(status, is_news=status is not order.status, is_late=is_late)


ASK_AFTER_SECONDS = (5, 10, 20, 40, 60)
"""After creation; then every ASK_EVERY_SECONDS until the order expires."""
ASK_EVERY_SECONDS = 50
"""A payment that nobody told us about is known within a minute."""
ASK_SPACING_SECONDS = 3.0
"""However many pages look at an order, its provider is asked about it no more often than this."""
EXPIRY_GRACE_SECONDS = 10
"""Between an order's expiry and our closing it: clocks differ."""


def next_ask(*, created_at: datetime, expire_at: datetime, now: datetime) -> datetime:
    """When the provider is asked next about an open order; never long past its expiry."""
    soonest = now + timedelta(seconds=ASK_SPACING_SECONDS)
    for seconds in ASK_AFTER_SECONDS:
        at = created_at + timedelta(seconds=seconds)
        if at >= soonest:
            return at
    regular = now + timedelta(seconds=ASK_EVERY_SECONDS)
    expiry = expire_at + timedelta(seconds=EXPIRY_GRACE_SECONDS)
    return min(regular, max(expiry, soonest)) if expiry > now else regular
