"""A provider's notification: found by account and token, verified, applied in one transaction, then acknowledged.

Whatever came to a known account is kept. A wrong token, a disabled account, an unknown order and an order
of another account get one and the same answer, which says nothing.
"""

import hmac
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog

from core_service.application import merchant_cache, payment_results
from core_service.application import refunds as refund_cases
from core_service.application.merchant_cache import Account, MerchantSnapshot
from core_service.calls import Call
from core_service.domain.payment_order import OrderStatus
from core_service.errors import CoreError, Family
from core_service.failpoints import failpoint
from core_service.providers import registry
from core_service.providers.base import (
    HttpAnswer,
    Notification,
    NotificationRejected,
    NotificationRequest,
    PaymentReport,
    PaymentState,
    Provider,
    RefundReport,
)
from core_service.storage import payment_orders, provider_notifications, refunds
from core_service.storage.database import transact
from core_service.storage.payment_orders import Event, PaymentOrderRow

_log = structlog.get_logger("core_service.application")

_NOT_FOUND = "CHANNEL_ACCOUNT_NOT_FOUND"
_INVALID = "INVALID_NOTIFICATION"


@dataclass(frozen=True)
class Inbound:
    """A call to a provider callback address."""

    provider_code: str
    account_id: str
    token: str
    request: NotificationRequest

    @property
    def content(self) -> bytes:
        """What the message is: the body, or the query string of a GET."""
        return self.request.query if self.request.method == "GET" else self.request.body


def handle(call: Call, inbound: Inbound, *, now: datetime) -> HttpAnswer:
    """What to answer the provider; raises NOT_FOUND for a provider that we do not know."""
    provider = registry.for_callback(inbound.provider_code)
    if provider is None:
        raise CoreError("NOT_FOUND")
    try:
        return _handle(call, provider, inbound, now)
    except CoreError as failure:
        status = {Family.NOT_FOUND: 404, Family.INVALID_ARGUMENT: 400, Family.UNAVAILABLE: 503}.get(
            failure.family, 500
        )
        return provider.reject(status, failure.message, code=failure.reason)


class _Outdated(Exception):
    """What is remembered of the merchant does not believe the message, or the merchant has changed since."""


def _handle(call: Call, provider: Provider, inbound: Inbound, now: datetime) -> HttpAnswer:
    remembered = merchant_cache.remembered_by_account(inbound.account_id)
    if remembered is not None:
        with suppress(_Outdated):
            return _handle_for(remembered, call, provider, inbound, now, is_current=False)
    merchant = merchant_cache.by_account(inbound.account_id)
    return _handle_for(merchant, call, provider, inbound, now, is_current=True)


def _handle_for(
    merchant: MerchantSnapshot | None,
    call: Call,
    provider: Provider,
    inbound: Inbound,
    now: datetime,
    *,
    is_current: bool,
) -> HttpAnswer:
    """Raises _Outdated, with nothing done, when the merchant must be looked at as it is now."""
    account = None if merchant is None else _addressee(merchant, provider, inbound)
    if merchant is None or account is None:
        raise CoreError(_NOT_FOUND) if is_current else _Outdated
    receipt = _Receipt(call, merchant, account, inbound, now, is_current)
    try:
        notification = provider.parse_notification(
            account.provider_account, inbound.request, now=now
        )
    except NotificationRejected as rejected:
        if not is_current:
            raise _Outdated from rejected
        receipt.keep_rejected(rejected.reason)
        raise CoreError(_INVALID) from rejected
    if notification.payment is None and not is_current:
        raise _Outdated
    failpoint("n1")
    if notification.payment is not None:
        receipt.take_payment(notification, notification.payment)
    elif notification.refund is not None:
        receipt.take_refund(notification, notification.refund)
    else:
        transact(lambda: receipt.keep("nothing_new", event_id=notification.event_id))
    failpoint("n3")
    return provider.acknowledge()


def _addressee(merchant: MerchantSnapshot, provider: Provider, inbound: Inbound) -> Account | None:
    account = merchant.accounts.get(inbound.account_id)
    if account is None:
        return None
    is_right = hmac.compare_digest(
        inbound.token.encode("utf-8", "replace"), account.callback_token.encode()
    )
    is_open = is_right and account.enabled and account.channel_code == provider.channel_code
    return account if is_open else None


@dataclass(frozen=True)
class _Receipt:
    """One notification to one account."""

    call: Call
    merchant: MerchantSnapshot
    account: Account
    inbound: Inbound
    now: datetime
    is_current: bool
    """Whether the merchant was read for this message."""

    def keep(
        self,
        outcome: str,
        *,
        order_id: str | None = None,
        refund_id: str | None = None,
        event_id: str | None = None,
    ) -> None:
        provider_notifications.keep(
            self.merchant.facts.id,
            self.account.id,
            self.inbound.content,
            outcome=outcome,
            order_id=order_id,
            refund_id=refund_id,
            event_id=event_id,
            now=self.now,
        )

    def keep_rejected(self, reason: str, *, order_id: str | None = None) -> None:
        transact(lambda: self.keep(reason, order_id=order_id))

    def take_payment(self, notification: Notification, report: PaymentReport) -> None:
        """Applies a payment and keeps the notice, in one transaction. Raises NOT_FOUND and INVALID_NOTIFICATION."""

        def work() -> str | None:
            order = self._locked(report.order_id)
            if order is None or order.account_id != self.account.id:
                self.keep("order_unknown")
                return _NOT_FOUND
            if (report.paid_amount_fen, report.currency) != (order.amount_fen, order.currency):
                shown = f"{report.paid_amount_fen} {report.currency}"
                self._keep_mismatch(order, f"{order.id}:{shown}", shown, None)
                return _INVALID
            outcome = self._take(notification, report, order)
            self.keep(outcome, order_id=order.id, event_id=notification.event_id)
            return _INVALID if notification.contradicts_itself else None

        refused = transact(work)
        if refused is not None:
            raise CoreError(refused)

    def _locked(self, order_id: str) -> PaymentOrderRow | None:
        """Raises _Outdated when the merchant is no longer as it is remembered."""
        facts = self.merchant.facts
        if self.is_current:
            return payment_orders.lock(facts.id, order_id)
        is_current, order = payment_orders.lock_at_version(facts.id, facts.version, order_id)
        if not is_current:
            raise _Outdated
        return order

    def _take(
        self, notification: Notification, report: PaymentReport, order: PaymentOrderRow
    ) -> str:
        if notification.needs_query:
            payment_orders.ask_now(order.merchant_id, order.id)
            if report.has_refunds:
                refunds.ask_open_refunds_now(order.merchant_id, order.id)
            return _undecided(notification)
        applied = payment_results.apply_to_locked(
            self.merchant, order, report, self._event(), now=self.now
        )
        failpoint("n2")
        if (
            order.status == OrderStatus.SUCCEEDED
            and report.state in (PaymentState.CLOSED, PaymentState.FAILED)
            and not report.has_refunds
        ):
            # Paid, and now said to be over unpaid: money decides nothing by this, but somebody should know.
            _log.warning("paid_order_said_to_be_closed", order_id=order.id)
            payment_orders.ask_once_more(order.merchant_id, order.id)
            return "status_mismatch"
        return "applied" if applied.is_news else "nothing_new"

    def take_refund(self, notification: Notification, report: RefundReport) -> None:
        """The same for the result of a refund."""
        refund = refunds.find_for_merchant(self.merchant.facts.id, report.refund_id)
        if refund is None or refund.id != report.refund_id:
            self.keep_rejected("refund_unknown")
            raise CoreError(_NOT_FOUND)
        order = self._own_order(refund.order_id)
        if report.order_id != order.id:
            self.keep_rejected("order_mismatch", order_id=order.id)
            raise CoreError(_INVALID)
        amounts = (report.amount_fen, report.order_amount_fen)
        if amounts != (refund.amount_fen, order.amount_fen):
            shown = f"{amounts[0]} of {amounts[1]}"
            transact(lambda: self._keep_mismatch(order, f"{refund.id}:{shown}", shown, refund.id))
            raise CoreError(_INVALID)

        def work() -> None:
            if notification.needs_query:
                refunds.ask_open_refunds_now(order.merchant_id, order.id)
                outcome = _undecided(notification)
            else:
                applied = refund_cases.apply_in_transaction(
                    self.merchant, refund, report, self._event(), now=self.now
                )
                failpoint("n2")
                is_news = applied.refund.status != refund.status
                outcome = "applied" if is_news else "nothing_new"
            self.keep(
                outcome, order_id=order.id, refund_id=refund.id, event_id=notification.event_id
            )

        transact(work)
        if notification.contradicts_itself:
            raise CoreError(_INVALID)

    def _keep_mismatch(
        self, order: PaymentOrderRow, fingerprint: str, shown: str, refund_id: str | None
    ) -> None:
        """Genuine, but about another amount: nothing changes, and a person must look."""
        payment_orders.add_anomaly(
            order,
            "AMOUNT_MISMATCH",
            fingerprint,
            detail=shown,
            refund_id=refund_id,
            now=self.now,
        )
        self.keep("amount_mismatch", order_id=order.id, refund_id=refund_id)

    def _own_order(self, order_id: str) -> PaymentOrderRow:
        order = payment_orders.find(self.merchant.facts.id, order_id)
        if order is None or order.account_id != self.account.id:
            self.keep_rejected("order_unknown")
            raise CoreError(_NOT_FOUND)
        return order

    def _event(self) -> Event:
        return Event("provider", "notification", self.call.request_id)


def _undecided(notification: Notification) -> str:
    return "status_mismatch" if notification.contradicts_itself else "nothing_new"
