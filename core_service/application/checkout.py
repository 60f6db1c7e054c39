"""What the hosted cashier may show of an order, and asking the provider while somebody looks."""

from dataclasses import dataclass
from datetime import datetime

from core_service.application import merchant_cache
from core_service.domain.checkout import CheckoutState, checkout_state, may_change
from core_service.domain.payment_order import ASK_SPACING_SECONDS, OPEN_STATUSES, OrderStatus
from core_service.errors import CoreError
from core_service.storage import merchant_logos, payment_orders
from core_service.storage.merchant_logos import MerchantLogo
from core_service.storage.payment_orders import PaymentOrderRow


@dataclass(frozen=True)
class CheckoutView:
    """An order for a payer's eyes."""

    order: PaymentOrderRow
    merchant_name: str
    logo_etag: str
    """Empty: no logo."""
    return_delay_seconds: int
    checkout_url: str
    """Empty when the order can no longer be paid, or not yet."""
    state: CheckoutState
    may_change: bool


def look(order_id: str, *, now: datetime) -> CheckoutView:
    """The order as it is; a worker is told to ask the provider soon. Raises ORDER_NOT_FOUND.

    The order id is unguessable and is itself the permission to look.
    """
    order = payment_orders.find_by_id(order_id)
    if order is None:
        raise CoreError("ORDER_NOT_FOUND")
    merchant = merchant_cache.by_id(order.merchant_id)
    is_payable = order.status in OPEN_STATUSES and now < order.expire_at
    status = OrderStatus(order.status)
    if order.status in OPEN_STATUSES:
        payment_orders.ask_soon(order.merchant_id, order.id, seconds=ASK_SPACING_SECONDS)
    return CheckoutView(
        order,
        merchant_name=merchant.facts.name,
        logo_etag=merchant.facts.logo_etag or "",
        return_delay_seconds=merchant.facts.return_delay_seconds,
        checkout_url=(order.checkout_url or "") if is_payable else "",
        state=checkout_state(
            status,
            amount_fen=order.amount_fen,
            refunded_fen=order.refunded_fen,
            expire_at=order.expire_at,
            completed_at=order.completed_at,
            now=now,
        ),
        may_change=may_change(status, expire_at=order.expire_at, now=now),
    )


def logo_of(order_id: str) -> MerchantLogo:
    """The logo of the order's merchant. Raises ORDER_NOT_FOUND, and NOT_FOUND when it has none."""
    order = payment_orders.find_by_id(order_id)
    if order is None:
        raise CoreError("ORDER_NOT_FOUND")
    logo = merchant_logos.find(order.merchant_id)
    if logo is None:
        raise CoreError("NOT_FOUND")
    return logo
