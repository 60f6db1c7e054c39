"""Notifications of WeChat Pay: verify over the raw body, decrypt, compare the parties, read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core_service.providers.base import (
    Notification,
    NotificationRejected,
    NotificationRequest,
    PaymentReport,
    PaymentState,
    RefundReport,
    RefundState,
)
from core_service.providers.wire import from_rfc3339, parse_object
from core_service.providers.wxpay.account import WxpayKeys
from core_service.providers.wxpay.api import WxpayApi, amount_of
from core_service.providers.wxpay.platform_keys import MessageRejected, decrypt

TRADE_STATES: Mapping[str, PaymentState] = {
    "NOTPAY": PaymentState.UNPAID,
    "USERPAYING": PaymentState.UNPAID,
    "ACCEPT": PaymentState.UNPAID,
    "SUCCESS": PaymentState.PAID,
    "REFUND": PaymentState.PAID,
    "CLOSED": PaymentState.CLOSED,
    "REVOKED": PaymentState.FAILED,
    "PAYERROR": PaymentState.FAILED,
}
REFUND_STATES: Mapping[str, RefundState] = {
    "PROCESSING": RefundState.PROCESSING,
    "SUCCESS": RefundState.SUCCEEDED,
    "CLOSED": RefundState.FAILED,
    "ABNORMAL": RefundState.ABNORMAL,
}

_PAID_EVENT = "TRANSACTION.SUCCESS"
_REFUND_EVENT = "REFUND."


def read_notification(
    api: WxpayApi, keys: WxpayKeys, request: NotificationRequest, *, now: datetime
) -> Notification:
    """Raises NotificationRejected."""
    try:
        api.verify(keys, request.headers, request.body, now=now)
        envelope = _object(request.body)
        resource = envelope.get("resource")
        inner = _object(decrypt(keys.api_v3_key, resource))
    except MessageRejected as rejection:
        raise NotificationRejected(rejection.reason) from rejection
    if inner.get("mchid") != keys.mch_id:
        raise NotificationRejected("mchid_mismatch")
    event_id = envelope.get("id") if isinstance(envelope.get("id"), str) else None
    event_type = str(envelope.get("event_type") or "")
    if event_type.startswith(_REFUND_EVENT):
        status = _text(inner, "refund_status")
        contradicts = event_type != _REFUND_EVENT + status or status not in REFUND_STATES
        return Notification(
            event_id,
            refund=_read_refund(inner, status),
            needs_query=contradicts,
            contradicts_itself=contradicts,
        )
    if not event_type.startswith("TRANSACTION."):
        raise NotificationRejected("not_a_notification")
    if inner.get("appid") != keys.app_id:
        raise NotificationRejected("appid_mismatch")
    status = _text(inner, "trade_state")
    # Only successes are announced; the inner state decides, and one that differs decides nothing.
    contradicts = event_type != _PAID_EVENT or status != "SUCCESS"
    return Notification(
        event_id,
        payment=read_payment(inner, _text(inner, "out_trade_no"), status),
        needs_query=contradicts,
        contradicts_itself=contradicts,
    )


def read_payment(fields: Mapping[str, Any], order_id: str, status: str) -> PaymentReport:
    """Facts of a transaction object.

    An unknown state counts as unpaid; the caller looks at it again.
    """
    amount = fields.get("amount")
    currency = amount.get("currency") if isinstance(amount, dict) else None
    return PaymentReport(
        order_id=order_id,
        state=TRADE_STATES.get(status, PaymentState.UNPAID),
        provider_status=status,
        gateway_order_id=optional_text(fields, "transaction_id"),
        # The order amount: payer_total is lower when coupons were used.
        paid_amount_fen=amount_of(fields, "total"),
        currency=currency if isinstance(currency, str) else None,
        paid_at=from_rfc3339(fields.get("success_time")),
        has_refunds=status == "REFUND",
    )


def _read_refund(inner: Mapping[str, Any], status: str) -> RefundReport:
    return RefundReport(
        refund_id=_text(inner, "out_refund_no"),
        order_id=_text(inner, "out_trade_no"),
        state=REFUND_STATES.get(status, RefundState.PROCESSING),
        provider_status=status,
        provider_refund_id=optional_text(inner, "refund_id"),
        amount_fen=amount_of(inner, "refund"),
        order_amount_fen=amount_of(inner, "total"),
        refunded_at=from_rfc3339(inner.get("success_time")),
        failure_code=status if status == "CLOSED" else None,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except ValueError as problem:
        raise MessageRejected("malformed_body") from problem


def optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    """A text field; None when it is missing, empty or something else."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = optional_text(fields, name)
    if value is None:
        raise NotificationRejected("malformed_body")
    return value
