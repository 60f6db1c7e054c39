"""Every provider vector that the product checks, through the product code.

The vectors were signed and checked with the providers' SDKs and openssl; `expected.result` decides.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from core_service.outbound_http import Answer, ProviderClient
from core_service.providers import registry
from core_service.providers.alipay import bill as alipay_bill
from core_service.providers.alipay import certificates as alipay_certificates
from core_service.providers.alipay.account import keys_of as alipay_keys
from core_service.providers.alipay.gateway import AnswerRejected, open_answer
from core_service.providers.alipay.page import AlipayPage
from core_service.providers.alipay.signing import (
    FormRejected,
    request_text,
    signed_parameters,
    verified_form,
)
from core_service.providers.base import (
    NotificationRejected,
    NotificationRequest,
    PaymentRequest,
    PaymentState,
    Provider,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundReport,
    RefundRequest,
    RefundState,
)
from core_service.providers.bill import Bill
from core_service.providers.wire import fen_from_yuan, parse_object
from core_service.providers.wxpay import bill as wxpay_bill
from core_service.providers.wxpay.account import keys_of as wxpay_keys
from core_service.providers.wxpay.api import accept_certificates
from core_service.providers.wxpay.native import WxpayNative
from core_service.providers.wxpay.platform_keys import MessageRejected, decrypt
from core_service.providers.wxpay.signing import (
    authorization,
    check_message,
)
from core_service.providers.wxpay.signing import (
    request_text as wxpay_request_text,
)
from tests.core_service.providers.canned_server import CannedAnswer, canned_server
from tests.core_service.providers.judgement import Judgement, judge
from tests.core_service.providers.vectors import (
    alipay_account,
    cases_of,
    moment,
    wechat_account,
)

Case = dict[str, Any]
Test = Callable[[Case], None]


def each(*kinds: str, having: str | None = None) -> Callable[[Test], Test]:
    """`having`: only cases whose expectation names this."""
    cases = [case for case in cases_of(*kinds) if having is None or having in case["expected"]]
    mark = pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])
    return cast("Callable[[Test], Test]", mark)


def provider_for(channel_code: str) -> Provider:
    provider = registry.for_channel(channel_code)
    assert provider is not None
    return provider


def verdict_on_notification(provider: Provider, account: ProviderAccount, case: Case) -> Judgement:
    inputs = case["inputs"]
    is_get = inputs["method"] == "GET"
    message = inputs["body"].encode("utf-8")
    request = NotificationRequest(
        method=inputs["method"],
        headers={name.lower(): value for name, value in inputs["headers"].items()},
        query=message if is_get else b"",
        body=b"" if is_get else message,
    )
    try:
        notification = provider.parse_notification(account, request, now=moment(inputs))
    except NotificationRejected as rejection:
        return Judgement("reject", rejection.reason, "none")
    return judge(notification, case["provider"], inputs)


def assert_verdict(provider: Provider, case: Case, verdict: Judgement) -> None:
    expected = case["expected"]
    assert verdict.result == expected["result"], verdict
    assert verdict.effect == expected["effect"], verdict
    if expected.get("reason"):
        assert verdict.reason == expected["reason"]
    accepted = verdict.result == "accept"
    answer = provider.acknowledge() if accepted else provider.reject(400, "refused")
    assert {
        "success": (answer.status, answer.body) == (200, b"success"),
        "not_success": answer.body != b"success",
        "2xx": answer.status in (200, 204),
        "4xx_5xx": answer.status >= 400,
        "any": True,
    }[expected["ack"]]


CHANGES_NOTHING = {"unknown_retry", "query_again", "provider_error"}
"""Different words for one thing: no effect here, ask or repeat later."""


def assert_outcome(outcome: str, expected: str) -> None:
    assert outcome == expected or {outcome, expected} <= CHANGES_NOTHING


# ---- Alipay -------------------------------------------------------------------------------------


@each("alipay.page_pay_url", "alipay.gateway_request", having="params")
def test_alipay_requests_are_signed_as_the_sdks_sign(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    keys = alipay_keys(alipay_account(inputs["merchant"]))
    assert request_text(expected["params"]) == expected["string_to_sign"]
    assert signed_parameters(keys, expected["params"])["sign"] == expected["signature"]


@each("alipay.notify")
def test_alipay_notifications(case: Case) -> None:
    account = alipay_account(case["inputs"]["merchant"])
    provider = provider_for("alipay.page")
    assert_verdict(provider, case, verdict_on_notification(provider, account, case))
    if case["expected"].get("fields") and case["expected"]["result"] == "accept":
        fields = verified_form(alipay_keys(account), case["inputs"]["body"].encode())
        assert fields == case["expected"]["fields"]


@each("alipay.return")
def test_alipay_browser_returns_are_read_but_never_a_notification(case: Case) -> None:
    account = alipay_account(case["inputs"]["merchant"])
    raw = case["inputs"]["body"].encode()
    verdict = verdict_on_notification(provider_for("alipay.page"), account, case)
    assert verdict.effect == case["expected"]["effect"] == "none"
    if case["expected"]["result"] == "accept":
        assert verdict.reason == "not_a_notification"
        assert verified_form(alipay_keys(account), raw) == case["expected"]["fields"]
    else:
        with pytest.raises(FormRejected) as caught:
            verified_form(alipay_keys(account), raw)
        assert caught.value.reason == case["expected"]["reason"]


@each("alipay.response")
def test_alipay_answers(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    account = alipay_account(inputs["merchant"])
    body = inputs["body"].encode("utf-8")
    node, reason = None, None
    try:
        node = open_answer(alipay_keys(account), inputs["api"], body)
    except AnswerRejected as rejection:
        reason = rejection.reason
    if node is None:
        assert (expected["result"], expected["reason"]) == ("reject", reason)
        assert alipay_outcome(case, None)[0] == "not_believed"
        return
    if expected["result"] == "reject":
        assert alipay_outcome(case, dict(node.fields)) == ("not_believed", expected["reason"])
        return
    assert node.text == expected["signed_content"]
    assert node.fields == expected["parsed"]
    if expected["outcome"] != "bill_url":
        assert_outcome(alipay_outcome(case, dict(node.fields))[0], expected["outcome"])


def alipay_outcome(case: Case, fields: dict[str, Any] | None) -> tuple[str, str]:  # noqa: PLR0911 - one per API
    """Plays the answer to the adapter over HTTP; returns the vectors' outcome and a reason."""
    inputs = case["inputs"]
    fields = fields or {}
    order = inputs.get("order") or {}
    order_id = order.get("out_trade_no") or fields.get("out_trade_no") or "NP1"
    amount = fen_from_yuan(order.get("total_amount") or fields.get("total_amount")) or 1
    refund = RefundRequest(
        refund_id=fields.get("out_request_no") or "NR1",
        order_id=order_id,
        gateway_order_id=None,
        amount_fen=fen_from_yuan(fields.get("refund_amount") or fields.get("refund_fee")) or 1,
        order_amount_fen=amount,
        reason=None,
    )
    now = moment(inputs)
    with canned_server() as server, ProviderClient() as client:
        server.answers = [
            CannedAnswer(inputs["http_status"], inputs["headers"], inputs["body"].encode("utf-8"))
        ]
        account = alipay_account(inputs["merchant"], gatewayUrl=f"{server.url}/gateway.do")
        adapter = AlipayPage(client)
        try:
            match inputs["api"]:
                case "alipay.trade.query":
                    report = adapter.query_payment(
                        account, order_id, amount_fen=amount, now=now, timeout_seconds=5
                    )
                    return _PAYMENT_OUTCOMES[report.state], ""
                case "alipay.trade.close":
                    state = adapter.close_payment(account, order_id, now=now, timeout_seconds=5)
                    return _CLOSE_OUTCOMES[state], ""
                case "alipay.trade.refund":
                    made = adapter.create_refund(account, refund, now=now, timeout_seconds=5)
                    processing = made.state is RefundState.PROCESSING
                    return ("query_refund" if processing else _refund_outcome(made)), ""
                case "alipay.trade.fastpay.refund.query":
                    asked = adapter.query_refund(account, refund, now=now, timeout_seconds=5)
                    return _refund_outcome(asked), ""
                case _:
                    return "not_believed", ""
        except ProviderRefused as refusal:
            return "refund_rejected_retryable" if refusal.retryable else "refund_failed", ""
        except ProviderUnknown as unknown:
            if unknown.__cause__ is not None or str(unknown).endswith("_mismatch"):
                return "not_believed", str(unknown)
            return "unknown_retry", str(unknown)


_PAYMENT_OUTCOMES = {
    PaymentState.PAID: "paid",
    PaymentState.UNPAID: "unpaid",
    PaymentState.CLOSED: "closed",
    PaymentState.FAILED: "failed",
}
_CLOSE_OUTCOMES = {
    PaymentState.PAID: "query_again",
    PaymentState.UNPAID: "close_no_trade",
    PaymentState.CLOSED: "closed",
}


def _refund_outcome(report: RefundReport) -> str:
    return {
        RefundState.SUCCEEDED: "refund_success",
        RefundState.PROCESSING: "refund_processing",
        RefundState.NOT_FOUND: "refund_unknown",
        RefundState.FAILED: "refund_failed",
        RefundState.ABNORMAL: "refund_abnormal",
    }[report.state]


@each("alipay.cert_sn")
def test_alipay_certificate_serials(case: Case) -> None:
    of_bundle = case["inputs"]["which"] == "alipay_root_cert_sn"
    compute = alipay_certificates.root_cert_sn if of_bundle else alipay_certificates.app_cert_sn
    assert compute(case["inputs"]["pem"]) == case["expected"]["sn"]
    # The same file as it often arrives: CRLF, and no line between the certificates.
    messy = case["inputs"]["pem"].replace("\n\n", "\n").replace("\n", "\r\n")
    assert compute(messy) == case["expected"]["sn"]


@each("alipay.bill")
def test_alipay_bills(case: Case) -> None:
    expected = case["expected"]
    bill = alipay_bill.read_bill(base64.b64decode(case["inputs"]["file_base64"]))
    assert list(bill.file_names) == expected["files"]
    assert rows_of(bill, refund_id="out_request_no") == expected["rows"]
    assert expected["summary"] == {
        "payments": len(bill.payments),
        "refunds": len(bill.refunds),
        "payment_total_fen": bill.payment_total_fen,
        "refund_total_fen": bill.refund_total_fen,
    }


def rows_of(bill: Bill, *, refund_id: str) -> list[dict[str, Any]]:
    """The rows in the vectors' form, without what a row does not tell."""
    rows = []
    for row in bill.rows:
        told = {
            "type": "refund" if row.is_refund else "payment",
            "provider_trade_no": row.provider_trade_no,
            "out_trade_no": row.order_id,
            "refund_fen" if row.is_refund else "amount_fen": row.amount_fen,
            refund_id: row.refund_id,
            "provider_refund_no": row.provider_refund_no,
            "refund_status": row.refund_status,
        }
        rows.append({name: value for name, value in told.items() if value is not None})
    return rows


# ---- WeChat Pay ---------------------------------------------------------------------------------


@each("wechat.authorization", having="signature")
def test_wechat_requests_are_signed_as_the_sdks_sign(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    body = inputs["body"].encode("utf-8")
    parts = (inputs["method"], inputs["url"])
    stamps = {"timestamp": str(inputs["timestamp"]), "nonce": inputs["nonce"]}
    text = wxpay_request_text(*parts, stamps["timestamp"], stamps["nonce"], body)
    assert text.decode("utf-8") == expected["string_to_sign"]
    keys = wxpay_keys(wechat_account(inputs["merchant"]))
    value = authorization(keys, *parts, body, **stamps)
    assert f'signature="{expected["signature"]}"' in value
    assert authorization_fields(value) == authorization_fields(inputs["headers"]["Authorization"])


def authorization_fields(value: str) -> tuple[str, set[str]]:
    scheme, _, fields = value.partition(" ")
    return scheme, set(fields.split(","))


def answer_of(inputs: Case) -> Answer:
    headers = {name.lower(): value for name, value in inputs["headers"].items()}
    return Answer(inputs["http_status"], headers, inputs["body"].encode("utf-8"), 0)


@each("wechat.response")
def test_wechat_answers(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    answer, reason = answer_of(inputs), None
    if answer.status >= 300:
        reason = "unsigned_response"
    else:
        try:
            keys = wxpay_keys(wechat_account(inputs["merchant"]))
            check_message(keys, answer.headers, answer.body, now=moment(inputs))
        except MessageRejected as rejection:
            reason = rejection.reason
    outcome, word = wechat_outcome(case)
    if expected["reason"] == "order_mismatch":
        assert (reason, outcome, word) == (None, "not_believed", "order_mismatch")
        return
    assert reason == expected["reason"]
    assert (reason is None) == (expected["result"] == "accept")
    if "outcome" in expected:
        assert_outcome(outcome, expected["outcome"])
    elif reason is not None:
        assert (outcome, word) == ("not_believed", reason)
    else:
        assert outcome != "not_believed"


def wechat_outcome(case: Case) -> tuple[str, str]:  # noqa: PLR0911 - one per API
    """Plays the answer to the adapter over HTTP; returns the vectors' outcome and a reason."""
    inputs = case["inputs"]
    path, now = inputs["request"]["url"], moment(inputs)
    try:
        fields = parse_object(inputs["body"].encode("utf-8"))
    except ValueError:
        fields = {}
    order = inputs.get("order") or {}
    amount = fields.get("amount") or {}
    order_id = order.get("out_trade_no") or fields.get("out_trade_no") or "NP20260601000101"
    total = order.get("amount_fen") or amount.get("total") or 1
    refund = RefundRequest(
        refund_id=fields.get("out_refund_no") or "NR1",
        order_id=order_id,
        gateway_order_id=None,
        amount_fen=amount.get("refund") or 1,
        order_amount_fen=total,
        reason=None,
    )
    with canned_server() as server, ProviderClient() as client:
        answer = CannedAnswer(inputs["http_status"], inputs["headers"], inputs["body"].encode())
        # After a refusal the adapter asks whether WeChat Pay knows the refund number; it does not.
        unknown_number = CannedAnswer(404, {}, b'{"code":"RESOURCE_NOT_EXISTS","message":""}')
        server.answers = [answer, unknown_number] if answer.status >= 400 else [answer]
        account = wechat_account(inputs["merchant"], apiBaseUrl=server.url)
        adapter = WxpayNative(client)
        try:
            if path.endswith("/native"):
                adapter.create_payment(account, a_payment(order_id), now=now, timeout_seconds=5)
                return "done", ""
            if path.endswith("/close"):
                adapter.close_payment(account, order_id, now=now, timeout_seconds=5)
                return "done", ""
            if "/refund/" in path and inputs["request"]["method"] == "POST":
                made = adapter.create_refund(account, refund, now=now, timeout_seconds=5)
                return _refund_outcome(made), ""
            if "/refund/" in path:
                asked = adapter.query_refund(account, refund, now=now, timeout_seconds=5)
                return _refund_outcome(asked), ""
            report = adapter.query_payment(
                account, order_id, amount_fen=total, now=now, timeout_seconds=5
            )
            return _PAYMENT_OUTCOMES[report.state], ""
        except ProviderRefused as refusal:
            return "refund_rejected_retryable" if refusal.retryable else "refund_failed", ""
        except ProviderUnknown as unknown:
            if unknown.__cause__ is not None or str(unknown).endswith("_mismatch"):
                return "not_believed", str(unknown)
            said_no = inputs["http_status"] in range(400, 429)
            return "provider_error" if said_no else "unknown_retry", str(unknown)


def a_payment(order_id: str) -> PaymentRequest:
    return PaymentRequest(
        order_id=order_id,
        amount_fen=8888,
        subject="一年会员",
        description=None,
        expire_at=datetime(2026, 6, 1, 4, 30, tzinfo=UTC),
        return_url="https://pay.example.com/pay/x/return",
    )


@each("wechat.certificates")
def test_wechat_platform_certificates(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    keys = wxpay_keys(wechat_account(inputs["merchant"], serials=inputs["trusted_serials"]))
    before = keys.platform.serials()
    assert sorted(before) == sorted(inputs["trusted_serials"])
    if expected["result"] == "accept":
        accept_certificates(keys, answer_of(inputs), now=moment(inputs))
        assert set(keys.platform.serials()) == set(before) | set(expected["serials"])
        return
    with pytest.raises(MessageRejected) as caught:
        accept_certificates(keys, answer_of(inputs), now=moment(inputs))
    assert caught.value.reason == expected["reason"]
    assert keys.platform.serials() == before


@each("wechat.notify_payment", "wechat.notify_refund")
def test_wechat_notifications(case: Case) -> None:
    account = wechat_account(case["inputs"]["merchant"])
    with canned_server() as server, ProviderClient() as client:
        # An unknown serial makes the adapter ask for new certificates; there are none.
        server.answers = [CannedAnswer(404, {}, b'{"code":"RESOURCE_NOT_EXISTS","message":""}')]
        account = wechat_account(case["inputs"]["merchant"], apiBaseUrl=server.url)
        native = WxpayNative(client)
        verdict = verdict_on_notification(native, account, case)
    assert_verdict(native, case, verdict)
    if "plaintext" in case["expected"] and verdict.reason != "unsupported_algorithm":
        resource = parse_object(case["inputs"]["body"].encode())["resource"]
        plain = decrypt(wxpay_keys(account).api_v3_key, resource)
        assert plain.decode() == case["expected"]["plaintext"]


@each("wechat.tradebill")
def test_wechat_bills(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    bill = wxpay_bill.read_bill(base64.b64decode(inputs["file_base64"]), sha1=inputs["hash_value"])
    assert rows_of(bill, refund_id="out_refund_no") == expected["rows"]
    assert expected["summary"] == {
        "count": len(bill.rows),
        "order_total_fen": bill.payment_total_fen,
        "refund_total_fen": bill.refund_total_fen,
    }
