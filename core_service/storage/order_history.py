"""Everything that was recorded about one order, for people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core_service.domain.ids import first_id
from core_service.storage.database import fetch_all
from core_service.storage.payment_orders import PaymentOrderRow

MOST_SHOWN = 200
"""Rows of one kind."""
_NOTICES_AFTER_EXPIRY = timedelta(hours=1)


@dataclass(frozen=True)
class EventRow:
    """Something that changed."""

    refund_id: str | None
    at: datetime
    actor: str
    cause: str
    before_status: str | None
    after_status: str
    detail: str | None
    request_id: str | None


@dataclass(frozen=True)
class NotificationRow:
    """What a provider sent; without an order when it was refused before its content was believed."""

    id: str
    provider_event_id: str | None
    order_id: str | None
    refund_id: str | None
    outcome: str
    received_at: datetime


@dataclass(frozen=True)
class PaymentRow:
    """A payment that the provider proved."""

    gateway_order_id: str
    amount_fen: int
    paid_at: datetime
    duplicate: bool
    first_seen_by: str
    created_at: datetime


@dataclass(frozen=True)
class JournalRow:
    """A journal with its lines."""

    kind: str
    refund_id: str | None
    created_at: datetime
    accounts: list[str]
    amounts_fen: list[int]


def events_of(order: PaymentOrderRow) -> list[EventRow]:
    """Oldest first."""
    rows = fetch_all(
        "SELECT refund_id, at, actor, cause, before_status, after_status, detail, request_id FROM payment_events "
        "WHERE merchant_id = %s AND order_id = %s ORDER BY id LIMIT %s",
        (order.merchant_id, order.id, MOST_SHOWN),
    )
    return [EventRow(**row) for row in rows]


def notifications_of(order: PaymentOrderRow) -> list[NotificationRow]:
    """Those about the order, and those to its account in its time that could not be told whose they were."""
    rows = fetch_all(
        "SELECT id, provider_event_id, order_id, refund_id, outcome, received_at FROM provider_notifications "
        "WHERE merchant_id = %(merchant_id)s AND order_id = %(order_id)s "
        "UNION ALL (SELECT id, provider_event_id, order_id, refund_id, outcome, received_at "
        "FROM provider_notifications WHERE merchant_id = %(merchant_id)s AND id >= %(first)s AND id < %(end)s "
        "AND account_id = %(account_id)s AND order_id IS NULL AND outcome <> 'nothing_new' ORDER BY id LIMIT %(most)s) "
        "ORDER BY id LIMIT %(most)s",
        {
            "merchant_id": order.merchant_id,
            "order_id": order.id,
            "account_id": order.account_id,
            "first": first_id("ntf", order.created_at),
            "end": first_id("ntf", order.expire_at + _NOTICES_AFTER_EXPIRY),
            "most": MOST_SHOWN,
        },
    )
    return [NotificationRow(**row) for row in rows]


def payments_of(order: PaymentOrderRow) -> list[PaymentRow]:
    """Oldest first."""
    rows = fetch_all(
        "SELECT gateway_order_id, amount_fen, paid_at, duplicate, first_seen_by, created_at FROM received_payments "
        "WHERE merchant_id = %s AND order_id = %s ORDER BY created_at, gateway_order_id LIMIT %s",
        (order.merchant_id, order.id, MOST_SHOWN),
    )
    return [PaymentRow(**row) for row in rows]


def journals_of(
    order: PaymentOrderRow, refund_ids: Sequence[str], payments: Sequence[PaymentRow]
) -> list[JournalRow]:
    """Oldest first; found by what they book, which is their key."""
    sources = [f"capture:{order.id}", *(f"refund:{refund_id}" for refund_id in refund_ids)]
    sources += [
        f"duplicate:{order.id}:{payment.gateway_order_id}"
        for payment in payments
        if payment.duplicate
    ]
    rows = fetch_all(
        "SELECT j.kind, j.refund_id, j.created_at, array_agg(l.account ORDER BY l.line) AS accounts, "
        "array_agg(l.amount_fen ORDER BY l.line) AS amounts_fen FROM journals j "
        "JOIN journal_lines l ON l.merchant_id = j.merchant_id AND l.journal_id = j.id "
        "WHERE j.merchant_id = %s AND j.source = ANY(%s) "
        "GROUP BY j.merchant_id, j.id, j.kind, j.refund_id, j.created_at ORDER BY j.id",
        (order.merchant_id, sources),
    )
    return [JournalRow(**row) for row in rows]
