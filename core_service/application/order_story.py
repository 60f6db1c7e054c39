"""One order with everything that happened to it, in the order of time, and why it is not paid."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from core_service.application import merchant_cache
from core_service.application.merchant_cache import Account, MerchantSnapshot
from core_service.domain import diagnosis
from core_service.domain.diagnosis import Finding, PaymentStory, Rejection
from core_service.domain.money import format_fen
from core_service.domain.payment_order import OrderStatus
from core_service.errors import CoreError
from core_service.storage import (
    anomalies,
    delivery_lists,
    order_history,
    payment_orders,
    refund_lists,
)
from core_service.storage.anomalies import AnomalyRow
from core_service.storage.delivery_lists import AttemptRow, DeliveryView
from core_service.storage.order_history import EventRow, JournalRow, NotificationRow, PaymentRow
from core_service.storage.payment_orders import OrderView, PaymentOrderRow
from core_service.storage.refunds import RefundRow

BELIEVED = frozenset({"applied", "nothing_new"})


@dataclass(frozen=True)
class Entry:
    """Something that happened; `facts` are text, empty ones left out."""

    at: datetime
    kind: str
    code: str
    facts: dict[str, str]
    actor: str | None = None
    subject_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class OrderStory:
    """An order as a person looks at it."""

    view: OrderView
    merchant: MerchantSnapshot
    account: Account
    refunds: list[RefundRow]
    deliveries: list[DeliveryView]
    anomalies: list[AnomalyRow]
    timeline: list[Entry]
    findings: list[Finding]


def story_of(order_id: str, merchant_id: str | None, *, now: datetime) -> OrderStory:
    """`merchant_id`: only if it is that merchant's. Raises ORDER_NOT_FOUND."""
    known = payment_orders.find_by_id(order_id)
    if known is None or merchant_id not in (None, known.merchant_id):
        raise CoreError("ORDER_NOT_FOUND")
    view = payment_orders.find_view(known.merchant_id, known.id)
    assert view is not None
    order = view.order
    merchant = merchant_cache.by_id(order.merchant_id)
    events = order_history.events_of(order)
    notices = order_history.notifications_of(order)
    payments = order_history.payments_of(order)
    refunds = refund_lists.of_order(order.merchant_id, order.id)
    journals = order_history.journals_of(order, [refund.id for refund in refunds], payments)
    deliveries = delivery_lists.of_order(order.merchant_id, order.id)
    attempts = [
        (delivery, attempt)
        for delivery in deliveries
        for attempt in delivery_lists.attempts_of(delivery.merchant_id, delivery.id)
    ]
    found = anomalies.of_order(order.merchant_id, order.id)
    timeline = [
        *map(_event, events),
        *map(_notice, notices),
        *_ask(order),
        *map(_payment, payments),
        *map(_journal, journals),
        *map(_delivery, deliveries),
        *(_attempt(delivery, attempt) for delivery, attempt in attempts),
        *map(_anomaly, found),
    ]
    account = merchant.accounts[order.account_id]
    payment_story = _payment_story(order, account, events, notices, payments, found)
    return OrderStory(
        view,
        merchant,
        account,
        refunds,
        deliveries,
        found,
        # What one transaction wrote has one time: the sort keeps the kinds in the order above.
        sorted(timeline, key=lambda entry: entry.at),
        diagnosis.diagnose(payment_story, now=now),
    )


def _payment_story(
    order: PaymentOrderRow,
    account: Account,
    events: list[EventRow],
    notices: list[NotificationRow],
    payments: list[PaymentRow],
    found: list[AnomalyRow],
) -> PaymentStory:
    ended = [
        event
        for event in events
        if event.refund_id is None
        and event.after_status == order.status
        and event.before_status != event.after_status
    ]
    genuine = next((payment for payment in payments if not payment.duplicate), None)
    return PaymentStory(
        status=order.status,
        late=order.late,
        has_checkout=order.checkout_url is not None,
        expire_at=order.expire_at,
        paid_at=order.paid_at,
        first_seen_by=genuine.first_seen_by if genuine else None,
        ended_by=ended[-1].cause if ended else None,
        ended_by_actor=ended[-1].actor if ended else None,
        failure_code=order.failure_code,
        failure_message=order.failure_message,
        asked_at=order.asked_at,
        ask_answer=order.ask_answer,
        ask_failure=order.ask_failure,
        ask_at=None if order.status == OrderStatus.SUCCEEDED else order.ask_at,
        mismatches=tuple(
            one.detail or "" for one in found if one.kind == "AMOUNT_MISMATCH" and not one.refund_id
        ),
        rejections=_rejections(notices),
        account_name=account.display_name,
        account_enabled=account.enabled,
    )


def _rejections(notices: list[NotificationRow]) -> tuple[Rejection, ...]:
    by_reason: dict[str, list[NotificationRow]] = {}
    for notice in notices:
        if notice.outcome not in BELIEVED and notice.refund_id is None:
            by_reason.setdefault(notice.outcome, []).append(notice)
    return tuple(
        Rejection(reason, len(rows), max(row.received_at for row in rows))
        for reason, rows in by_reason.items()
    )


def _facts(**facts: object) -> dict[str, str]:
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _event(event: EventRow) -> Entry:
    facts = _facts(before=event.before_status, after=event.after_status, detail=event.detail)
    return Entry(
        event.at, "event", event.cause, facts, event.actor, event.refund_id, event.request_id
    )


def _notice(notice: NotificationRow) -> Entry:
    facts = _facts(eventId=notice.provider_event_id, unattributed="" if notice.order_id else "true")
    return Entry(
        notice.received_at, "notification", notice.outcome, facts, "provider", notice.refund_id
    )


def _ask(order: PaymentOrderRow) -> Iterator[Entry]:
    """The last question about the order; earlier ones that changed nothing are not kept."""
    if order.asked_at is not None:
        code = "unanswered" if order.ask_failure else "answered"
        facts = _facts(answer=order.ask_answer, failure=order.ask_failure, count=order.ask_count)
        yield Entry(order.asked_at, "ask", code, facts)


def _payment(payment: PaymentRow) -> Entry:
    facts = _facts(
        gatewayOrderId=payment.gateway_order_id,
        amount=format_fen(payment.amount_fen),
        paidAt=payment.paid_at.isoformat(),
        firstSeenBy=payment.first_seen_by,
    )
    code = "duplicate" if payment.duplicate else "genuine"
    return Entry(payment.created_at, "payment", code, facts, "provider")


def _journal(journal: JournalRow) -> Entry:
    lines = zip(journal.accounts, journal.amounts_fen, strict=True)
    facts = {account: _signed(amount_fen) for account, amount_fen in lines}
    return Entry(journal.created_at, "journal", journal.kind, facts, subject_id=journal.refund_id)


def _signed(amount_fen: int) -> str:
    return f"-{format_fen(-amount_fen)}" if amount_fen < 0 else format_fen(amount_fen)


def _delivery(delivery: DeliveryView) -> Entry:
    facts = _facts(tells=delivery.resulting_status, status=delivery.status)
    return Entry(delivery.created_at, "delivery", delivery.event, facts, subject_id=delivery.id)


def _attempt(delivery: DeliveryView, attempt: AttemptRow) -> Entry:
    facts = _facts(
        number=attempt.number,
        url=attempt.url,
        httpStatus=attempt.http_status,
        error=attempt.error,
        durationMs=attempt.duration_ms,
    )
    return Entry(
        attempt.started_at, "attempt", attempt.outcome or "open", facts, subject_id=delivery.id
    )


def _anomaly(anomaly: AnomalyRow) -> Entry:
    facts = _facts(detail=anomaly.detail, resolvedBy=anomaly.resolved_by, note=anomaly.note)
    return Entry(anomaly.created_at, "anomaly", anomaly.kind, facts, subject_id=anomaly.id)
