"""The channel alipay.page: Alipay's cashier on the web (alipay.trade.page.pay).

Creating signs a URL and calls nobody; Alipay learns of the trade when the buyer opens the cashier.
Until then it answers TRADE_NOT_EXIST, and only the absolute `time_expire` in the URL says when the
link is dead.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core_service.domain.account_check import Finding
from core_service.outbound_http import ProviderClient
from core_service.providers.alipay import account as alipay_account
from core_service.providers.alipay import check
from core_service.providers.alipay.account import AlipayKeys, keys_of
from core_service.providers.alipay.gateway import (
    ACCEPTED,
    SignedNode,
    call,
    common_parameters,
)
from core_service.providers.alipay.notification import (
    CURRENCY,
    TRADE_STATES,
    has_refund_fields,
    read_notification,
)
from core_service.providers.alipay.signing import signed_parameters
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
from core_service.providers.wire import (
    beijing_text,
    compact_json,
    fen_from_yuan,
    form_encoded,
    from_beijing_text,
    limited_text,
    yuan_text,
)

_SUBJECT_LIMIT = 256
_BODY_LIMIT = 128
_REASON_LIMIT = 256

_NOT_EXIST = "TRADE_NOT_EXIST"
_BUSINESS_FAILURE = "40004"
_TOO_OFTEN = "40005"

_CLOSE_MAY_BE_PAID = frozenset(
    {
        "TRADE_STATUS_ERROR",
        "REASON_TRADE_STATUS_INVALID",
        "REASON_ILLEGAL_STATUS",
        "TRADE_HAS_SUCCESS",
        "TRADE_HAS_CLOSE",
    }
)
_CLOSE_REFUSED = frozenset({"INVALID_PARAMETER", "ACCESS_FORBIDDEN", "PARTNER_ERROR"})

_REFUND_REFUSED = frozenset(
    {
        _NOT_EXIST,
        "REFUND_AMT_NOT_EQUAL_TOTAL",
        "REASON_TRADE_REFUND_FEE_ERR",
        "REFUND_FEE_ERROR",
        "TRADE_HAS_FINISHED",
        "TRADE_NOT_ALLOW_REFUND",
        "NOT_ALLOW_PARTIAL_REFUND",
        "BUYER_NOT_EXIST",
        "BUYER_ERROR",
        "CUSTOMER_VALIDATE_ERROR",
        "INVALID_PARAMETER",
        "ACCESS_FORBIDDEN",
        "PARTNER_ERROR",
        "EXIST_FORBIDDEN_WORD",
    }
)
_REFUND_LATER = frozenset(
    {"SELLER_BALANCE_NOT_ENOUGH", "REASON_TRADE_BEEN_FREEZEN", "REFUND_CHARGE_ERROR"}
)


class AlipayPage:
    """See `Provider`."""

    channel_code = "alipay.page"
    provider_code = "alipay"
    display_name = "支付宝电脑网站支付"
    description = "Alipay page pay: the payer is redirected to Alipay's cashier"
    payment_mode = "redirect"
    account_fields = alipay_account.FIELDS
    creates_locally = True
    can_close = True
    can_refund = True

    def __init__(self, client: ProviderClient) -> None:
        self._client = client

    def validate_config(self, config: Mapping[str, Any], *, allow_custom_base_url: bool) -> None:
        """Raises AccountConfigInvalid."""
        checker = ConfigChecker(config, self.account_fields)
        checker.base_url(
            "gatewayUrl", alipay_account.OFFICIAL_GATEWAYS, allow_custom=allow_custom_base_url
        )
        checker.raise_violations()
        alipay_account.parse(config, check_private_key=True)

    def check_account(
        self, account: ProviderAccount, *, now: datetime, timeout_seconds: float
    ) -> Sequence[Finding]:
        """Asks about a trade that does not exist."""
        return list(check.examine(self._client, account, now=now, timeout_seconds=timeout_seconds))

    def create_payment(
        self,
        account: ProviderAccount,
        request: PaymentRequest,
        *,
        now: datetime,
        timeout_seconds: float,  # noqa: ARG002
    ) -> Checkout:
        """Signs the cashier URL; no network, `timeout_seconds` is not needed."""
        keys = keys_of(account)
        business = {
            "out_trade_no": request.order_id,
            "total_amount": yuan_text(request.amount_fen),
            "subject": _plain_text(request.subject, _SUBJECT_LIMIT) or request.order_id,
            "product_code": "FAST_INSTANT_TRADE_PAY",
            "time_expire": beijing_text(request.expire_at),
        }
        body = _plain_text(request.description or "", _BODY_LIMIT)
        if body:
            business["body"] = body
        parameters = common_parameters(keys, "alipay.trade.page.pay", now)
        parameters["notify_url"] = account.callback_url
        parameters["return_url"] = request.return_url
        parameters["biz_content"] = compact_json(business)
        url = f"{keys.gateway_url}?{form_encoded(signed_parameters(keys, parameters))}"
        return Checkout(payment_mode=self.payment_mode, checkout_url=url)

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
        node = self._call(
            account, "alipay.trade.query", {"out_trade_no": order_id}, now, timeout_seconds
        )
        if node.code == _BUSINESS_FAILURE and node.sub_code == _NOT_EXIST:
            return PaymentReport(order_id, PaymentState.UNPAID, "NOT_EXIST")
        if node.code != ACCEPTED:
            raise _unknown(node)
        _compare(node, "out_trade_no", order_id)
        if fen_from_yuan(node.text_of("total_amount")) != amount_fen:
            raise _about_something_else("amount_mismatch")
        return _payment_report(node, order_id, amount_fen)

    def close_payment(
        self, account: ProviderAccount, order_id: str, *, now: datetime, timeout_seconds: float
    ) -> PaymentState:
        """Raises ProviderRefused, ProviderUnknown."""
        node = self._call(
            account, "alipay.trade.close", {"out_trade_no": order_id}, now, timeout_seconds
        )
        if node.code == ACCEPTED:
            _compare(node, "out_trade_no", order_id)
            return PaymentState.CLOSED
        if node.code == _BUSINESS_FAILURE:
            if node.sub_code == _NOT_EXIST:
                return PaymentState.UNPAID
            if node.sub_code in _CLOSE_MAY_BE_PAID:
                return PaymentState.PAID
            if node.sub_code in _CLOSE_REFUSED:
                raise _refused(node)
        raise _unknown(node)

    def create_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        """Raises ProviderRefused, ProviderUnknown."""
        business = {
            "out_trade_no": request.order_id,
            "refund_amount": yuan_text(request.amount_fen),
            "out_request_no": request.refund_id,
        }
        reason = _plain_text(request.reason or "", _REASON_LIMIT)
        if reason:
            business["refund_reason"] = reason
        node = self._call(account, "alipay.trade.refund", business, now, timeout_seconds)
        if node.code == ACCEPTED:
            return _refund_answer(node, request)
        if node.code == _BUSINESS_FAILURE:
            if node.sub_code in _REFUND_LATER:
                raise _refused(node, retryable=True)
            if node.sub_code in _REFUND_REFUSED:
                raise _refused(node)
        # Everything else, refusals of the call itself included, says nothing about what an earlier
        # call with this refund number did.
        raise _unknown(node)

    def query_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        """Raises ProviderUnknown."""
        node = self._call(
            account,
            "alipay.trade.fastpay.refund.query",
            {"out_trade_no": request.order_id, "out_request_no": request.refund_id},
            now,
            timeout_seconds,
        )
        if node.code == _BUSINESS_FAILURE and node.sub_code == _NOT_EXIST:
            return _refund_report(request, RefundState.NOT_FOUND, _NOT_EXIST)
        if node.code != ACCEPTED:
            raise _unknown(node)
        status = node.text_of("refund_status")
        if status is None:
            # Not received, failed, or not done yet: the same number may be sent again in every
            # case.
            return _refund_report(request, RefundState.NOT_FOUND, "NOT_EXIST")
        _compare(node, "out_trade_no", request.order_id)
        _compare(node, "out_request_no", request.refund_id)
        if fen_from_yuan(node.text_of("refund_amount")) != request.amount_fen:
            raise _about_something_else("amount_mismatch")
        if status != "REFUND_SUCCESS":
            return _refund_report(request, RefundState.PROCESSING, status)
        return _refund_report(request, RefundState.SUCCEEDED, status, node)

    def parse_notification(
        self,
        account: ProviderAccount,
        request: NotificationRequest,
        *,
        now: datetime,  # noqa: ARG002
    ) -> Notification:
        """Age is no reason to refuse: Alipay repeats a notification unchanged for a day."""
        return read_notification(keys_of(account), request)

    def acknowledge(self) -> HttpAnswer:
        """What stops the provider from sending again."""
        return HttpAnswer(200, "text/plain; charset=utf-8", b"success")

    def reject(
        self,
        http_status: int,
        message: str,
        *,
        code: str = "INVALID_NOTIFICATION",
        details: Any = None,
    ) -> HttpAnswer:
        """The contract's error body."""
        body = json.dumps({"error": message, "code": code, "details": details}, ensure_ascii=False)
        return HttpAnswer(http_status, "application/json; charset=utf-8", body.encode("utf-8"))

    def _call(
        self,
        account: ProviderAccount,
        method: str,
        business: Mapping[str, str],
        now: datetime,
        timeout_seconds: float,
    ) -> SignedNode:
        """What Alipay says about this order, a no included. Raises ProviderUnknown."""
        keys: AlipayKeys = keys_of(account)
        node = call(self._client, keys, method, business, now=now, timeout_seconds=timeout_seconds)
        for name in ("out_trade_no", "out_request_no"):
            # An accepted call must name it (`_compare`); a no may leave it out.
            if node.text_of(name) not in (None, business.get(name)):
                raise _about_something_else("order_mismatch")
        return node


_FORBIDDEN_IN_TEXT = str.maketrans({"/": "／", "=": "＝", "&": "＆"})
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")


def _plain_text(text: str, limit: int) -> str:
    """The text as Alipay takes it, at most `limit` characters.

    Alipay refuses `/`, `=` and `&` in a subject and advises against emoji; full-width twins read
    the same to the payer.
    """
    return limited_text(_BEYOND_BMP.sub("", text.translate(_FORBIDDEN_IN_TEXT)), limit)


def _payment_report(node: SignedNode, order_id: str, amount_fen: int) -> PaymentReport:
    status = node.text_of("trade_status") or ""
    state = TRADE_STATES.get(status)
    if state is None:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "unknown trade_status")
    paid_at = from_beijing_text(node.text_of("send_pay_date"))
    refunded = has_refund_fields(node.fields)
    if state is PaymentState.CLOSED and (refunded or paid_at):
        # TRADE_CLOSED also means "paid, and all of it refunded".
        state, refunded = PaymentState.PAID, True
    return PaymentReport(
        order_id=order_id,
        state=state,
        provider_status=status,
        gateway_order_id=node.text_of("trade_no"),
        paid_amount_fen=amount_fen,
        currency=CURRENCY,
        paid_at=paid_at,
        has_refunds=refunded,
    )


def _refund_answer(node: SignedNode, request: RefundRequest) -> RefundReport:
    """`fund_change` says whether this very call moved the money.

    Anything but Y is a repeat or not done yet: only the refund query knows. So does it when `refund_fee`,
    the total of all refunds, is less than this one: that is an answer to another refund.
    """
    _compare(node, "out_trade_no", request.order_id)
    if (fen_from_yuan(node.text_of("refund_fee")) or 0) < request.amount_fen:
        return _refund_report(request, RefundState.PROCESSING, "REFUND_FEE_TOO_SMALL")
    if node.text_of("fund_change") != "Y":
        return _refund_report(request, RefundState.PROCESSING, "FUND_CHANGE_N")
    return _refund_report(request, RefundState.SUCCEEDED, "REFUND_SUCCESS", node)


def _refund_report(
    request: RefundRequest, state: RefundState, status: str, node: SignedNode | None = None
) -> RefundReport:
    """Alipay has no refund number of its own: ours, within the trade, is the number."""
    return RefundReport(
        refund_id=request.refund_id,
        order_id=request.order_id,
        state=state,
        provider_status=status,
        amount_fen=request.amount_fen if node else None,
        refunded_at=from_beijing_text(node.text_of("gmt_refund_pay")) if node else None,
    )


def _compare(node: SignedNode, name: str, expected: str) -> None:
    if node.text_of(name) != expected:
        raise _about_something_else("order_mismatch")


def _about_something_else(word: str) -> ProviderUnknown:
    """A genuine answer to another question, replayed or mixed up: as if none had come."""
    return ProviderUnknown("PROVIDER_TIMEOUT", word)


def _refused(node: SignedNode, *, retryable: bool = False) -> ProviderRefused:
    return ProviderRefused(node.sub_code, node.text_of("sub_msg") or "", retryable=retryable)


def _unknown(node: SignedNode) -> ProviderUnknown:
    said = f"{node.code} {node.sub_code}".strip()
    if node.code == _TOO_OFTEN:
        return AskedTooOften(said)
    return ProviderUnknown("PROVIDER_TIMEOUT", said)
