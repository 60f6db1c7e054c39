"""Asynchronous notifications of Alipay: verify, compare the parties, read."""

from collections.abc import Mapping

from core_service.providers.alipay.account import AlipayKeys
from core_service.providers.alipay.signing import FormRejected, verified_form
from core_service.providers.base import (
    Notification,
    NotificationRejected,
    NotificationRequest,
    PaymentReport,
    PaymentState,
)
from core_service.providers.wire import fen_from_yuan, from_beijing_text

CURRENCY = "CNY"
"""Page pay of a domestic merchant knows no other, and its messages do not name it."""

TRADE_STATES: Mapping[str, PaymentState] = {
    "WAIT_BUYER_PAY": PaymentState.UNPAID,
    "TRADE_SUCCESS": PaymentState.PAID,
    "TRADE_FINISHED": PaymentState.PAID,
    "TRADE_CLOSED": PaymentState.CLOSED,
}


def read_notification(keys: AlipayKeys, request: NotificationRequest) -> Notification:
    """Raises NotificationRejected.

    A POST is its body and a GET its query string, never both together.
    """
    raw = request.query if request.method.upper() == "GET" else request.body
    try:
        fields = verified_form(keys, raw)
    except FormRejected as refusal:
        raise NotificationRejected(refusal.reason) from refusal
    if fields.get("app_id") != keys.app_id:
        raise NotificationRejected("app_id_mismatch")
    if keys.seller_id is not None and fields.get("seller_id") != keys.seller_id:
        raise NotificationRejected("seller_id_mismatch")
    # A browser return carries the same signature but no event: the buyer sees it and could replay
    # it here.
    if fields.get("notify_type") != "trade_status_sync" or not fields.get("trade_status"):
        raise NotificationRejected("not_a_notification")
    order_id = fields.get("out_trade_no")
    if not order_id:
        raise NotificationRejected("malformed_body")
    return _read(fields, order_id)


def _read(fields: Mapping[str, str], order_id: str) -> Notification:
    status = fields["trade_status"]
    refunded = has_refund_fields(fields)
    state = TRADE_STATES.get(status)
    needs_query = state is None
    if state is PaymentState.CLOSED and refunded:
        # Closed because everything was refunded: it was paid. What that means for an order that is
        # still open here is for the query to say.
        state, needs_query = PaymentState.PAID, True
    payment = PaymentReport(
        order_id=order_id,
        state=state or PaymentState.UNPAID,
        provider_status=status,
        gateway_order_id=fields.get("trade_no") or None,
        paid_amount_fen=fen_from_yuan(fields.get("total_amount")),
        currency=CURRENCY,
        paid_at=from_beijing_text(fields.get("gmt_payment")),
        has_refunds=refunded,
    )
    return Notification(fields.get("notify_id") or None, payment=payment, needs_query=needs_query)


def has_refund_fields(fields: Mapping[str, object]) -> bool:
    """Whether a message says that money went back.

    `refund_fee` is the total of all refunds so far.
    """
    return (fen_from_yuan(fields.get("refund_fee")) or 0) > 0 or bool(fields.get("gmt_refund"))
