"""Every provider vector that the product checks, through the product code.

The vectors were signed and checked with the providers' SDKs and openssl; `expected.result` decides.
"""

from typing import Any

import pytest

from core_service.outbound_http import ProviderClient
from core_service.providers import registry
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
    PaymentState,
    Provider,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundReport,
    RefundRequest,
    RefundState,
)
from core_service.providers.wire import fen_from_yuan
from tests.core_service.providers.canned_server import CannedAnswer, canned_server
from tests.core_service.providers.judgement import Judgement, judge
from tests.core_service.providers.vectors import (
    alipay_account,
    cases_of,
    moment,
)

Case = dict[str, Any]


def each(*kinds: str) -> Any:
    cases = cases_of(*kinds)
    return pytest.mark.parametrize("case", cases, ids=[case["name"] for case in cases])


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
    return judge(notification, inputs)


def assert_verdict(case: Case, verdict: Judgement) -> None:
    expected = case["expected"]
    assert verdict.result == expected["result"], verdict
    assert verdict.effect == expected["effect"], verdict
    if expected.get("reason"):
        assert verdict.reason == expected["reason"]


# ---- Alipay -------------------------------------------------------------------------------------


@each("alipay.page_pay_url", "alipay.gateway_request")
def test_alipay_requests_are_signed_as_the_sdks_sign(case: Case) -> None:
    inputs, expected = case["inputs"], case["expected"]
    if "signature" not in expected or "params" not in expected:
        pytest.skip("a request that the gateway refuses; nothing for the adapter to build")
    keys = alipay_keys(alipay_account(inputs["merchant"]))
    assert request_text(expected["params"]) == expected["string_to_sign"]
    assert signed_parameters(keys, expected["params"])["sign"] == expected["signature"]


@each("alipay.notify")
def test_alipay_notifications(case: Case) -> None:
    account = alipay_account(case["inputs"]["merchant"])
    assert_verdict(case, verdict_on_notification(provider_for("alipay.page"), account, case))
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
    try:
        node = open_answer(alipay_keys(account), inputs["api"], body)
    except AnswerRejected as rejection:
        assert (expected["result"], expected["reason"]) == ("reject", rejection.reason)
        assert alipay_outcome(case, None)[0] == "not_believed"
        return
    if expected["result"] == "reject":
        assert alipay_outcome(case, dict(node.fields)) == ("not_believed", expected["reason"])
        return
    assert node.text == expected["signed_content"]
    assert node.fields == expected["parsed"]
    if expected["outcome"] != "bill_url":
        assert alipay_outcome(case, dict(node.fields))[0] == expected["outcome"]


def alipay_outcome(case: Case, fields: dict[str, Any] | None) -> tuple[str, str]:
    """Plays the answer to the adapter over HTTP; returns the outcome in the vectors' words, and a reason."""
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
    with canned_server() as server:
        server.answers = [
            CannedAnswer(inputs["http_status"], inputs["headers"], inputs["body"].encode("utf-8"))
        ]
        account = alipay_account(inputs["merchant"], gatewayUrl=f"{server.url}/gateway.do")
        adapter = AlipayPage(ProviderClient())
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
