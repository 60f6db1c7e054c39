"""The channel wxpay.native: a QR code that the payer scans with WeChat (API v3 Native)."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from core_service.domain.account_check import Finding
from core_service.outbound_http import Deadline, ProviderClient
from core_service.providers.base import (
    AskedTooOften,
    Checkout,
    HttpAnswer,
    Notification,
    NotificationRequest,
    PaymentReport,
    PaymentRequest,
    PaymentState,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundReport,
    RefundRequest,
    RefundState,
)
from core_service.providers.config import ConfigChecker
from core_service.providers.wire import BEIJING, from_rfc3339, limited_text
from core_service.providers.wxpay import account as wxpay_account
from core_service.providers.wxpay import check
from core_service.providers.wxpay.account import keys_of
from core_service.providers.wxpay.api import Reply, WxpayApi
from core_service.providers.wxpay.notification import (
    REFUND_STATES,
    TRADE_STATES,
    read_notification,
    read_payment,
)

_DESCRIPTION_LIMIT = 127
_REASON_LIMIT = 80
_CURRENCY = "CNY"

# Error codes without underscores.
_NO_SUCH_ORDER = frozenset({"ORDERNOTEXIST", "RESOURCENOTEXISTS", "NOTFOUND"})
_NO_SUCH_REFUND = frozenset({"RESOURCENOTEXISTS", "NOTFOUND", "REFUNDNOTEXISTS"})
_CREATE_REFUSED = frozenset(
    {
        "PARAMERROR",
        "INVALIDREQUEST",
        "APPIDMCHIDNOTMATCH",
        "MCHNOTEXISTS",
        "NOAUTH",
        "ORDERCLOSED",
        "RULELIMIT",
        "TRADEERROR",
        "ACCOUNTERROR",
    }
)
_CLOSE_REFUSED = frozenset({"APPIDMCHIDNOTMATCH", "MCHNOTEXISTS", "NOAUTH"})
_CLOSE_MAY_BE_PAID = frozenset(
    {"ORDERPAID", "INVALIDREQUEST", "TRADEERROR", "RULELIMIT", "PARAMERROR"}
)
_REFUND_LATER = frozenset({"NOTENOUGH"})
_REFUND_REFUSED = frozenset(
    {
        "PARAMERROR",
        "INVALIDREQUEST",
        "APPIDMCHIDNOTMATCH",
        "MCHNOTEXISTS",
        "NOAUTH",
        "USERACCOUNTABNORMAL",
        "TRADEERROR",
        "ACCOUNTERROR",
        "RULELIMIT",
        "RESOURCENOTEXISTS",
        "ORDERNOTEXIST",
    }
)
_TOO_OFTEN = frozenset({"FREQUENCYLIMITED", "RATELIMITEXCEEDED"})
_CONFIGURATION = frozenset({"SIGNERROR"})
"""Says that our key, serial or clock is wrong: mend it and send the same again."""


class WxpayNative:
    """See `Provider`."""

    channel_code = "wxpay.native"
    provider_code = "wxpay"
    display_name = "微信支付 Native 扫码"
    description = "WeChat Pay Native: the payer scans a QR code"
    payment_mode = "qr_code"
    account_fields = wxpay_account.FIELDS
    creates_locally = False
    can_close = True
    can_refund = True

    def __init__(self, client: ProviderClient) -> None:
        self._api = WxpayApi(client)

    def validate_config(self, config: Mapping[str, Any], *, allow_custom_base_url: bool) -> None:
        """Raises AccountConfigInvalid."""
        checker = ConfigChecker(config, self.account_fields)
        checker.base_url(
            "apiBaseUrl", wxpay_account.OFFICIAL_BASES, allow_custom=allow_custom_base_url
        )
        checker.raise_violations()
        wxpay_account.parse(config, check_private_key=True)

    def check_account(
        self, account: ProviderAccount, *, now: datetime, timeout_seconds: float
    ) -> Sequence[Finding]:
        """Asks for the platform certificates, and about an order that does not exist."""
        return list(check.examine(self._api, account, now=now, timeout_seconds=timeout_seconds))

    def create_payment(
        self,
        account: ProviderAccount,
        request: PaymentRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> Checkout:
        """Orders a code; the same request again gives another code for the same order.

        `code_url` lives two hours, the order until `expire_at`.
        """
        keys = keys_of(account)
        description = limited_text(request.subject, _DESCRIPTION_LIMIT) or request.order_id
        business = {
            "appid": keys.app_id,
            "mchid": keys.mch_id,
            "description": description,
            "out_trade_no": request.order_id,
            "time_expire": request.expire_at.astimezone(BEIJING).isoformat(timespec="seconds"),
            "notify_url": account.callback_url,
            "amount": {"total": request.amount_fen, "currency": _CURRENCY},
        }
        reply = self._api.call(
            keys,
            "POST",
            "/v3/pay/transactions/native",
            business,
            now=now,
            timeout_seconds=timeout_seconds,
        )
        if not reply.succeeded:
            # ORDERPAID and OUT_TRADE_NO_USED are left to the query: the number has a history.
            raise _refused(reply) if reply.code in _CREATE_REFUSED else _unknown(reply)
        code_url = reply.text_of("code_url")
        if code_url is None:
            raise ProviderUnknown("PROVIDER_TIMEOUT", "answer without code_url")
        return Checkout(payment_mode=self.payment_mode, checkout_url=code_url)

    def query_payment(
        self,
        account: ProviderAccount,
        order_id: str,
        *,
        amount_fen: int,
        now: datetime,
        timeout_seconds: float,
    ) -> PaymentReport:
        """Raises ProviderUnknown."""
        keys = keys_of(account)
        reply = self._api.call(
            keys,
            "GET",
            f"{_order_path(order_id)}?mchid={keys.mch_id}",
            now=now,
            timeout_seconds=timeout_seconds,
        )
        if not reply.succeeded:
            if reply.code in _NO_SUCH_ORDER:
                return PaymentReport(order_id, PaymentState.UNPAID, "NOT_EXIST")
            raise _unknown(reply)
        _compare(reply, "mchid", keys.mch_id, "mchid_mismatch")
        _compare(reply, "appid", keys.app_id, "appid_mismatch")
        _compare(reply, "out_trade_no", order_id, "order_mismatch")
        if reply.amount_of("total") != amount_fen:
            raise ProviderUnknown("PROVIDER_TIMEOUT", "amount_mismatch")
        status = reply.text_of("trade_state") or ""
        if status not in TRADE_STATES:
            raise ProviderUnknown("PROVIDER_TIMEOUT", "unknown trade_state")
        report = read_payment(reply.fields, order_id, status)
        unpaid = report.state is not PaymentState.PAID
        # An unpaid order may come with a bare total.
        if report.currency != _CURRENCY and not (unpaid and report.currency is None):
            raise ProviderUnknown("PROVIDER_TIMEOUT", "currency_mismatch")
        return report

    def close_payment(
        self, account: ProviderAccount, order_id: str, *, now: datetime, timeout_seconds: float
    ) -> PaymentState:
        """Raises ProviderRefused, ProviderUnknown.

        The signed 204 names no order, so a query afterwards is what proves the close.
        """
        keys = keys_of(account)
        reply = self._api.call(
            keys,
            "POST",
            f"{_order_path(order_id)}/close",
            {"mchid": keys.mch_id},
            now=now,
            timeout_seconds=timeout_seconds,
        )
        if reply.succeeded or reply.code == "ORDERCLOSED":
            return PaymentState.CLOSED
        if reply.code in _NO_SUCH_ORDER:
            return PaymentState.UNPAID
        if reply.code in _CLOSE_MAY_BE_PAID:
            return PaymentState.PAID
        raise _refused(reply) if reply.code in _CLOSE_REFUSED else _unknown(reply)

    def create_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        """Raises ProviderRefused, ProviderUnknown."""
        deadline = Deadline(timeout_seconds)
        business: dict[str, Any] = {
            "out_trade_no": request.order_id,
            "out_refund_no": request.refund_id,
            "notify_url": account.callback_url,
            "amount": {
                "refund": request.amount_fen,
                "total": request.order_amount_fen,
                "currency": _CURRENCY,
            },
        }
        reason = limited_text(request.reason or "", _REASON_LIMIT)
        if reason:
            business["reason"] = reason
        reply = self._api.call(
            keys_of(account),
            "POST",
            "/v3/refund/domestic/refunds",
            business,
            now=now,
            timeout_seconds=timeout_seconds,
        )
        if reply.succeeded:
            return _refund_report(reply, request)
        if reply.code not in _REFUND_LATER | _REFUND_REFUSED:
            raise _unknown(reply)
        # The refusal is about this call; an earlier one with the same number may have gone through.
        # The money is free again only when WeChat Pay does not know the number.
        try:
            left = deadline.left()
        except TimeoutError:
            raise _unknown(reply) from None
        known = self.query_refund(account, request, now=now, timeout_seconds=left)
        if known.state is RefundState.NOT_FOUND:
            raise _refused(reply, retryable=reply.code in _REFUND_LATER)
        return known

    def query_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        """Raises ProviderUnknown."""
        reply = self._api.call(
            keys_of(account),
            "GET",
            f"/v3/refund/domestic/refunds/{quote(request.refund_id, safe='')}",
            now=now,
            timeout_seconds=timeout_seconds,
        )
        if reply.succeeded:
            return _refund_report(reply, request)
        if reply.code in _NO_SUCH_REFUND:
            return RefundReport(
                request.refund_id, request.order_id, RefundState.NOT_FOUND, "NOT_EXIST"
            )
        raise _unknown(reply)

    def parse_notification(
        self, account: ProviderAccount, request: NotificationRequest, *, now: datetime
    ) -> Notification:
        """Raises NotificationRejected."""
        return read_notification(self._api, keys_of(account), request, now=now)

    def acknowledge(self) -> HttpAnswer:
        """What stops the provider from sending again."""
        return HttpAnswer(204, "", b"")

    def reject(
        self,
        http_status: int,
        message: str,
        *,
        code: str = "INVALID_NOTIFICATION",  # noqa: ARG002
        details: Any = None,
    ) -> HttpAnswer:
        """`code` is always FAIL: the word WeChat Pay expects."""
        body = json.dumps(
            {"error": message, "code": "FAIL", "message": message, "details": details},
            ensure_ascii=False,
        )
        return HttpAnswer(http_status, "application/json; charset=utf-8", body.encode("utf-8"))


def _order_path(order_id: str) -> str:
    return f"/v3/pay/transactions/out-trade-no/{quote(order_id, safe='*')}"


def _refund_report(reply: Reply, request: RefundRequest) -> RefundReport:
    """Raises ProviderUnknown when the genuine answer is about something else."""
    _compare(reply, "out_refund_no", request.refund_id, "order_mismatch")
    _compare(reply, "out_trade_no", request.order_id, "order_mismatch")
    if reply.amount_of("refund") != request.amount_fen:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "amount_mismatch")
    if reply.amount_of("total") != request.order_amount_fen:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "amount_mismatch")
    status = reply.text_of("status") or ""
    if status not in REFUND_STATES:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "unknown refund status")
    return RefundReport(
        refund_id=request.refund_id,
        order_id=request.order_id,
        state=REFUND_STATES[status],
        provider_status=status,
        provider_refund_id=reply.text_of("refund_id"),
        amount_fen=request.amount_fen,
        order_amount_fen=request.order_amount_fen,
        refunded_at=from_rfc3339(reply.text_of("success_time")),
        failure_code=status if status == "CLOSED" else None,
    )


def _compare(reply: Reply, name: str, expected: str, word: str) -> None:
    if reply.text_of(name) != expected:
        raise ProviderUnknown("PROVIDER_TIMEOUT", word)


def _refused(reply: Reply, *, retryable: bool = False) -> ProviderRefused:
    return ProviderRefused(str(reply.fields["code"]), reply.message, retryable=retryable)


def _unknown(reply: Reply) -> ProviderUnknown:
    said = f"HTTP {reply.status} {reply.code}"
    if reply.code in _TOO_OFTEN:
        return AskedTooOften(said)
    mendable = reply.code in _CONFIGURATION
    return ProviderUnknown("PROVIDER_UNAVAILABLE" if mendable else "PROVIDER_TIMEOUT", said)
