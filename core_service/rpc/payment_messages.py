"""Orders and refunds as messages. Amounts are yuan with two decimals, rates have four."""

import json

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from core_service.application import callbacks
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.domain.checkout import CheckoutState
from core_service.domain.money import format_fen, format_rate
from core_service.domain.payment_order import OPEN_STATUSES
from core_service.rpc.timestamps import optional_timestamp, timestamp
from core_service.storage.payment_orders import OrderView, PaymentOrderRow
from core_service.storage.refund_lists import RefundView
from core_service.storage.refunds import RefundRow
from novapay.payments.v1 import payment_service_pb2 as payments
from novapay.refunds.v1 import refund_service_pb2 as refunds

ACCOUNT_SOURCE = "merchant"
"""Accounts are always the merchant's own."""

_ORDER_STATUS = {
    value.name.removeprefix("ORDER_STATUS_"): payments.OrderStatus.Value(value.name)
    for value in payments.OrderStatus.DESCRIPTOR.values
}
_CALLBACK_STATUS = {
    value.name.removeprefix("CALLBACK_STATUS_"): payments.CallbackStatus.Value(value.name)
    for value in payments.CallbackStatus.DESCRIPTOR.values
}
_REFUND_STATUS = {
    value.name.removeprefix("REFUND_STATUS_"): refunds.RefundStatus.Value(value.name)
    for value in refunds.RefundStatus.DESCRIPTOR.values
}


def order_status(status: str) -> "payments.OrderStatus.ValueType":
    """The status as the enum's number."""
    return _ORDER_STATUS[status]


def callback_status(status: str) -> "payments.CallbackStatus.ValueType":
    """A delivery's status as the enum's number."""
    return _CALLBACK_STATUS[status]


def status_name(request: Message, field: str, enum: EnumDescriptor) -> str | None:
    """The status that a filter wants, as storage names it; None: any."""
    number = getattr(request, field)
    if not number:
        return None
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(enum.values_by_number[number].name.removeprefix(prefix))


def checkout_state(state: CheckoutState) -> "payments.CheckoutState.ValueType":
    """The state as the enum's number."""
    return payments.CheckoutState.Value(f"CHECKOUT_STATE_{state}")


def order_message(
    view: OrderView, merchant: MerchantSnapshot, public_base_url: str
) -> payments.PaymentOrder:
    """An order as the contract shows it."""
    order = view.order
    return payments.PaymentOrder(
        id=order.id,
        merchant_code=merchant.facts.code,
        external_order_id=order.external_order_id,
        channel_code=order.channel_code,
        amount=format_fen(order.amount_fen),
        fee_rate=format_rate(order.fee_rate),
        fee_amount=format_fen(order.fee_fen),
        net_amount=format_fen(order.amount_fen - order.fee_fen),
        currency=order.currency,
        subject=order.subject,
        description=order.description,
        status=order_status(order.status),
        provider_status=order.provider_status,
        gateway_order_id=order.gateway_order_id,
        checkout_url=order.checkout_url,
        hosted_checkout_url=f"{public_base_url}/pay/{order.id}",
        payment_mode=order.payment_mode,
        callback_status=_callback_status(view, merchant),
        merchant_channel_account_id=order.account_id,
        channel_account_source=ACCOUNT_SOURCE,
        provider_payload=_provider_payload(order),
        created_at=timestamp(order.created_at),
        updated_at=timestamp(order.updated_at),
        expire_at=timestamp(order.expire_at),
        paid_at=optional_timestamp(order.paid_at),
        completed_at=optional_timestamp(order.completed_at),
        refund_summary=payments.RefundSummary(
            total_requested_amount=format_fen(order.refund_reserved_fen),
            total_refunded_amount=format_fen(order.refunded_fen),
            refundable_amount=format_fen(order.amount_fen - order.refund_reserved_fen),
        ),
        metadata=order.metadata,
    )


def _provider_payload(order: PaymentOrderRow) -> str | None:
    """Where the payer goes, for the merchant's own page: a JSON object of the contract."""
    url = order.checkout_url
    if url is None:
        return None
    payload = (
        {"codeUrl": url}
        if order.payment_mode == "qr_code"
        else {"method": "GET", "redirectUrl": url}
    )
    return json.dumps(payload, ensure_ascii=False)


def _callback_status(
    view: OrderView, merchant: MerchantSnapshot
) -> "payments.CallbackStatus.ValueType":
    """The newest delivery's status; while the order is open, whether one is to be expected."""
    if view.delivery_status is not None:
        return _CALLBACK_STATUS[view.delivery_status]
    is_expected = view.order.status in OPEN_STATUSES and callbacks.callback_wanted(
        view.order, merchant
    )
    return _CALLBACK_STATUS["PENDING" if is_expected else "NOT_REQUIRED"]


def refund_message(
    refund: RefundRow, order: PaymentOrderRow, merchant: MerchantSnapshot
) -> refunds.Refund:
    """A refund as the contract shows it."""
    return refund_view_message(
        RefundView(
            refund,
            merchant.facts.code,
            order.external_order_id,
            order.channel_code,
            order.currency,
            order.gateway_order_id,
            order.account_id,
        )
    )


def refund_view_message(order: RefundView) -> refunds.Refund:
    """The same from a list."""
    refund = order.refund
    return refunds.Refund(
        id=refund.id,
        merchant_code=order.merchant_code,
        payment_order_id=refund.order_id,
        external_order_id=order.external_order_id,
        channel_code=order.channel_code,
        external_refund_id=refund.external_refund_id,
        amount=format_fen(refund.amount_fen),
        fee_amount=format_fen(refund.fee_fen),
        net_amount_impact=format_fen(refund.amount_fen - refund.fee_fen),
        currency=order.currency,
        status=_REFUND_STATUS[refund.status],
        provider_status=refund.provider_status,
        provider_refund_id=refund.provider_refund_id,
        gateway_order_id=order.gateway_order_id,
        merchant_channel_account_id=order.account_id,
        channel_account_source=ACCOUNT_SOURCE,
        reason=refund.reason,
        failure_code=refund.failure_code,
        failure_message=refund.failure_message,
        metadata=refund.metadata,
        created_at=timestamp(refund.created_at),
        updated_at=timestamp(refund.updated_at),
        refunded_at=optional_timestamp(refund.refunded_at),
    )
