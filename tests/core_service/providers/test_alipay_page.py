"""The Alipay adapter against answers that python-alipay-sdk signed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from core_service.outbound_http import ProviderClient
from core_service.providers.alipay.certificates import root_cert_sn
from core_service.providers.alipay.page import AlipayPage
from core_service.providers.base import (
    AccountConfigInvalid,
    AskedTooOften,
    NotificationRejected,
    NotificationRequest,
    PaymentState,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundState,
)
from tests.core_service.providers.canned_server import CannedAnswer, CannedServer, canned_server
from tests.core_service.providers.counterparts import (
    NOW,
    ORDER_ID,
    PAYMENT,
    REFUND,
    REFUND_ID,
    alipay_answer,
    alipay_refusal,
    alipay_sdk,
)
from tests.core_service.providers.vectors import CALLBACK_URL, KEYS, alipay_account

QUERY = "alipay.trade.query"
CLOSE = "alipay.trade.close"
REFUND_CALL = "alipay.trade.refund"
REFUND_QUERY = "alipay.trade.fastpay.refund.query"
TRADE = {"code": "10000", "msg": "Success", "out_trade_no": ORDER_ID, "trade_no": "2026"}


@dataclass
class Wire:
    """The adapter and the gateway it talks to."""

    adapter: AlipayPage
    server: CannedServer
    account: ProviderAccount

    def answers(self, *answers: CannedAnswer) -> None:
        self.server.answers = list(answers)

    def query(self) -> Any:
        return self.adapter.query_payment(
            self.account, ORDER_ID, amount_fen=8888, now=NOW, timeout_seconds=5
        )

    def close(self) -> PaymentState:
        return self.adapter.close_payment(self.account, ORDER_ID, now=NOW, timeout_seconds=5)

    def refund(self) -> Any:
        return self.adapter.create_refund(self.account, REFUND, now=NOW, timeout_seconds=5)

    def query_refund(self) -> Any:
        return self.adapter.query_refund(self.account, REFUND, now=NOW, timeout_seconds=5)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with canned_server() as server, ProviderClient() as client:
        account = alipay_account("A1", gatewayUrl=f"{server.url}/gateway.do")
        yield Wire(AlipayPage(client), server, account)


@pytest.fixture
def adapter() -> Iterator[AlipayPage]:
    with ProviderClient() as client:
        yield AlipayPage(client)


def cashier_parameters(adapter: AlipayPage, account: ProviderAccount, **change: Any) -> Any:
    checkout = adapter.create_payment(
        account, replace(PAYMENT, **change), now=NOW, timeout_seconds=5
    )
    assert checkout.payment_mode == "redirect"
    return dict(parse_qsl(urlsplit(checkout.checkout_url).query, strict_parsing=True))


@pytest.mark.parametrize("ref", ["A1", "A2"])
def test_the_sdk_accepts_the_signed_cashier_url(adapter: AlipayPage, ref: str) -> None:
    parameters = cashier_parameters(adapter, alipay_account(ref))
    signature = parameters.pop("sign")
    gateway = alipay_sdk(ref, as_alipay=True)
    text = "&".join(f"{name}={value}" for name, value in gateway._ordered_data(parameters))
    assert gateway._verify(text, signature)
    assert ("app_cert_sn" in parameters) == ("alipay_root_cert_sn" in parameters) == (ref == "A2")


def test_the_cashier_url_says_what_alipay_needs(adapter: AlipayPage) -> None:
    parameters = cashier_parameters(adapter, alipay_account("A1"))
    business = json.loads(parameters["biz_content"])
    assert business == {
        "out_trade_no": ORDER_ID,
        "total_amount": "88.88",
        "subject": "一年会员",
        "product_code": "FAST_INSTANT_TRADE_PAY",
        "time_expire": "2026-06-01 12:30:00",
    }
    assert parameters["timestamp"] == "2026-06-01 12:00:00"
    assert parameters["notify_url"] == CALLBACK_URL
    assert parameters["return_url"] == PAYMENT.return_url
    assert all(parameters.values())


@pytest.mark.parametrize(
    ("subject", "sent"),
    [
        ("a/b=c&d", "a／b＝c＆d"),
        ("会员😀", "会员"),
        ("😀", ORDER_ID),
        ("  a\tb\nc  ", "a b c"),
        ("年" * 300, "年" * 256),
    ],
)
def test_the_subject_is_made_acceptable(adapter: AlipayPage, subject: str, sent: str) -> None:
    parameters = cashier_parameters(adapter, alipay_account("A1"), subject=subject)
    assert json.loads(parameters["biz_content"])["subject"] == sent


def test_the_description_is_sent_as_body_when_there_is_one(adapter: AlipayPage) -> None:
    parameters = cashier_parameters(adapter, alipay_account("A1"), description="详" * 200)
    assert json.loads(parameters["biz_content"])["body"] == "详" * 128


def test_calls_are_signed_over_query_and_body_together(wire: Wire) -> None:
    wire.answers(
        alipay_answer(QUERY, TRADE | {"trade_status": "WAIT_BUYER_PAY", "total_amount": "88.88"})
    )
    wire.query()
    received = wire.server.received[0]
    parameters = dict(parse_qsl(urlsplit(received.target).query))
    parameters |= {name: values[0] for name, values in parse_qs(received.body.decode()).items()}
    signature = parameters.pop("sign")
    gateway = alipay_sdk(as_alipay=True)
    text = "&".join(f"{name}={value}" for name, value in gateway._ordered_data(parameters))
    assert gateway._verify(text, signature)
    assert json.loads(parameters["biz_content"]) == {"out_trade_no": ORDER_ID}


@pytest.mark.parametrize(
    ("more", "state", "has_refunds"),
    [
        ({"trade_status": "WAIT_BUYER_PAY"}, PaymentState.UNPAID, False),
        ({"trade_status": "TRADE_SUCCESS"}, PaymentState.PAID, False),
        ({"trade_status": "TRADE_FINISHED"}, PaymentState.PAID, False),
        ({"trade_status": "TRADE_CLOSED"}, PaymentState.CLOSED, False),
        (
            {"trade_status": "TRADE_CLOSED", "send_pay_date": "2026-06-01 11:58:02"},
            PaymentState.PAID,
            True,
        ),
    ],
)
def test_query_reads_the_trade_status(
    wire: Wire, more: dict[str, str], state: PaymentState, *, has_refunds: bool
) -> None:
    wire.answers(alipay_answer(QUERY, TRADE | {"total_amount": "88.88"} | more))
    report = wire.query()
    assert (report.state, report.has_refunds) == (state, has_refunds)
    assert (report.paid_amount_fen, report.currency) == (8888, "CNY")
    assert report.gateway_order_id == "2026"
    if "send_pay_date" in more:
        assert report.paid_at == datetime(2026, 6, 1, 3, 58, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        TRADE | {"out_trade_no": "other", "total_amount": "88.88", "trade_status": "TRADE_SUCCESS"},
        TRADE | {"total_amount": "88.87", "trade_status": "TRADE_SUCCESS"},
        TRADE | {"trade_status": "TRADE_SUCCESS"},
        TRADE | {"total_amount": "88.88", "trade_status": "SOMETHING_NEW"},
        {"code": "20000", "msg": "", "sub_code": "isp.unknow-error"},
        {"code": "40004", "msg": "", "sub_code": "ACQ.SYSTEM_ERROR"},
        {"code": "40004", "msg": "", "sub_code": "ACQ.TRADE_NOT_EXIST", "out_trade_no": "other"},
        {"code": "40002", "msg": "", "sub_code": "isv.invalid-signature"},
    ],
)
def test_query_believes_nothing_else(wire: Wire, fields: dict[str, str]) -> None:
    wire.answers(alipay_answer(QUERY, fields))
    with pytest.raises(ProviderUnknown):
        wire.query()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_p02_busy_gateways_are_unavailable(wire: Wire, status: int) -> None:
    wire.answers(CannedAnswer(status, {}, b"busy"))
    with pytest.raises(ProviderUnknown) as caught:
        wire.refund()
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    assert isinstance(caught.value, AskedTooOften) == (status == 429)


def test_p02_a_refused_connection_is_unavailable(adapter: AlipayPage) -> None:
    with canned_server() as server:
        gone = server.url
    account = alipay_account("A1", gatewayUrl=f"{gone}/gateway.do")
    with pytest.raises(ProviderUnknown) as caught:
        adapter.create_refund(account, REFUND, now=NOW, timeout_seconds=5)
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"alipay_trade_refund_response":{"code":"100', b"\xff\xfe{", b"[]", b"{}",
     b'{"alipay_trade_refund_response":{"code":"40004","sub_code":"ACQ.TRADE_HAS_FINISHED"}}'],
)  # fmt: skip
def test_p05_p06_unreadable_and_unsigned_answers_are_unknown(wire: Wire, body: bytes) -> None:
    wire.answers(CannedAnswer(200, {}, body))
    with pytest.raises(ProviderUnknown) as caught:
        wire.refund()
    assert caught.value.reason == "PROVIDER_TIMEOUT"


@pytest.mark.parametrize(
    ("sub_code", "state"),
    [
        ("ACQ.TRADE_NOT_EXIST", PaymentState.UNPAID),
        ("ACQ.TRADE_STATUS_ERROR", PaymentState.PAID),
        ("ACQ.REASON_TRADE_STATUS_INVALID", PaymentState.PAID),
        ("ACQ.REASON_ILLEGAL_STATUS", PaymentState.PAID),
        ("ACQ.TRADE_HAS_SUCCESS", PaymentState.PAID),
        ("ACQ.TRADE_HAS_CLOSE", PaymentState.PAID),
    ],
)
def test_close_tells_nothing_to_close_from_ask_again(
    wire: Wire, sub_code: str, state: PaymentState
) -> None:
    wire.answers(alipay_refusal(CLOSE, sub_code))
    assert wire.close() is state


def test_close_succeeds_only_for_the_order_that_was_meant(wire: Wire) -> None:
    wire.answers(
        alipay_answer(CLOSE, TRADE),
        alipay_answer(CLOSE, TRADE | {"out_trade_no": "other"}),
    )
    assert wire.close() is PaymentState.CLOSED
    with pytest.raises(ProviderUnknown):
        wire.close()


def test_close_refusals_and_unknowns_differ(wire: Wire) -> None:
    wire.answers(
        alipay_refusal(CLOSE, "ACQ.INVALID_PARAMETER"),
        alipay_refusal(CLOSE, "ACQ.SYSTEM_ERROR"),
        alipay_refusal(CLOSE, "ACQ.SOMETHING_NEW"),
    )
    with pytest.raises(ProviderRefused):
        wire.close()
    for _ in range(2):
        with pytest.raises(ProviderUnknown):
            wire.close()


@pytest.mark.parametrize(
    ("change", "state"),
    [("Y", RefundState.SUCCEEDED), ("N", RefundState.PROCESSING), (None, RefundState.PROCESSING)],
)
def test_a_refund_is_done_only_with_fund_change(
    wire: Wire, change: str | None, state: RefundState
) -> None:
    fields = TRADE | {"refund_fee": "50.00"} | ({"fund_change": change} if change else {})
    wire.answers(alipay_answer(REFUND_CALL, fields))
    assert wire.refund().state is state
    sent = json.loads(dict(parse_qsl(wire.server.received[0].body.decode()))["biz_content"])
    assert sent == {
        "out_trade_no": ORDER_ID,
        "refund_amount": "10.00",
        "out_request_no": REFUND_ID,
        "refund_reason": "商品已售完",
    }


@pytest.mark.parametrize("refund_fee", [None, "0.01", "9.99", "-10.00", "x"])
def test_a_refund_whose_total_is_less_than_itself_is_left_to_the_query(
    wire: Wire, refund_fee: str | None
) -> None:
    fields = TRADE | {"fund_change": "Y"} | ({"refund_fee": refund_fee} if refund_fee else {})
    wire.answers(alipay_answer(REFUND_CALL, fields))
    assert wire.refund().state is RefundState.PROCESSING


@pytest.mark.parametrize(
    "other",
    [{"out_trade_no": "po_other"}, {"out_trade_no": ORDER_ID, "out_request_no": "rf_other"}],
)
@pytest.mark.parametrize("sub_code", ["ACQ.SELLER_BALANCE_NOT_ENOUGH", "ACQ.TRADE_NOT_EXIST"])
def test_a_signed_no_about_something_else_is_unknown(
    wire: Wire, sub_code: str, other: dict[str, str]
) -> None:
    no = {"code": "40004", "msg": "Business Failed", "sub_code": sub_code, **other}
    asked = {REFUND_CALL: wire.refund, REFUND_QUERY: wire.query_refund}
    if "out_request_no" not in other:
        asked |= {QUERY: wire.query, CLOSE: wire.close}
    for method, ask in asked.items():
        wire.answers(alipay_answer(method, no))
        with pytest.raises(ProviderUnknown, match="order_mismatch"):
            ask()


def test_a_refund_that_is_not_found_under_another_number_is_unknown(wire: Wire) -> None:
    found = {"code": "10000", "msg": "Success", "out_trade_no": "po_other", "out_request_no": "x"}
    wire.answers(alipay_answer(REFUND_QUERY, found))
    with pytest.raises(ProviderUnknown, match="order_mismatch"):
        wire.query_refund()


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "x" * 200_000])
def test_what_a_no_says_to_people_can_be_stored_whatever_is_in_it(wire: Wire, text: str) -> None:
    no = {"code": "40004", "sub_code": "ACQ.SELLER_BALANCE_NOT_ENOUGH", "sub_msg": text}
    wire.answers(alipay_answer(REFUND_CALL, no, is_ascii=True))
    with pytest.raises(ProviderRefused) as caught:
        wire.refund()
    said = caught.value.message
    assert len(said) <= 300
    assert said.isprintable()


@pytest.mark.parametrize("text", ["20\0", "20\ud800"])
def test_a_number_that_no_database_stores_is_no_answer(wire: Wire, text: str) -> None:
    fields = TRADE | {"trade_no": text, "trade_status": "TRADE_SUCCESS", "total_amount": "88.88"}
    wire.answers(alipay_answer(QUERY, fields, is_ascii=True))
    with pytest.raises(ProviderUnknown, match="malformed_body"):
        wire.query()


def test_a_time_before_all_calendars_is_no_time(wire: Wire) -> None:
    fields = TRADE | {
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "88.88",
        "send_pay_date": "0001-01-01 00:00:00",
    }
    wire.answers(alipay_answer(QUERY, fields))
    assert wire.query().paid_at is None


@pytest.mark.parametrize(
    ("sub_code", "retryable"),
    [
        ("ACQ.SELLER_BALANCE_NOT_ENOUGH", True),
        ("ACQ.REASON_TRADE_BEEN_FREEZEN", True),
        ("ACQ.TRADE_HAS_FINISHED", False),
        ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", False),
        ("ACQ.TRADE_NOT_EXIST", False),
        ("TRADE_NOT_ALLOW_REFUND", False),
    ],
)
def test_p08_a_signed_business_refusal_is_definite(
    wire: Wire, sub_code: str, *, retryable: bool
) -> None:
    wire.answers(alipay_refusal(REFUND_CALL, sub_code))
    with pytest.raises(ProviderRefused) as caught:
        wire.refund()
    assert caught.value.retryable is retryable


@pytest.mark.parametrize(
    ("code", "sub_code", "reason"),
    [
        ("40004", "ACQ.SYSTEM_ERROR", "PROVIDER_TIMEOUT"),
        ("40004", "ACQ.DISCORDANT_REPEAT_REQUEST", "PROVIDER_TIMEOUT"),
        ("40004", "ACQ.TRADE_STATUS_ERROR", "PROVIDER_TIMEOUT"),
        ("40004", "ACQ.SOMETHING_NEW", "PROVIDER_TIMEOUT"),
        ("20000", "aop.ACQ.SYSTEM_ERROR", "PROVIDER_TIMEOUT"),
        ("40002", "isv.invalid-signature", "PROVIDER_TIMEOUT"),
        ("40005", "isv.app-call-limited", "PROVIDER_UNAVAILABLE"),
    ],
)
def test_p09_everything_else_leaves_the_refund_unknown(
    wire: Wire, code: str, sub_code: str, reason: str
) -> None:
    wire.answers(alipay_refusal(REFUND_CALL, sub_code, code))
    with pytest.raises(ProviderUnknown) as caught:
        wire.refund()
    assert caught.value.reason == reason
    assert isinstance(caught.value, AskedTooOften) == (code == "40005")


def test_refund_query(wire: Wire) -> None:
    found = TRADE | {"out_request_no": REFUND_ID, "refund_amount": "10.00"}
    wire.answers(
        alipay_answer(REFUND_QUERY, found | {"refund_status": "REFUND_SUCCESS"}),
        alipay_answer(REFUND_QUERY, found | {"refund_status": "REFUND_PROCESSING"}),
        alipay_answer(REFUND_QUERY, {"code": "10000", "msg": "Success"}),
        alipay_refusal(REFUND_QUERY, "TRADE_NOT_EXIST"),
    )
    states = [wire.query_refund().state for _ in range(4)]
    assert states == [
        RefundState.SUCCEEDED,
        RefundState.PROCESSING,
        RefundState.NOT_FOUND,
        RefundState.NOT_FOUND,
    ]


@pytest.mark.parametrize(
    "change", [{"out_request_no": "rf_other"}, {"refund_amount": "10.01"}, {"out_trade_no": "x"}]
)
def test_refund_query_about_something_else_is_unknown(wire: Wire, change: dict[str, str]) -> None:
    found = TRADE | {
        "out_request_no": REFUND_ID,
        "refund_amount": "10.00",
        "refund_status": "REFUND_SUCCESS",
    }
    wire.answers(alipay_answer(REFUND_QUERY, found | change))
    with pytest.raises(ProviderUnknown):
        wire.query_refund()


# ---- notifications ------------------------------------------------------------------------------


def notification(fields: dict[str, str], method: str = "POST") -> NotificationRequest:
    """Signed by python-alipay-sdk with Alipay's key."""
    sdk = alipay_sdk(as_alipay=True)
    text = "&".join(f"{name}={value}" for name, value in sdk._ordered_data(fields))
    raw = urlencode(fields | {"sign_type": "RSA2", "sign": sdk._sign(text)}).encode()
    return NotificationRequest(
        method, {}, raw if method == "GET" else b"", b"" if method == "GET" else raw
    )


NOTICE = {
    "app_id": KEYS["alipay"]["A1"]["app_id"],
    "seller_id": KEYS["alipay"]["A1"]["seller_id"],
    "notify_type": "trade_status_sync",
    "notify_id": "n1",
    "out_trade_no": ORDER_ID,
    "trade_no": "2026",
    "total_amount": "88.88",
    "trade_status": "TRADE_SUCCESS",
    "gmt_payment": "2026-06-01 11:58:02",
    "charset": "utf-8",
}


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_notifications_come_by_post_or_get(adapter: AlipayPage, method: str) -> None:
    request = notification(NOTICE, method)
    notice = adapter.parse_notification(alipay_account("A1"), request, now=NOW)
    assert notice.payment is not None
    assert (notice.event_id, notice.payment.order_id) == ("n1", ORDER_ID)
    assert (notice.payment.state, notice.payment.paid_amount_fen) == (PaymentState.PAID, 8888)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("app_id", "app_id_mismatch"), ("seller_id", "seller_id_mismatch")],
)
def test_p18_missing_counts_as_wrong(adapter: AlipayPage, missing: str, reason: str) -> None:
    request = notification({name: value for name, value in NOTICE.items() if name != missing})
    with pytest.raises(NotificationRejected) as refused:
        adapter.parse_notification(alipay_account("A1"), request, now=NOW)
    assert refused.value.reason == reason


def test_p18_an_account_without_seller_id_takes_any_seller(adapter: AlipayPage) -> None:
    request = notification(NOTICE | {"seller_id": "2088999999999999"})
    account = alipay_account("A1", sellerId=None)
    assert adapter.parse_notification(account, request, now=NOW).payment is not None


def test_closed_with_refunds_was_paid_and_is_left_to_the_query(adapter: AlipayPage) -> None:
    request = notification(NOTICE | {"trade_status": "TRADE_CLOSED", "refund_fee": "88.88"})
    notice = adapter.parse_notification(alipay_account("A1"), request, now=NOW)
    assert notice.payment is not None
    assert (notice.payment.state, notice.payment.has_refunds) == (PaymentState.PAID, True)
    assert notice.needs_query


def test_answers_to_alipay(adapter: AlipayPage) -> None:
    taken = adapter.acknowledge()
    assert (taken.status, taken.body) == (200, b"success")
    refused = adapter.reject(404, "There is nothing here.", code="NOT_FOUND")
    assert refused.status == 404
    assert json.loads(refused.body) == {
        "error": "There is nothing here.",
        "code": "NOT_FOUND",
        "details": None,
    }


# ---- configuration ------------------------------------------------------------------------------


def bare(pem: str) -> str:
    """As Alipay's key tool gives keys: base64 without the PEM lines."""
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


@pytest.mark.parametrize("name", ["app_private_key_pkcs8", "app_private_key_pkcs1"])
@pytest.mark.parametrize("form", [str, bare, lambda pem: pem.replace("\n", "\r\n"), lambda pem: pem.replace("\n", " ")])  # fmt: skip  # noqa: E501
def test_keys_are_read_in_every_form_people_paste(
    adapter: AlipayPage, name: str, form: Any
) -> None:
    keys = KEYS["alipay"]["A1"]
    config = dict(alipay_account("A1").config)
    config |= {"privateKey": form(keys[name]), "alipayPublicKey": form(keys["alipay_public_key"])}
    adapter.validate_config(config, allow_custom_base_url=False)


@pytest.mark.parametrize("ref", ["A1", "A2"])
def test_good_configurations_pass(adapter: AlipayPage, ref: str) -> None:
    adapter.validate_config(alipay_account(ref).config, allow_custom_base_url=False)


@pytest.mark.parametrize(
    ("ref", "change", "field"),
    [
        ("A1", {"appId": ""}, "appId"),
        ("A1", {"privateKey": "garbage"}, "privateKey"),
        ("A1", {"privateKey": KEYS["alipay"]["A1"]["alipay_public_key"]}, "privateKey"),
        ("A1", {"alipayPublicKey": None}, "alipayPublicKey"),
        ("A1", {"alipayPublicKey": KEYS["alipay"]["A1"]["app_public_key"]}, "alipayPublicKey"),
        ("A1", {"gatewayUrl": "http://127.0.0.1:1/gateway.do"}, "gatewayUrl"),
        ("A2", {"appCert": None}, "appCert"),
        ("A2", {"alipayRootCert": None}, "alipayRootCert"),
        ("A2", {"alipayCert": "garbage"}, "alipayCert"),
        ("A2", {"alipayCert": KEYS["alipay"]["A2"]["app_cert_leaf"]}, "alipayCert"),
        ("A2", {"privateKey": KEYS["alipay"]["A1"]["app_private_key_pkcs8"]}, "appCert"),
    ],
)
def test_bad_configurations_name_the_field(
    adapter: AlipayPage, ref: str, change: dict[str, Any], field: str
) -> None:
    config = dict(alipay_account(ref).config) | change
    with pytest.raises(AccountConfigInvalid) as caught:
        adapter.validate_config(config, allow_custom_base_url=False)
    assert field in caught.value.violations


def test_an_own_gateway_is_for_development(adapter: AlipayPage) -> None:
    config = dict(alipay_account("A1").config) | {"gatewayUrl": "http://127.0.0.1:1/gateway.do"}
    adapter.validate_config(config, allow_custom_base_url=True)


@pytest.mark.parametrize("unreadable", ["!!! no base64 !!!", "AAAA"])
def test_a_bundle_counts_without_what_cannot_be_read(unreadable: str) -> None:
    roots = KEYS["alipay"]["A2"]["alipay_root_cert"]
    block = f"-----BEGIN CERTIFICATE-----\n{unreadable}\n-----END CERTIFICATE-----\n"
    assert root_cert_sn(block + roots + block) == root_cert_sn(roots)


@pytest.mark.parametrize("field", ["trade_no", "notify_id", "out_trade_no"])
def test_a_notification_that_no_database_stores_is_malformed(
    adapter: AlipayPage, field: str
) -> None:
    with pytest.raises(NotificationRejected, match="malformed_body"):
        adapter.parse_notification(
            alipay_account("A1"), notification(NOTICE | {field: "20\0"}), now=NOW
        )
