"""Alipay and WeChat Pay, every mode of each, against the sandbox."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core_service.outbound_http import ProviderClient
from core_service.providers import registry
from core_service.providers.base import (
    PaymentState,
    Provider,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundState,
)
from sandbox.server import SandboxServer
from tests.core_service.providers.canned_server import CannedAnswer, canned_server
from tests.core_service.providers.conformance import SECONDS, Party, ProviderConformance, now

MODES = {
    "alipay.page": ["public_key", "cert"],
    "wxpay.native": ["platform_cert", "public_key", "both"],
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    directory: Path = tmp_path_factory.mktemp("sandbox")
    with SandboxServer(directory) as server:
        server.control("settings", amountScenarios=False)
        yield server


@pytest.fixture(
    params=[(channel, mode) for channel, modes in MODES.items() for mode in modes],
    ids=" ".join,
)
def party(request: pytest.FixtureRequest, sandbox: SandboxServer) -> Iterator[Party]:
    channel, mode = request.param
    made = registry.for_channel(channel)
    assert made is not None
    sandbox.control("reset")
    listing: list[dict[str, Any]] = sandbox.get("/control/accounts")["accounts"]
    chosen = next(a for a in listing if (a["channel"], a["mode"]) == (channel, mode))
    with canned_server() as inbox, ProviderClient() as client:
        provider: Provider = type(made)(client)  # type: ignore[call-arg]
        taken = provider.acknowledge()
        inbox.answers = [CannedAnswer(taken.status, {}, taken.body)]
        provider.validate_config(chosen["config"], allow_custom_base_url=True)
        account = ProviderAccount(
            "acc_1", "mch_1", channel, chosen["config"], f"{inbox.url}/callback"
        )
        yield Party(provider, account, sandbox, inbox, chosen["account"])


class TestConformance(ProviderConformance):
    """Every provider, every mode."""


wechat_only = pytest.mark.parametrize(
    "party", [("wxpay.native", mode) for mode in MODES["wxpay.native"]], indirect=True, ids=" ".join
)


@pytest.mark.parametrize(
    "party", [("wxpay.native", "platform_cert"), ("wxpay.native", "both")], indirect=True
)
def test_p21_certificates_rotate_under_way(party: Party, sandbox: SandboxServer) -> None:
    order = party.payable()
    sandbox.control("rotate", provider="wxpay", account=party.sandbox_account, step="renew")
    party.notices()
    party.pay(order)
    [request] = party.notices()
    assert party.parse(request).payment.state is PaymentState.PAID
    assert party.query(order).state is PaymentState.PAID


@wechat_only
def test_a_signature_probe_does_not_disturb_a_call(party: Party) -> None:
    party.scenario("signtest_answer", "create")
    order = party.payable()
    assert party.query(order).state is PaymentState.UNPAID


@wechat_only
@pytest.mark.parametrize(
    ("scenario", "state"),
    [("refund_closed", RefundState.FAILED), ("refund_abnormal", RefundState.ABNORMAL)],
)
def test_refunds_that_end_badly(party: Party, scenario: str, state: RefundState) -> None:
    order = party.paid()
    party.scenario(scenario, "refund")
    party.notices()
    request = party.refund_of(order, 1000)
    assert party.settled(request).state is state
    party.until(lambda: len(party.inbox.received) > party.seen)
    refund = party.parse(party.notices()[0]).refund
    assert (refund.state, refund.refund_id, refund.amount_fen) == (state, request.refund_id, 1000)
    assert refund.order_amount_fen == order.amount_fen


@wechat_only
def test_p04_a_definite_no_at_creation(party: Party) -> None:
    party.scenario("refused", "create")
    with pytest.raises(ProviderRefused):
        party.payable()


@wechat_only
@pytest.mark.parametrize("scenario", ["error_after_success", "unsigned_answer", "html_answer"])
def test_p01_p03_a_create_that_got_lost_is_repeated(party: Party, scenario: str) -> None:
    order = party.order()
    party.scenario(scenario, "create")
    with pytest.raises(ProviderUnknown):
        party.provider.create_payment(party.account, order, now=now(), timeout_seconds=SECONDS)
    checkout = party.provider.create_payment(
        party.account, order, now=now(), timeout_seconds=SECONDS
    )
    assert checkout.checkout_url.startswith("weixin://")
