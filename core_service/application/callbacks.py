"""Merchant callbacks: queued with the event, and sent at once when an operator asks."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from core_service.application import callback_attempts, merchant_cache, system_config
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.calls import Call
from core_service.domain import callback
from core_service.domain.ids import new_id
from core_service.errors import CoreError
from core_service.storage import audit, delivery_lists, payment_orders
from core_service.storage import callbacks as deliveries
from core_service.storage.callbacks import ClaimedDelivery
from core_service.storage.payment_orders import PaymentOrderRow
from core_service.storage.refunds import RefundRow

RETRY_ANSWER_MARGIN_SECONDS = 1.0
"""What `retry_now` keeps of its caller's time for claim, record and answer."""


def callback_wanted(order: PaymentOrderRow, merchant: MerchantSnapshot) -> bool:
    """Whether the merchant is to be told about this order, now or once it has ended."""
    return _address(order.callback_url, merchant, callback.ORDER_UPDATED) is not None


def enqueue_order_update(
    order: PaymentOrderRow, merchant: MerchantSnapshot, *, now: datetime
) -> None:
    """Queues the news of an order's terminal status; called in the transaction that writes it.

    Nothing happens when callbacks are not wanted, the order has not ended, or it is queued already.
    """
    if order.status in callback.TERMINAL_ORDER_STATUSES and callback_wanted(order, merchant):
        body = callback.order_body(order, merchant.facts.code)
        _enqueue(order, None, (callback.ORDER_UPDATED, order.status, body), now=now)


def enqueue_refund_update(
    refund: RefundRow, order: PaymentOrderRow, merchant: MerchantSnapshot, *, now: datetime
) -> None:
    """The same for the result of a refund; `order` as it is after the refund's effect."""
    wanted = _address(order.callback_url, merchant, callback.REFUND_UPDATED) is not None
    if refund.status in callback.TERMINAL_REFUND_STATUSES and wanted:
        body = callback.refund_body(refund, order, merchant.facts.code)
        _enqueue(order, refund.id, (callback.REFUND_UPDATED, refund.status, body), now=now)


@dataclass(frozen=True)
class RetryOutcome:
    """Answer to an operator who wants a callback sent now; skipped: nothing was sent."""

    delivered: bool
    skipped: bool
    reason: str | None = None
    http_status: int | None = None
    error_message: str | None = None


def retry_now(call: Call, order_id: str) -> RetryOutcome:
    """Sends the callback of an order's present status at once, whatever was tried before.

    Also one that was delivered: the merchant may have lost it. Raises ORDER_NOT_FOUND.
    """
    order = payment_orders.find_by_id(order_id)
    if order is None:
        raise CoreError("ORDER_NOT_FOUND")
    call.ensure_sees(order.merchant_id, "ORDER_NOT_FOUND")
    if order.status not in callback.TERMINAL_ORDER_STATUSES:
        return RetryOutcome(delivered=False, skipped=True, reason="ORDER_NOT_FINISHED")
    merchant = merchant_cache.by_id(order.merchant_id)
    if not callback_wanted(order, merchant):
        return RetryOutcome(delivered=False, skipped=True, reason="CALLBACK_NOT_WANTED")
    return _send_now(
        call, lambda lease_seconds: _claim_update_of(call, order, merchant, lease_seconds)
    )


def retry_delivery(call: Call, delivery_id: str, merchant_id: str | None) -> RetryOutcome:
    """Sends one delivery at once, of a refund too, whatever was tried before.

    `merchant_id`: only if it is that merchant's. Raises NOT_FOUND.
    """
    delivery = delivery_lists.find(delivery_id)
    if delivery is None or merchant_id not in (None, delivery.merchant_id):
        raise CoreError("NOT_FOUND")
    view = payment_orders.find_view(delivery.merchant_id, delivery.order_id)
    assert view is not None
    merchant = merchant_cache.by_id(delivery.merchant_id)
    if _address(view.order.callback_url, merchant, delivery.event) is None:
        return RetryOutcome(delivered=False, skipped=True, reason="CALLBACK_NOT_WANTED")

    def claim(lease_seconds: float) -> ClaimedDelivery | None:
        claimed = deliveries.claim_one(
            delivery.merchant_id, delivery.id, lease_seconds=lease_seconds
        )
        if claimed is not None:
            sent = {"order": delivery.order_id, "status": delivery.resulting_status}
            audit.record(call, action="delivery.retry", target=delivery.id, before=None, after=sent)
        return claimed

    return _send_now(call, claim)


def _send_now(call: Call, claim: Callable[[float], ClaimedDelivery | None]) -> RetryOutcome:
    call.ensure_alive(2 * RETRY_ANSWER_MARGIN_SECONDS)
    timeout = min(
        system_config.current().callback_timeout_ms / 1000,
        call.seconds_left() - RETRY_ANSWER_MARGIN_SECONDS,
    )
    attempt = callback_attempts.claim_one(claim, timeout)
    if attempt is None:
        return RetryOutcome(delivered=False, skipped=True, reason="ATTEMPT_IN_FLIGHT")
    result = callback_attempts.send(attempt)
    if result is None:
        raise CoreError("OVERLOADED", retry_after_seconds=1)
    return RetryOutcome(
        delivered=result.delivered,
        skipped=False,
        http_status=result.http_status,
        error_message=result.error_message,
    )


def _enqueue(
    order: PaymentOrderRow, refund_id: str | None, news: tuple[str, str, bytes], *, now: datetime
) -> None:
    event, resulting_status, body = news
    delivery = deliveries.NewDelivery(
        merchant_id=order.merchant_id,
        id=new_id("dlv"),
        order_id=order.id,
        refund_id=refund_id,
        event=event,
        resulting_status=resulting_status,
        body=body,
    )
    deliveries.insert(delivery, now=now)


def _address(order_callback_url: str | None, merchant: MerchantSnapshot, event: str) -> str | None:
    return callback.callback_address(order_callback_url, merchant.facts, event)


def _claim_update_of(
    call: Call, order: PaymentOrderRow, merchant: MerchantSnapshot, lease_seconds: float
) -> ClaimedDelivery | None:
    """Claims the delivery of the order's status; makes it if callbacks were off back then."""
    enqueue_order_update(order, merchant, now=datetime.now(UTC))
    delivery_id = deliveries.find_id(order.merchant_id, order.id, order.status)
    assert delivery_id is not None
    claimed = deliveries.claim_one(order.merchant_id, delivery_id, lease_seconds=lease_seconds)
    if claimed is not None:
        sent = {"delivery": delivery_id, "status": order.status}
        audit.record(
            call, action="payment_order.retry_callback", target=order.id, before=None, after=sent
        )
    return claimed
