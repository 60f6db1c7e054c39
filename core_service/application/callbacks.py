"""Merchant callbacks: queued with the event, sent later, tried again, sent at once on an operator's wish."""

from datetime import datetime

from core_service.application.merchant_cache import MerchantSnapshot
from core_service.domain import callback
from core_service.domain.ids import new_id
from core_service.storage import callbacks as deliveries
from core_service.storage.payment_orders import PaymentOrderRow
from core_service.storage.refunds import RefundRow


def callback_wanted(order: PaymentOrderRow, merchant: MerchantSnapshot) -> bool:
    """Whether the merchant is to be told about this order, now or once it has ended."""
    return _address(order, merchant, callback.ORDER_UPDATED) is not None


def enqueue_order_update(order: PaymentOrderRow, merchant: MerchantSnapshot, *, now: datetime) -> None:
    """Queues the news of an order's terminal status; to be called in the transaction that writes that status.

    Nothing happens when callbacks are not wanted, the order has not ended, or this status is queued already.
    """
    if order.status not in callback.TERMINAL_ORDER_STATUSES or not callback_wanted(order, merchant):
        return
    deliveries.insert(
        deliveries.NewDelivery(
            merchant_id=order.merchant_id,
            id=new_id("dlv"),
            order_id=order.id,
            refund_id=None,
            event=callback.ORDER_UPDATED,
            resulting_status=order.status,
            body=callback.order_body(order, merchant.facts.code),
        ),
        now=now,
    )


def enqueue_refund_update(
    refund: RefundRow, order: PaymentOrderRow, merchant: MerchantSnapshot, *, now: datetime
) -> None:
    """The same for the result of a refund; `order` as it is after the refund's effect."""
    if refund.status not in callback.TERMINAL_REFUND_STATUSES:
        return
    if _address(order, merchant, callback.REFUND_UPDATED) is None:
        return
    deliveries.insert(
        deliveries.NewDelivery(
            merchant_id=order.merchant_id,
            id=new_id("dlv"),
            order_id=order.id,
            refund_id=refund.id,
            event=callback.REFUND_UPDATED,
            resulting_status=refund.status,
            body=callback.refund_body(refund, order, merchant.facts.code),
        ),
        now=now,
    )


def _address(order: PaymentOrderRow, merchant: MerchantSnapshot, event: str) -> str | None:
    return callback.callback_address(order.callback_url, merchant.facts, event)
