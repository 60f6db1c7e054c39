"""NovaPay's own provider adapters against the sandbox, on every kind of account it hands out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.outbound_http import ProviderClient
from core_service.providers.alipay.certificates import AlipayCertificates, app_cert_sn
from core_service.providers.alipay.page import AlipayPage
from core_service.providers.base import (
    NotificationRejected,
    NotificationRequest,
    PaymentRequest,
    PaymentState,
    Provider,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundRequest,
    RefundState,
)
from core_service.providers.wxpay.native import WxpayNative
from sandbox.server import SandboxServer
from tests.sandbox.helpers import Received, Receiver, account_config, until

ACCOUNTS = pytest.mark.parametrize(
    ("provider_name", "mode"),
    [
        ("alipay", "public_key"),
        ("alipay", "cert"),
        ("wxpay", "platform_cert"),
        ("wxpay", "public_key"),
        ("wxpay", "both"),
    ],
)
ORDER = "po_01m9sandbox0000000000000001"
REFUND = "rf_01m9sandbox0000000000000001"


class Adapter:
    """One adapter on one account, with the times filled in."""

    def __init__(self, provider: Provider, config: dict[str, Any], callback_url: str) -> None:
        self.provider = provider
        provider.validate_config(config, allow_custom_base_url=True)
        self.account = ProviderAccount(
            "acc_1", "mch_1", provider.channel_code, config, callback_url
        )

    def timing(self, seconds: float = 7.0) -> dict[str, Any]:
        return {"now": datetime.now(UTC), "timeout_seconds": seconds}

    def create(self, amount_fen: int = 8888, seconds: float = 7.0) -> str:
        request = PaymentRequest(
            order_id=ORDER,
            amount_fen=amount_fen,
            subject="测试商品 +% 一年会员",
            description=None,
            expire_at=datetime.now(UTC) + timedelta(minutes=30),
            return_url="http://shop.example/pay/return",
        )
        timing = self.timing(seconds)
        return self.provider.create_payment(self.account, request, **timing).checkout_url

    def query(self, amount_fen: int = 8888) -> PaymentState:
        report = self.provider.query_payment(
            self.account, ORDER, amount_fen=amount_fen, **self.timing()
        )
        return report.state

    def refund_request(self, amount_fen: int, order_fen: int = 8888) -> RefundRequest:
        return RefundRequest(REFUND, ORDER, None, amount_fen, order_fen, "商品已售完")

    def parse(self, received: Received) -> Any:
        request = NotificationRequest("POST", received.headers, b"", received.body)
        return self.provider.parse_notification(self.account, request, now=datetime.now(UTC))


@pytest.fixture
def adapter(
    sandbox: SandboxServer, receiver: Receiver, provider_name: str, mode: str
) -> Iterator[Adapter]:
    with ProviderClient() as client:
        provider = AlipayPage(client) if provider_name == "alipay" else WxpayNative(client)
        answer = provider.acknowledge()
        receiver.default = (answer.status, answer.body)
        yield Adapter(provider, account_config(sandbox, provider_name, mode), receiver.url)


@ACCOUNTS
def test_a_whole_life(sandbox: SandboxServer, receiver: Receiver, adapter: Adapter) -> None:
    sandbox.control("open", url=adapter.create())
    assert adapter.query() is PaymentState.UNPAID
    provider = adapter.provider.provider_code
    paid = sandbox.control("pay", provider=provider, outTradeNo=ORDER, waitSeconds=10)
    assert [n["state"] for n in paid["notifications"]] == ["accepted"]
    payment = adapter.parse(receiver.wait_for(1)[0]).payment
    assert (payment.order_id, payment.state) == (ORDER, PaymentState.PAID)
    assert payment.paid_amount_fen == 8888
    assert adapter.query() is PaymentState.PAID
    adapter.provider.create_refund(adapter.account, adapter.refund_request(888), **adapter.timing())
    report = until(lambda: _done(adapter, adapter.refund_request(888)))
    assert (report.refund_id, report.amount_fen) == (REFUND, 888)
    notice = adapter.parse(receiver.wait_for(2)[1])
    assert notice.refund is not None or notice.payment.has_refunds
    late_close = adapter.provider.close_payment(adapter.account, ORDER, **adapter.timing())
    assert late_close is PaymentState.PAID


def _done(adapter: Adapter, request: RefundRequest) -> Any:
    report = adapter.provider.query_refund(adapter.account, request, **adapter.timing())
    return report if report.state is RefundState.SUCCEEDED else None


@ACCOUNTS
def test_close(sandbox: SandboxServer, adapter: Adapter) -> None:
    sandbox.control("open", url=adapter.create())
    closed = adapter.provider.close_payment(adapter.account, ORDER, **adapter.timing())
    assert closed is PaymentState.CLOSED
    assert adapter.query() is PaymentState.CLOSED


@ACCOUNTS
@pytest.mark.parametrize(
    "scenario",
    [
        "notify_bad_signature",
        "notify_wrong_app",
        "notify_wrong_seller",
        "notify_signtest",
    ],
)
def test_lies_are_rejected(
    sandbox: SandboxServer, receiver: Receiver, adapter: Adapter, scenario: str
) -> None:
    sandbox.control("scenarios", scenario=scenario)
    sandbox.control("pay", url=adapter.create())
    with pytest.raises(NotificationRejected):
        adapter.parse(receiver.wait_for(1)[0])


@ACCOUNTS
@pytest.mark.parametrize(
    "scenario",
    [
        "timeout_after_success",
        "timeout_without_effect",
        "error_after_success",
        "error_without_effect",
        "reset_after_success",
        "reset_without_effect",
        "unsigned_answer",
        "bad_signature_answer",
        "signtest_answer",
        "html_answer",
        "cut_answer",
        "other_order_answer",
        "rate_limited",
    ],
)
def test_unknown_outcomes_of_a_refund_heal_by_repeating(
    sandbox: SandboxServer, adapter: Adapter, scenario: str
) -> None:
    sandbox.control("pay", url=adapter.create())
    sandbox.control("scenarios", scenario=scenario, match={"operation": "refund"}, times=None)
    request = adapter.refund_request(888)
    with pytest.raises(ProviderUnknown):
        adapter.provider.create_refund(
            adapter.account, request, now=datetime.now(UTC), timeout_seconds=1
        )
    sandbox.delete("/control/scenarios")
    adapter.provider.create_refund(adapter.account, request, **adapter.timing())
    until(lambda: _done(adapter, request))
    (refund,) = sandbox.get("/control/books")["trades"][0]["refunds"]
    assert refund["executed"]
    assert refund["amountFen"] == 888


@ACCOUNTS
@pytest.mark.parametrize("scenario", ["refused", "balance_too_low"])
def test_definite_refusals_of_a_refund(
    sandbox: SandboxServer, adapter: Adapter, scenario: str
) -> None:
    sandbox.control("pay", url=adapter.create())
    sandbox.control("scenarios", scenario=scenario, match={"operation": "refund"})
    with pytest.raises(ProviderRefused) as refusal:
        adapter.provider.create_refund(
            adapter.account, adapter.refund_request(888), **adapter.timing()
        )
    assert refusal.value.retryable is (scenario == "balance_too_low")


def test_p21_rotated_platform_certificates_are_fetched(
    sandbox: SandboxServer, receiver: Receiver
) -> None:
    made = sandbox.control("accounts", provider="wxpay", mode="platform_cert")
    with ProviderClient() as client:
        adapter = Adapter(WxpayNative(client), made["config"], receiver.url)
        receiver.default = (204, b"")
        code_url = adapter.create()
        sandbox.control("rotate", provider="wxpay", account=made["account"], step="renew")
        assert adapter.query() is PaymentState.UNPAID
        sandbox.control("pay", url=code_url)
        assert adapter.parse(receiver.wait_for(1)[0]).payment.state is PaymentState.PAID


@pytest.mark.parametrize("step", ["renew", "rekey"])
def test_p21_renewed_alipay_certificate_is_fetched(
    sandbox: SandboxServer, receiver: Receiver, step: str
) -> None:
    made = sandbox.control("accounts", provider="alipay", mode="cert")
    with ProviderClient() as client:
        adapter = Adapter(AlipayPage(client), made["config"], receiver.url)
        receiver.default = (200, b"success")
        url = adapter.create()
        sandbox.control("rotate", provider="alipay", account=made["account"], step=step)
        assert adapter.query() is PaymentState.UNPAID
        sandbox.control("pay", url=url)
        assert adapter.query() is PaymentState.PAID
        assert adapter.parse(receiver.wait_for(1)[0]).payment.state is PaymentState.PAID


def test_p21_which_fetched_certificates_are_believed(sandbox: SandboxServer) -> None:
    own, other = (
        sandbox.control("accounts", provider="alipay", mode="cert")["config"] for _ in range(2)
    )
    now = datetime.now(UTC)

    def check(text: str, root_text: str, asked_for: str | None = None) -> None:
        files = AlipayCertificates(own["alipayCert"], own["appCert"], root_text)
        files.checked(text, asked_for or app_cert_sn(text), now)

    check(own["alipayCert"], own["alipayRootCert"])
    with pytest.raises(ValueError, match="asked for"):
        check(own["alipayCert"], own["alipayRootCert"], "0" * 32)
    with pytest.raises(ValueError, match="another name"):
        # A merchant's certificate is issued by the same CA.
        check(own["appCert"], own["alipayRootCert"])
    assert other["alipayRootCert"] != own["alipayRootCert"]
    with pytest.raises(ValueError, match="root bundle"):
        check(own["alipayCert"], other["alipayRootCert"])
    with pytest.raises(ValueError, match="root bundle"):
        check(other["alipayCert"], own["alipayRootCert"])


def test_p21_an_unknown_serial_is_asked_about_once_a_minute(sandbox: SandboxServer) -> None:
    config = sandbox.control("accounts", provider="alipay", mode="cert")["config"]
    files = AlipayCertificates(config["alipayCert"], config["appCert"], config["alipayRootCert"])
    now = datetime.now(UTC)
    moments = [now + timedelta(seconds=seconds) for seconds in (0, 1, 59, 60)]
    assert [files.may_fetch("a", moment) for moment in moments] == [True, False, False, True]
    assert files.may_fetch("b", now)
