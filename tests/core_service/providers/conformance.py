"""What every registered provider must do against its simulator.

A provider joins by its accounts in the sandbox; nothing here knows a wire format. A subclass named
`Test…` supplies the fixture `party`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.domain import ids
from core_service.providers.base import (
    AskedTooOften,
    NotificationRejected,
    NotificationRequest,
    PaymentReport,
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
from sandbox.server import SandboxServer
from tests.core_service.providers.canned_server import CannedServer, Received

SECONDS = 5.0
AMOUNT_FEN = 10000


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Party:
    """A provider, an account of it in the sandbox, and the place where its notifications arrive."""

    provider: Provider
    account: ProviderAccount
    sandbox: SandboxServer
    inbox: CannedServer
    sandbox_account: str
    seen: int = field(default=0)

    def order(self, amount_fen: int = AMOUNT_FEN) -> PaymentRequest:
        """A new order; nothing is sent yet."""
        return PaymentRequest(
            order_id=ids.new_id("po"),
            amount_fen=amount_fen,
            subject="一年会员 / 50%+ & more",
            description=None,
            expire_at=now() + timedelta(minutes=30),
            return_url=f"{self.inbox.url}/return",
        )

    def payable(self, amount_fen: int = AMOUNT_FEN) -> PaymentRequest:
        """An order that the provider knows: created, and its cashier opened."""
        order = self.order(amount_fen)
        checkout = self.provider.create_payment(
            self.account, order, now=now(), timeout_seconds=SECONDS
        )
        assert checkout.payment_mode == self.provider.payment_mode
        self.sandbox.control("open", url=checkout.checkout_url)
        return order

    def paid(self, amount_fen: int = AMOUNT_FEN) -> PaymentRequest:
        """An order that is paid, its notification delivered."""
        order = self.payable(amount_fen)
        self.pay(order)
        return order

    def pay(self, order: PaymentRequest) -> None:
        """Pays and waits until the notification was tried."""
        self.sandbox.control(
            "pay",
            provider=self.provider.provider_code,
            outTradeNo=order.order_id,
            account=self.sandbox_account,
            waitSeconds=5,
        )

    def query(self, order: PaymentRequest) -> PaymentReport:
        return self.provider.query_payment(
            self.account,
            order.order_id,
            amount_fen=order.amount_fen,
            now=now(),
            timeout_seconds=SECONDS,
        )

    def close(self, order: PaymentRequest) -> PaymentState:
        return self.provider.close_payment(
            self.account, order.order_id, now=now(), timeout_seconds=SECONDS
        )

    def refund_of(self, order: PaymentRequest, amount_fen: int) -> RefundRequest:
        return RefundRequest(
            refund_id=ids.new_id("rf"),
            order_id=order.order_id,
            gateway_order_id=None,
            amount_fen=amount_fen,
            order_amount_fen=order.amount_fen,
            reason="商品已售完",
        )

    def refund(self, request: RefundRequest) -> RefundReport:
        return self.provider.create_refund(
            self.account, request, now=now(), timeout_seconds=SECONDS
        )

    def query_refund(self, request: RefundRequest) -> RefundReport:
        return self.provider.query_refund(self.account, request, now=now(), timeout_seconds=SECONDS)

    def knows_nothing_of(self, request: RefundRequest) -> bool:
        """Whether the provider says so; the reset of a kept connection may still hit this call."""
        try:
            return self.query_refund(request).state is RefundState.NOT_FOUND
        except ProviderUnknown:
            return False

    def settled(self, request: RefundRequest) -> RefundReport:
        """Sends a refund and, if it is not done at once, has the sandbox finish it."""
        report = self.refund(request)
        if report.state is RefundState.PROCESSING:
            self.until(lambda: self.query_refund(request).state is not RefundState.PROCESSING)
            report = self.query_refund(request)
        return report

    def until(self, condition: Callable[[], bool]) -> None:
        """Asks again (each time the sandbox answers) until it is so."""
        end = now() + timedelta(seconds=10)
        while not condition():
            assert now() < end, "the sandbox did not get there"

    def notices(self) -> list[NotificationRequest]:
        """What has arrived since the last look."""
        arrived = self.inbox.received[self.seen :]
        self.seen += len(arrived)
        return [_as_request(received) for received in arrived]

    def parse(self, request: NotificationRequest) -> Any:
        return self.provider.parse_notification(self.account, request, now=now())

    def scenario(self, name: str, operation: str, **more: Any) -> None:
        """Has the sandbox misbehave once."""
        match = {"provider": self.provider.provider_code, "operation": operation}
        self.sandbox.control("scenarios", scenario=name, match=match, times=1, **more)


def _as_request(received: Received) -> NotificationRequest:
    _, _, query = received.target.partition("?")
    return NotificationRequest(received.method, received.headers, query.encode(), received.body)


class ProviderConformance:
    """The suite."""

    def test_an_order_that_nobody_opened_or_paid_is_unpaid(self, party: Party) -> None:
        order = party.order()
        assert party.query(order).state is PaymentState.UNPAID
        order = party.payable()
        assert party.query(order).state is PaymentState.UNPAID

    def test_a_repeated_create_is_the_same_order(self, party: Party) -> None:
        order = party.payable()
        party.provider.create_payment(party.account, order, now=now(), timeout_seconds=SECONDS)
        assert party.query(order).state is PaymentState.UNPAID

    def test_a_payment_is_found_by_query(self, party: Party) -> None:
        order = party.paid()
        report = party.query(order)
        assert report.state is PaymentState.PAID
        assert (report.paid_amount_fen, report.currency) == (AMOUNT_FEN, "CNY")
        assert report.gateway_order_id
        assert report.paid_at is not None
        assert abs(report.paid_at - now()) < timedelta(minutes=1)

    def test_query_with_another_amount_is_unknown(self, party: Party) -> None:
        order = party.paid()
        with pytest.raises(ProviderUnknown):
            party.query(replace(order, amount_fen=AMOUNT_FEN + 1))

    def test_the_notification_tells_the_same_as_the_query(self, party: Party) -> None:
        party.notices()
        order = party.paid()
        [request] = party.notices()
        notice = party.parse(request)
        assert notice.event_id
        assert not notice.needs_query
        assert notice.payment == replace(
            party.query(order), provider_status=notice.payment.provider_status
        )

    def test_a_changed_notification_is_refused(self, party: Party) -> None:
        party.notices()
        party.paid()
        [request] = party.notices()
        for position in range(0, len(request.body), 37):
            changed = bytearray(request.body)
            changed[position] ^= 0x04
            with pytest.raises(NotificationRejected):
                party.parse(replace(request, body=bytes(changed)))

    @pytest.mark.parametrize(
        "scenario", ["notify_wrong_app", "notify_wrong_seller", "notify_bad_signature"]
    )
    def test_p16_p18_notifications_for_somebody_else_are_refused(
        self, party: Party, scenario: str
    ) -> None:
        party.notices()
        party.scenario(scenario, "notify")
        party.paid()
        with pytest.raises(NotificationRejected):
            party.parse(party.notices()[0])

    def test_p17_another_amount_is_reported_as_it_is(self, party: Party) -> None:
        party.notices()
        party.scenario("notify_tampered_amount", "notify")
        party.paid()
        assert party.parse(party.notices()[0]).payment.paid_amount_fen == AMOUNT_FEN + 1

    def test_a_closed_order_is_closed(self, party: Party) -> None:
        order = party.payable()
        assert party.close(order) is PaymentState.CLOSED
        assert party.query(order).state is PaymentState.CLOSED

    def test_there_is_nothing_to_close_where_nobody_was(self, party: Party) -> None:
        assert party.close(party.order()) is PaymentState.UNPAID

    def test_c08_a_paid_order_is_not_closed(self, party: Party) -> None:
        order = party.paid()
        assert party.close(order) is PaymentState.PAID
        assert party.query(order).state is PaymentState.PAID

    def test_refunds_in_parts(self, party: Party) -> None:
        order = party.paid()
        for amount_fen in (3000, 7000):
            request = party.refund_of(order, amount_fen)
            assert party.query_refund(request).state is RefundState.NOT_FOUND
            report = party.settled(request)
            assert (report.state, report.amount_fen) == (RefundState.SUCCEEDED, amount_fen)
            assert party.query_refund(request).state is RefundState.SUCCEEDED
        seen = party.query(order)
        assert (seen.state, seen.has_refunds) == (PaymentState.PAID, True)

    def test_v07_a_repeated_refund_is_the_same_refund(self, party: Party) -> None:
        order = party.paid()
        request = party.refund_of(order, 6000)
        party.settled(request)
        repeat = party.refund(request)
        assert repeat.state in (RefundState.PROCESSING, RefundState.SUCCEEDED)
        assert party.query_refund(request).state is RefundState.SUCCEEDED
        books = party.sandbox.get(f"/control/books?outTradeNo={order.order_id}")
        [trade] = books["trades"]
        assert len(trade["refunds"]) == 1

    def test_p08_more_than_was_paid_is_refused(self, party: Party) -> None:
        order = party.paid()
        with pytest.raises(ProviderRefused) as caught:
            party.refund(party.refund_of(order, AMOUNT_FEN + 1))
        assert not caught.value.retryable

    def test_p08_a_balance_too_low_is_a_no_for_now(self, party: Party) -> None:
        order = party.paid()
        request = party.refund_of(order, 1000)
        party.scenario("balance_too_low", "refund")
        with pytest.raises(ProviderRefused) as caught:
            party.refund(request)
        assert caught.value.retryable
        assert party.settled(request).state is RefundState.SUCCEEDED

    @pytest.mark.parametrize(
        "scenario",
        ["error_after_success", "reset_after_success", "unsigned_answer", "bad_signature_answer",
         "html_answer", "cut_answer"],
    )  # fmt: skip
    def test_p03_p05_p06_p07_a_lost_answer_is_unknown_and_the_query_knows(
        self, party: Party, scenario: str
    ) -> None:
        order = party.paid()
        request = party.refund_of(order, 1000)
        party.scenario(scenario, "refund")
        with pytest.raises(ProviderUnknown) as caught:
            party.refund(request)
        assert caught.value.reason == "PROVIDER_TIMEOUT"
        party.until(lambda: party.query_refund(request).state is RefundState.SUCCEEDED)

    @pytest.mark.parametrize("scenario", ["error_without_effect", "reset_without_effect"])
    def test_p09_an_effect_that_never_was_is_repeated_with_the_same_number(
        self, party: Party, scenario: str
    ) -> None:
        order = party.paid()
        request = party.refund_of(order, 1000)
        party.scenario(scenario, "refund")
        with pytest.raises(ProviderUnknown):
            party.refund(request)
        party.until(lambda: party.knows_nothing_of(request))
        assert party.settled(request).state is RefundState.SUCCEEDED

    def test_p10_a_genuine_answer_about_another_order_is_unknown(self, party: Party) -> None:
        party.settled(party.refund_of(party.paid(), 1000))
        order = party.paid()
        request = party.refund_of(order, 1000)
        party.scenario("other_order_answer", "query")
        with pytest.raises(ProviderUnknown):
            party.query(order)
        party.scenario("other_order_answer", "refund")
        with pytest.raises(ProviderUnknown):
            party.refund(request)

    def test_p02_too_many_calls_are_unavailable(self, party: Party) -> None:
        order = party.paid()
        party.scenario("rate_limited", "query")
        with pytest.raises(AskedTooOften):
            party.query(order)
        party.scenario("rate_limited", "refund")
        with pytest.raises(AskedTooOften) as caught:
            party.refund(party.refund_of(order, 1000))
        assert caught.value.reason == "PROVIDER_UNAVAILABLE"

    def test_p01_silence_ends_at_the_deadline(self, party: Party) -> None:
        order = party.paid()
        party.scenario("timeout_after_success", "refund", options={"holdSeconds": 30})
        request = party.refund_of(order, 1000)
        with pytest.raises(ProviderUnknown) as caught:
            party.provider.create_refund(party.account, request, now=now(), timeout_seconds=0.5)
        assert caught.value.reason == "PROVIDER_TIMEOUT"
        party.until(lambda: party.query_refund(request).state is RefundState.SUCCEEDED)
