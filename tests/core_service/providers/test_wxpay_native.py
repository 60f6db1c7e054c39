"""The WeChat Pay adapter against answers that wechatpayv3 signed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from wechatpayv3 import utils as wechat_sdk

from core_service.outbound_http import Answer, ProviderClient
from core_service.providers import registry
from core_service.providers.base import (
    AccountConfigInvalid,
    AskedTooOften,
    NotificationRejected,
    PaymentState,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundState,
)
from core_service.providers.wxpay.account import keys_of
from core_service.providers.wxpay.native import WxpayNative
from tests.core_service.providers.canned_server import CannedAnswer, CannedServer, canned_server
from tests.core_service.providers.counterparts import (
    NOW,
    ORDER_ID,
    PAYMENT,
    REFUND,
    REFUND_ID,
    wechat_answer,
    wechat_certificates_answer,
    wechat_error,
    wechat_headers,
    wechat_notification,
)
from tests.core_service.providers.vectors import CALLBACK_URL, KEYS, wechat_account

W1 = KEYS["wechat"]["W1"]
FIRST, SECOND = (entry["serial_no"] for entry in W1["platform_certs"])
CODE = {"code_url": "weixin://wxpay/bizpayurl?pr=x"}
TRANSACTION = {
    "mchid": W1["mchid"],
    "appid": W1["appid"],
    "out_trade_no": ORDER_ID,
    "transaction_id": "4200",
    "trade_state": "SUCCESS",
    "success_time": "2026-06-01T11:59:30+08:00",
    "amount": {"total": 8888, "payer_total": 1, "currency": "CNY"},
}
REFUNDED = {
    "refund_id": "5030",
    "out_refund_no": REFUND_ID,
    "out_trade_no": ORDER_ID,
    "status": "SUCCESS",
    "amount": {"total": 8888, "refund": 1000, "currency": "CNY"},
}
NO_SUCH_REFUND = wechat_error(404, "RESOURCE_NOT_EXISTS")


@dataclass
class Wire:
    """The adapter and the server it talks to."""

    adapter: WxpayNative
    server: CannedServer
    account: ProviderAccount

    def answers(self, *answers: CannedAnswer) -> None:
        self.server.answers = list(answers)

    def create(self, **change: Any) -> Any:
        request = replace(PAYMENT, **change)
        return self.adapter.create_payment(self.account, request, now=NOW, timeout_seconds=5)

    def query(self, now: datetime = NOW) -> Any:
        return self.adapter.query_payment(
            self.account, ORDER_ID, amount_fen=8888, now=now, timeout_seconds=5
        )

    def close(self) -> PaymentState:
        return self.adapter.close_payment(self.account, ORDER_ID, now=NOW, timeout_seconds=5)

    def refund(self) -> Any:
        return self.adapter.create_refund(self.account, REFUND, now=NOW, timeout_seconds=5)

    def query_refund(self) -> Any:
        return self.adapter.query_refund(self.account, REFUND, now=NOW, timeout_seconds=5)

    def paths(self) -> list[str]:
        return [received.target for received in self.server.received]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with canned_server() as server, ProviderClient() as client:
        account = wechat_account("W1", apiBaseUrl=server.url)
        yield Wire(WxpayNative(client), server, account)


@pytest.fixture
def one_certificate(wire: Wire) -> Wire:
    """The account trusts the first platform certificate only; the second is new."""
    wire.account = wechat_account("W1", [FIRST], apiBaseUrl=wire.server.url)
    return wire


# ---- what is sent -------------------------------------------------------------------------------


def test_native_order_says_what_wechat_needs(wire: Wire) -> None:
    wire.answers(wechat_answer(CODE))
    checkout = wire.create()
    assert (checkout.payment_mode, checkout.checkout_url) == ("qr_code", CODE["code_url"])
    received = wire.server.received[0]
    assert (received.method, received.target) == ("POST", "/v3/pay/transactions/native")
    assert json.loads(received.body) == {
        "appid": W1["appid"],
        "mchid": W1["mchid"],
        "description": "一年会员",
        "out_trade_no": ORDER_ID,
        "time_expire": "2026-06-01T12:30:00+08:00",
        "notify_url": CALLBACK_URL,
        "amount": {"total": 8888, "currency": "CNY"},
    }
    assert received.headers["accept"] == "application/json"
    assert received.headers["user-agent"]
    assert "wechatpay-serial" not in received.headers


def test_the_sdk_accepts_the_signature_of_a_call(wire: Wire) -> None:
    wire.answers(wechat_answer(CODE))
    wire.create(subject="50%+加量包😀")
    received = wire.server.received[0]
    scheme, _, fields = received.headers["authorization"].partition(" ")
    parts = {k: v.strip('"') for k, _, v in (f.partition("=") for f in fields.split(","))}
    assert scheme == "WECHATPAY2-SHA256-RSA2048"
    assert (parts["mchid"], parts["serial_no"]) == (W1["mchid"], W1["merchant_serial_no"])
    head = f"POST\n/v3/pay/transactions/native\n{parts['timestamp']}"
    public_key = wechat_sdk.load_public_key(W1["merchant_public_key"])
    assert wechat_sdk.rsa_verify(
        head, parts["nonce_str"], received.body.decode(), parts["signature"], public_key
    )


@pytest.mark.parametrize(
    ("subject", "sent"),
    [("年" * 200, "年" * 127), ("\x00\n", ORDER_ID), ("x" * 126 + "e\u0301", "x" * 126)],
)
def test_the_description_fits(wire: Wire, subject: str, sent: str) -> None:
    wire.answers(wechat_answer(CODE))
    wire.create(subject=subject)
    assert json.loads(wire.server.received[0].body)["description"] == sent


def test_public_key_mode_asks_for_answers_signed_with_that_key(wire: Wire) -> None:
    wire.account = wechat_account("W2", apiBaseUrl=wire.server.url)
    wire.answers(wechat_answer(CODE, ref="W2"))
    wire.create()
    sent = wire.server.received[0].headers["wechatpay-serial"]
    assert sent == KEYS["wechat"]["W2"]["wechatpay_public_key_id"]


def test_refunds_carry_the_callback_address(wire: Wire) -> None:
    wire.answers(wechat_answer(REFUNDED))
    assert wire.refund().state is RefundState.SUCCEEDED
    assert json.loads(wire.server.received[0].body) == {
        "out_trade_no": ORDER_ID,
        "out_refund_no": REFUND_ID,
        "reason": "商品已售完",
        "notify_url": CALLBACK_URL,
        "amount": {"refund": 1000, "total": 8888, "currency": "CNY"},
    }


# ---- what is believed ---------------------------------------------------------------------------


def test_a_signature_probe_is_answered_by_repeating_the_call_once(wire: Wire) -> None:
    probe = wechat_answer(CODE, signature="WECHATPAY/SIGNTEST/abc")
    wire.answers(probe, wechat_answer(CODE))
    assert wire.create().checkout_url == CODE["code_url"]
    assert len(wire.server.received) == 2
    assert wire.server.received[0].body == wire.server.received[1].body
    wire.answers(probe)
    with pytest.raises(ProviderUnknown, match="signtest"):
        wire.create()
    assert len(wire.server.received) == 4


def test_p21_a_new_certificate_is_fetched_and_the_old_one_stays(one_certificate: Wire) -> None:
    one_certificate.answers(
        wechat_answer(CODE, serial=SECOND),
        wechat_certificates_answer(serial=SECOND),
        wechat_answer(CODE, serial=FIRST),
    )
    assert one_certificate.create().checkout_url == CODE["code_url"]
    assert one_certificate.create().checkout_url == CODE["code_url"]
    assert one_certificate.paths()[1] == "/v3/certificates"
    assert sorted(keys_of(one_certificate.account).platform.serials()) == sorted([FIRST, SECOND])


def test_an_account_without_keys_starts_by_fetching_them(wire: Wire) -> None:
    wire.account = wechat_account("W1", [], apiBaseUrl=wire.server.url)
    wire.answers(wechat_answer(CODE), wechat_certificates_answer(), wechat_answer(CODE))
    assert wire.create().checkout_url == CODE["code_url"]
    assert wire.create().checkout_url == CODE["code_url"]
    assert wire.paths().count("/v3/certificates") == 1


def test_p21_forged_serials_cause_one_fetch_a_minute(wire: Wire) -> None:
    wire.answers(wechat_error(500, "SYSTEM_ERROR"))
    request = wechat_notification("TRANSACTION.SUCCESS", TRANSACTION)
    for number in range(5):
        forged = replace(request, headers={**request.headers, "wechatpay-serial": f"{number:040X}"})
        with pytest.raises(NotificationRejected, match="unknown_serial"):
            wire.adapter.parse_notification(wire.account, forged, now=NOW)
    assert wire.paths() == ["/v3/certificates"]
    later = NOW + timedelta(seconds=61)
    with pytest.raises(NotificationRejected, match="unknown_serial"):
        wire.adapter.parse_notification(wire.account, forged, now=later)
    assert wire.paths() == ["/v3/certificates"] * 2
    # A failed fetch takes nothing away.
    assert wire.adapter.parse_notification(wire.account, request, now=NOW).payment is not None


def test_an_unknown_public_key_id_is_refused_without_a_fetch(wire: Wire) -> None:
    request = wechat_notification("TRANSACTION.SUCCESS", TRANSACTION)
    forged = replace(request, headers={**request.headers, "wechatpay-serial": "PUB_KEY_ID_1"})
    with pytest.raises(NotificationRejected, match="unknown_serial"):
        wire.adapter.parse_notification(wire.account, forged, now=NOW)
    assert wire.paths() == []


def test_certificates_are_looked_up_again_after_half_a_day(wire: Wire) -> None:
    unsigned = wechat_error(404, "ORDER_NOT_EXIST")
    wire.answers(unsigned, unsigned, wechat_error(404, "RESOURCE_NOT_EXISTS"), unsigned)
    wire.query(NOW)
    wire.query(NOW + timedelta(hours=12))
    wire.query(NOW + timedelta(hours=12, minutes=5))
    assert [path == "/v3/certificates" for path in wire.paths()] == [False, False, True, False]
    assert sorted(keys_of(wire.account).platform.serials()) == sorted([FIRST, SECOND])


@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "PROVIDER_UNAVAILABLE"), (500, "PROVIDER_TIMEOUT"), (502, "PROVIDER_UNAVAILABLE"),
     (503, "PROVIDER_UNAVAILABLE"), (504, "PROVIDER_UNAVAILABLE"), (302, "PROVIDER_TIMEOUT")],
)  # fmt: skip
def test_p02_p07_server_trouble_is_unknown(wire: Wire, status: int, reason: str) -> None:
    wire.answers(wechat_error(status, "SYSTEM_ERROR"))
    for call in (wire.create, wire.query, wire.close, wire.refund, wire.query_refund):
        with pytest.raises(ProviderUnknown) as caught:
            call()
        assert caught.value.reason == reason
        assert isinstance(caught.value, AskedTooOften) == (status == 429)


@pytest.mark.parametrize("code", ["FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED"])
def test_asked_too_often_whatever_the_status(wire: Wire, code: str) -> None:
    wire.answers(wechat_error(403, code))
    for call in (wire.create, wire.query, wire.close, wire.refund, wire.query_refund):
        with pytest.raises(AskedTooOften):
            call()


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"\xff", b'{"code":'])
@pytest.mark.parametrize("status", [200, 400, 403])
def test_p05_unreadable_answers_are_unknown(wire: Wire, status: int, body: bytes) -> None:
    wire.answers(CannedAnswer(status, {}, body))
    with pytest.raises(ProviderUnknown):
        wire.create()


def test_a_signed_error_must_have_a_good_signature(wire: Wire) -> None:
    refused = {"code": "PARAM_ERROR", "message": ""}
    wire.answers(wechat_answer(refused, status=400, signature="Zm9yZ2Vk"))
    with pytest.raises(ProviderUnknown, match="bad_signature"):
        wire.create()
    wire.answers(wechat_answer(refused, status=400))
    with pytest.raises(ProviderRefused):
        wire.create()


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "x" * 200_000])
def test_what_a_no_says_to_people_can_be_stored_whatever_is_in_it(wire: Wire, text: str) -> None:
    body = json.dumps({"code": "PARAM_ERROR", "message": text}).encode()
    wire.answers(CannedAnswer(400, {}, body))
    with pytest.raises(ProviderRefused) as caught:
        wire.create()
    said = caught.value.message
    assert len(said) <= 300
    assert said.isprintable()


@pytest.mark.parametrize("text", ["weixin://\0", "weixin://\ud800"])
def test_a_link_that_no_database_stores_is_no_answer(wire: Wire, text: str) -> None:
    body = json.dumps({"code_url": text}).encode()
    wire.answers(CannedAnswer(200, wechat_headers(body), body))
    with pytest.raises(ProviderUnknown, match="malformed"):
        wire.create()


def test_looking_for_new_certificates_takes_no_longer_than_the_call(wire: Wire) -> None:
    calls: list[float] = []
    keys, client = keys_of(wire.account), wire.adapter._api._client
    request = client.request

    def watched(method: str, url: str, **more: Any) -> Answer:
        calls.append(more["timeout_seconds"])
        return request(method, url, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client, "request", watched)
        unsigned = wechat_error(404, "ORDER_NOT_EXIST")
        wire.answers(unsigned, unsigned, wechat_error(404, "RESOURCE_NOT_EXISTS"))
        wire.query(NOW)
        wire.adapter.query_payment(
            wire.account,
            ORDER_ID,
            amount_fen=8888,
            now=NOW + timedelta(hours=13),
            timeout_seconds=1.0,
        )
        assert wire.paths()[-1] == "/v3/certificates"
        assert calls[-1] <= 1.0
        with keys.platform.refreshing:  # somebody else is looking, and it takes long
            wire.answers(unsigned)
            wire.query(NOW + timedelta(hours=26))
        assert len(calls) == 4


# ---- orders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["PARAM_ERROR", "NO_AUTH", "NOAUTH", "ORDER_CLOSED", "ORDERCLOSED", "RULELIMIT"]
)
def test_p04_a_definite_no_at_creation(wire: Wire, code: str) -> None:
    wire.answers(wechat_error(400, code))
    with pytest.raises(ProviderRefused) as caught:
        wire.create()
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "ORDERPAID", "PROVIDER_TIMEOUT"),
        (403, "OUT_TRADE_NO_USED", "PROVIDER_TIMEOUT"),
        (400, "SOMETHING_NEW", "PROVIDER_TIMEOUT"),
        (401, "SIGN_ERROR", "PROVIDER_UNAVAILABLE"),
    ],
)
def test_what_is_no_definite_no_at_creation(
    wire: Wire, status: int, code: str, reason: str
) -> None:
    wire.answers(wechat_error(status, code))
    with pytest.raises(ProviderUnknown) as caught:
        wire.create()
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("NOTPAY", PaymentState.UNPAID),
        ("USERPAYING", PaymentState.UNPAID),
        ("SUCCESS", PaymentState.PAID),
        ("REFUND", PaymentState.PAID),
        ("CLOSED", PaymentState.CLOSED),
        ("PAYERROR", PaymentState.FAILED),
    ],
)
def test_query_reads_the_trade_state(wire: Wire, status: str, state: PaymentState) -> None:
    wire.answers(wechat_answer(TRANSACTION | {"trade_state": status}))
    report = wire.query()
    assert (report.state, report.has_refunds) == (state, status == "REFUND")
    assert (report.paid_amount_fen, report.currency) == (8888, "CNY")
    assert report.paid_at == datetime(2026, 6, 1, 3, 59, 30, tzinfo=UTC)
    assert wire.paths() == [f"/v3/pay/transactions/out-trade-no/{ORDER_ID}?mchid={W1['mchid']}"]


def test_an_unpaid_order_may_come_with_a_bare_total(wire: Wire) -> None:
    wire.answers(wechat_answer(TRANSACTION | {"trade_state": "NOTPAY", "amount": {"total": 8888}}))
    assert wire.query().state is PaymentState.UNPAID


@pytest.mark.parametrize(
    "change",
    [
        {"mchid": "1"},
        {"appid": "wx1"},
        {"out_trade_no": "other"},
        {"amount": {"total": 8887, "currency": "CNY"}},
        {"amount": {"total": 8888, "currency": "USD"}},
        {"amount": {"total": 8888}},
        {"amount": {"total": "8888", "currency": "CNY"}},
        {"amount": None},
        {"trade_state": "SOMETHING_NEW"},
    ],
)
def test_query_about_something_else_is_unknown(wire: Wire, change: dict[str, Any]) -> None:
    wire.answers(wechat_answer(TRANSACTION | change))
    with pytest.raises(ProviderUnknown):
        wire.query()


@pytest.mark.parametrize("code", ["ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS"])
def test_an_order_that_never_arrived_is_unpaid(wire: Wire, code: str) -> None:
    wire.answers(wechat_error(404, code))
    report = wire.query()
    assert (report.state, report.provider_status) == (PaymentState.UNPAID, "NOT_EXIST")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (wechat_answer(None, status=204), PaymentState.CLOSED),
        (wechat_error(400, "ORDER_CLOSED"), PaymentState.CLOSED),
        (wechat_error(400, "ORDERPAID"), PaymentState.PAID),
        (wechat_error(400, "INVALID_REQUEST"), PaymentState.PAID),
        (wechat_error(404, "ORDER_NOT_EXIST"), PaymentState.UNPAID),
    ],
)
def test_close(wire: Wire, answer: CannedAnswer, state: PaymentState) -> None:
    wire.answers(answer)
    assert wire.close() is state
    assert json.loads(wire.server.received[0].body) == {"mchid": W1["mchid"]}


def test_close_that_is_only_accepted_or_unsigned_is_unknown(wire: Wire) -> None:
    wire.answers(wechat_answer({"code": "USERPAYING"}, status=202), CannedAnswer(204, {}, b""))
    for _ in range(2):
        with pytest.raises(ProviderUnknown):
            wire.close()


# ---- refunds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROCESSING", RefundState.PROCESSING),
        ("SUCCESS", RefundState.SUCCEEDED),
        ("CLOSED", RefundState.FAILED),
        ("ABNORMAL", RefundState.ABNORMAL),
    ],
)
def test_refund_states(wire: Wire, status: str, state: RefundState) -> None:
    wire.answers(wechat_answer(REFUNDED | {"status": status}))
    assert wire.refund().state is wire.query_refund().state is state


@pytest.mark.parametrize(
    ("code", "retryable"),
    [("NOT_ENOUGH", True), ("NOTENOUGH", True), ("INVALID_REQUEST", False),
     ("USER_ACCOUNT_ABNORMAL", False)],
)  # fmt: skip
def test_p08_a_refusal_counts_when_the_number_is_unknown_there(
    wire: Wire, code: str, *, retryable: bool
) -> None:
    wire.answers(wechat_error(403, code), NO_SUCH_REFUND)
    with pytest.raises(ProviderRefused) as caught:
        wire.refund()
    assert caught.value.retryable is retryable
    assert wire.paths()[1] == f"/v3/refund/domestic/refunds/{REFUND_ID}"


def test_p07_a_refused_repeat_does_not_hide_the_refund_that_went_through(wire: Wire) -> None:
    wire.answers(wechat_error(400, "INVALID_REQUEST"), wechat_answer(REFUNDED))
    assert wire.refund().state is RefundState.SUCCEEDED


def test_p09_a_refusal_that_cannot_be_checked_is_unknown(wire: Wire) -> None:
    wire.answers(wechat_error(403, "NO_AUTH"))
    with pytest.raises(ProviderUnknown):
        wire.refund()


def test_refund_query_of_an_unknown_number(wire: Wire) -> None:
    wire.answers(NO_SUCH_REFUND)
    assert wire.query_refund().state is RefundState.NOT_FOUND


@pytest.mark.parametrize(
    "change",
    [
        {"out_refund_no": "rf_other"},
        {"out_trade_no": "other"},
        {"amount": {"total": 8888, "refund": 1001}},
        {"amount": {"total": 8887, "refund": 1000}},
        {"status": "SOMETHING_NEW"},
    ],
)
def test_refund_answers_about_something_else_are_unknown(
    wire: Wire, change: dict[str, Any]
) -> None:
    wire.answers(wechat_answer(REFUNDED | change))
    for call in (wire.refund, wire.query_refund):
        with pytest.raises(ProviderUnknown):
            call()


# ---- notifications ------------------------------------------------------------------------------


def test_a_success_event_around_another_state_decides_nothing(wire: Wire) -> None:
    request = wechat_notification("TRANSACTION.SUCCESS", TRANSACTION | {"trade_state": "NOTPAY"})
    notice = wire.adapter.parse_notification(wire.account, request, now=NOW)
    assert notice.needs_query
    assert notice.payment is not None
    assert notice.payment.state is PaymentState.UNPAID


def test_a_refund_event_that_contradicts_its_inside_decides_nothing(wire: Wire) -> None:
    inner = {"mchid": W1["mchid"], "refund_status": "CLOSED"} | REFUNDED
    request = wechat_notification("REFUND.SUCCESS", inner)
    notice = wire.adapter.parse_notification(wire.account, request, now=NOW)
    assert notice.needs_query


@pytest.mark.parametrize(
    ("event", "inner", "reason"),
    [
        ("TRANSACTION.SUCCESS", {"mchid": None}, "mchid_mismatch"),
        ("TRANSACTION.SUCCESS", {"appid": None}, "appid_mismatch"),
        ("TRANSACTION.SUCCESS", {"out_trade_no": ""}, "malformed_body"),
        ("SOMETHING.ELSE", {}, "not_a_notification"),
    ],
)
def test_p18_missing_counts_as_wrong(
    wire: Wire, event: str, inner: dict[str, Any], reason: str
) -> None:
    request = wechat_notification(event, TRANSACTION | inner)
    with pytest.raises(NotificationRejected, match=reason):
        wire.adapter.parse_notification(wire.account, request, now=NOW)


def test_p22_a_stale_notification_is_refused(wire: Wire) -> None:
    request = wechat_notification("TRANSACTION.SUCCESS", TRANSACTION)
    for minutes in (-10, 10):
        with pytest.raises(NotificationRejected, match="timestamp_expired"):
            wire.adapter.parse_notification(
                wire.account, request, now=NOW + timedelta(minutes=minutes)
            )


def test_answers_to_wechat(wire: Wire) -> None:
    taken = wire.adapter.acknowledge()
    assert (taken.status, taken.body) == (204, b"")
    refused = wire.adapter.reject(404, "There is nothing here.", code="NOT_FOUND")
    assert refused.status == 404
    assert json.loads(refused.body) == {
        "error": "There is nothing here.",
        "code": "FAIL",
        "message": "There is nothing here.",
        "details": None,
    }


# ---- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["W1", "W2"])
def test_good_configurations_pass(wire: Wire, ref: str) -> None:
    config = dict(wechat_account(ref).config)
    wire.adapter.validate_config(config, allow_custom_base_url=False)
    certificates = config["platformCertificates"]
    exported = [{"serialNo": "x", "certificate": text} for text in certificates]
    for form in ("\n".join(certificates), exported):
        wire.adapter.validate_config(
            config | {"platformCertificates": form}, allow_custom_base_url=False
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mchId": None}, "mchId"),
        ({"mchSerialNo": "xyz"}, "mchSerialNo"),
        ({"apiV3Key": "short"}, "apiV3Key"),
        ({"apiV3Key": "密" * 11}, "apiV3Key"),
        ({"platformPublicKeyId": "PUB_KEY_ID_1"}, "platformPublicKey"),
        ({"platformPublicKey": W1["merchant_public_key"], "platformPublicKeyId": "PUB_KEY_ID_1"},
         "platformPublicKey"),
        ({"platformCertificates": W1["merchant_cert"]}, "platformCertificates"),
        ({"platformCertificates": {"a": 1}}, "platformCertificates"),
        ({"apiBaseUrl": "https://evil.example"}, "apiBaseUrl"),
    ],
)  # fmt: skip
def test_bad_configurations_name_the_field(wire: Wire, change: dict[str, Any], field: str) -> None:
    config = dict(wechat_account("W1").config) | change
    with pytest.raises(AccountConfigInvalid) as caught:
        wire.adapter.validate_config(config, allow_custom_base_url=False)
    assert field in caught.value.violations


def test_the_registry_knows_channels_and_callback_routes() -> None:
    native = registry.for_channel("wxpay.native")
    assert native is registry.for_channel("wechat.native") is registry.for_callback("wxpay")
    page = registry.for_channel("alipay.page")
    assert page is registry.for_callback("alipay")
    assert registry.for_channel("nobody") is registry.for_callback("nobody") is None
    assert {provider.channel_code for provider in registry.PROVIDERS} == {
        "alipay.page",
        "wxpay.native",
    }
