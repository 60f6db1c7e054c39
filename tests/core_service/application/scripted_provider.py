"""The other side of a payment channel, played by a test: it answers what it is told and keeps what it was asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from core_service.domain.account_check import Finding
from core_service.providers import registry
from core_service.providers.base import (
    Checkout,
    HttpAnswer,
    Notification,
    NotificationRequest,
    PaymentReport,
    PaymentRequest,
    PaymentState,
    ProviderAccount,
    RefundReport,
    RefundRequest,
    RefundState,
)
from core_service.providers.wxpay.native import WxpayNative


class ScriptedProvider:
    """The channel wxpay.native. `during` runs while a call is under way; it may raise what the provider raises."""

    channel_code = WxpayNative.channel_code
    provider_code = WxpayNative.provider_code
    display_name = "scripted"
    description = "scripted"
    payment_mode = WxpayNative.payment_mode
    account_fields = ()
    creates_locally = False
    can_close = True
    can_refund = True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.during: Callable[[str], None] = lambda _call: None
        self.state = PaymentState.UNPAID
        self.notification = Notification(None)

    def validate_config(self, config: Any, *, allow_custom_base_url: bool) -> None:
        """Takes any."""

    def check_account(self, account: ProviderAccount, **_timing: Any) -> list[Finding]:
        """Nothing to say."""
        del account
        return []

    def create_payment(
        self, account: ProviderAccount, request: PaymentRequest, **_timing: Any
    ) -> Checkout:
        """A code that names the order."""
        self._called("create")
        url = f"weixin://wxpay/bizpayurl?pr={request.order_id}"
        return Checkout(self.payment_mode, url)

    def query_payment(
        self, account: ProviderAccount, order_id: str, *, amount_fen: int, **_timing: Any
    ) -> PaymentReport:
        """Says `state`."""
        self._called("query")
        return self.report(order_id, amount_fen)

    def close_payment(
        self, account: ProviderAccount, order_id: str, **_timing: Any
    ) -> PaymentState:
        """Closes what is unpaid."""
        self._called("close")
        return PaymentState.CLOSED if self.state is PaymentState.UNPAID else self.state

    def create_refund(
        self, account: ProviderAccount, request: RefundRequest, **_timing: Any
    ) -> RefundReport:
        """Pays out."""
        self._called("refund")
        return RefundReport(request.refund_id, request.order_id, RefundState.SUCCEEDED, "SUCCESS")

    def query_refund(
        self, account: ProviderAccount, request: RefundRequest, **_timing: Any
    ) -> RefundReport:
        """Paid out."""
        self._called("query_refund")
        return RefundReport(request.refund_id, request.order_id, RefundState.SUCCEEDED, "SUCCESS")

    def parse_notification(
        self, account: ProviderAccount, request: NotificationRequest, *, now: datetime
    ) -> Notification:
        """Says `notification`."""
        return self.notification

    def acknowledge(self) -> HttpAnswer:
        """As the real one."""
        return HttpAnswer(204, "", b"")

    def reject(
        self, http_status: int, message: str, *, code: str = "", details: Any = None
    ) -> HttpAnswer:
        """The code alone."""
        return HttpAnswer(http_status, "text/plain", code.encode())

    def report(self, order_id: str, amount_fen: int, **changes: Any) -> PaymentReport:
        """What a query says in `state`."""
        facts: dict[str, Any] = {
            "state": self.state,
            "provider_status": str(self.state),
            "gateway_order_id": f"gw-{order_id}" if self.state is PaymentState.PAID else None,
            "paid_amount_fen": amount_fen,
            "currency": "CNY",
            "paid_at": datetime.now(UTC) if self.state is PaymentState.PAID else None,
            **changes,
        }
        return PaymentReport(order_id, **facts)

    def _called(self, call: str) -> None:
        self.calls.append(call)
        self.during(call)


@contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    """In place of wxpay.native."""
    provider = ScriptedProvider()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._BY_CHANNEL, provider.channel_code, provider)
        patch.setitem(registry._BY_CALLBACK, provider.provider_code, provider)
        yield provider
