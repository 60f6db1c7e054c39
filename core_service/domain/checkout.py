"""What a payer is told about an order: one word for each thing that can be true."""

from datetime import datetime, timedelta
from enum import StrEnum

from core_service.domain.payment_order import EXPIRY_GRACE_SECONDS, OPEN_STATUSES, OrderStatus


class CheckoutState(StrEnum):
    """The states of the payer's pages."""

    WAITING = "WAITING"
    """Can be paid."""
    CONFIRMING = "CONFIRMING"
    """The provider has the payment in hand."""
    PAID = "PAID"
    EXPIRED = "EXPIRED"
    """Past its time; while it is open, its provider is still asked."""
    CLOSED = "CLOSED"
    FAILED = "FAILED"
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    REFUNDED = "REFUNDED"


def checkout_state(
    status: OrderStatus,
    *,
    amount_fen: int,
    refunded_fen: int,
    expire_at: datetime,
    completed_at: datetime | None,
    now: datetime,
) -> CheckoutState:
    """The state of an order in the eyes of its payer."""
    if status is OrderStatus.SUCCEEDED:
        if refunded_fen == 0:
            return CheckoutState.PAID
        is_whole = refunded_fen >= amount_fen
        return CheckoutState.REFUNDED if is_whole else CheckoutState.PARTLY_REFUNDED
    if status is OrderStatus.FAILED:
        return CheckoutState.FAILED
    if status is OrderStatus.CANCELLED:
        is_expired = completed_at is not None and completed_at >= expire_at
        return CheckoutState.EXPIRED if is_expired else CheckoutState.CLOSED
    if now >= expire_at:
        return CheckoutState.EXPIRED
    return CheckoutState.CONFIRMING if status is OrderStatus.PROCESSING else CheckoutState.WAITING


def may_change(status: OrderStatus, *, expire_at: datetime, now: datetime) -> bool:
    """Whether it is worth waiting for news: until it is paid, or its time is over and it has ended.

    A payer can be faster than a close, so an order that was closed early is watched for as long as it could be paid.
    """
    if status is OrderStatus.SUCCEEDED:
        return False
    return status in OPEN_STATUSES or now < expire_at + timedelta(seconds=EXPIRY_GRACE_SECONDS)
