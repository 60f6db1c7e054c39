"""The one way in which a report about a payment changes an order, whoever brought it.

One transaction: lock, decide, status, event, received payment, journal, delivery, anomaly.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from core_service import metrics, tracing
from core_service.application import callbacks
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.domain import ledger, payment_order
from core_service.domain.payment_order import (
    ASK_EVERY_SECONDS,
    Decision,
    OrderEvent,
    OrderFacts,
    OrderStatus,
    PaymentFacts,
)
from core_service.errors import CoreError
from core_service.providers.base import PaymentReport, PaymentState
from core_service.storage import finance, payment_orders, refunds
from core_service.storage.database import transact
from core_service.storage.payment_orders import Event, PaymentOrderRow, Transition

ASK_ONCE_MORE_AFTER_CLOSING = timedelta(seconds=ASK_EVERY_SECONDS)


@dataclass(frozen=True)
class Applied:
    """What a report did. `mismatch`: paid, but not this amount; nothing changed but an anomaly."""

    order: PaymentOrderRow
    is_news: bool
    is_mismatch: bool


def apply_payment_report(
    merchant: MerchantSnapshot, order_id: str, report: PaymentReport, event: Event, *, now: datetime
) -> Applied:
    """In a transaction of its own. Raises ORDER_NOT_FOUND."""
    return transact(lambda: apply_in_transaction(merchant, order_id, report, event, now=now))


def apply_in_transaction(
    merchant: MerchantSnapshot, order_id: str, report: PaymentReport, event: Event, *, now: datetime
) -> Applied:
    """The same inside a transaction that is open already."""
    order = payment_orders.lock(merchant.facts.id, order_id)
    if order is None:
        raise CoreError("ORDER_NOT_FOUND")
    return apply_to_locked(merchant, order, report, event, now=now)


def apply_to_locked(
    merchant: MerchantSnapshot,
    order: PaymentOrderRow,
    report: PaymentReport,
    event: Event,
    *,
    now: datetime,
) -> Applied:
    """The same to an order that this transaction has locked. Repeatable: a second time it finds nothing new."""
    tracing.current().say(order_id=order.id)
    now = max(
        now, order.updated_at
    )  # `now` is from before the question; history must not run backwards
    facts = OrderFacts(
        OrderStatus(order.status), order.amount_fen, order.currency, order.gateway_order_id
    )
    decision = payment_order.decide(
        facts,
        PaymentFacts(
            OrderEvent(report.state),
            report.gateway_order_id,
            report.paid_amount_fen,
            report.currency,
        ),
    )
    if report.has_refunds:
        refunds.ask_open_refunds_now(order.merchant_id, order.id)
    if decision.is_mismatch:
        shown = f"{report.paid_amount_fen} {report.currency}"
        payment_orders.add_anomaly(
            order, "AMOUNT_MISMATCH", f"{order.id}:{shown}", detail=shown, now=now
        )
        return Applied(order, is_news=False, is_mismatch=True)
    if decision.is_duplicate:
        return Applied(order, is_news=_keep_duplicate(order, report, event, now), is_mismatch=False)
    if not decision.is_news:
        if (
            order.status != OrderStatus.SUCCEEDED
            and report.provider_status != order.provider_status
        ):
            payment_orders.note_provider_status(order, report.provider_status, now=now)
        return Applied(order, is_news=False, is_mismatch=False)
    return Applied(
        _change(merchant, order, report, decision, event, now), is_news=True, is_mismatch=False
    )


def _change(
    merchant: MerchantSnapshot,
    order: PaymentOrderRow,
    report: PaymentReport,
    decision: Decision,
    event: Event,
    now: datetime,
) -> PaymentOrderRow:
    is_paid = report.state is PaymentState.PAID
    paid_at = (report.paid_at or now) if is_paid else None
    changed = payment_orders.transition(
        order,
        Transition(
            status=decision.status,
            provider_status=report.provider_status,
            gateway_order_id=report.gateway_order_id,
            paid_at=paid_at,
            late=decision.is_late,
            # Money can come after closing: ask once more. An answered question ends it.
            ask_at=None if is_paid else now + ASK_ONCE_MORE_AFTER_CLOSING,
            now=now,
        ),
    )
    payment_orders.add_event(changed, event, before=order.status, after=changed.status, now=now)
    if paid_at is not None:
        number = report.gateway_order_id or f"unnumbered:{order.id}"
        payment_orders.add_received_payment(
            changed, number, paid_at=paid_at, first_seen_by=event.cause, now=now
        )
        finance.post(
            order.merchant_id,
            kind="CAPTURE",
            source=f"capture:{order.id}",
            order_id=order.id,
            refund_id=None,
            lines=ledger.capture_lines(order.amount_fen, order.fee_fen),
            now=now,
        )
    if decision.is_late:
        payment_orders.add_anomaly(
            changed, "LATE_PAYMENT", order.id, detail=f"was {order.status}", now=now
        )
    callbacks.enqueue_order_update(changed, merchant, now=now)
    if is_paid:
        metrics.payment(event.cause)
    return changed


def _keep_duplicate(
    order: PaymentOrderRow, report: PaymentReport, event: Event, now: datetime
) -> bool:
    """A second payment: kept, booked apart and flagged. False when it is known already."""
    assert report.gateway_order_id is not None
    is_new = payment_orders.add_second_payment(
        order,
        report.gateway_order_id,
        paid_at=report.paid_at or now,
        first_seen_by=event.cause,
        now=now,
    )
    if not is_new:
        return False
    finance.post(
        order.merchant_id,
        kind="DUPLICATE",
        source=f"duplicate:{order.id}:{report.gateway_order_id}",
        order_id=order.id,
        refund_id=None,
        lines=ledger.duplicate_lines(order.amount_fen),
        now=now,
    )
    payment_orders.add_anomaly(
        order,
        "DUPLICATE_PAYMENT",
        f"{order.id}:{report.gateway_order_id}",
        detail=report.gateway_order_id,
        now=now,
    )
    payment_orders.add_event(
        order, Event(event.actor, "duplicate_payment", event.request_id, report.gateway_order_id),
        before=order.status, after=order.status, now=now,
    )  # fmt: skip
    return True
