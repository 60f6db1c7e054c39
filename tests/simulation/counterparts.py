"""The others: a provider and merchants' endpoints that keep books of their own and fail at random."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core_service.domain.signature import callback_signature
from core_service.outbound_http import Answer, OutboundError, OutboundKind
from core_service.providers.base import (
    PaymentReport,
    PaymentState,
    ProviderRefused,
    ProviderUnknown,
    RefundReport,
    RefundState,
)
from tests.core_service.fake_provider import Books, FakeProvider, payment_notice, refund_notice
from tests.simulation.faults import Faults
from tests.simulation.hooks import Clock, Hooks

REFUSABLE = ("create", "close", "refund")
CONNECTION_SECONDS, ANSWER_SECONDS, SLOW_SECONDS = 2.0, 7.0, 3.0


class MemoryBooks(Books):
    """The fake provider's books without a file."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        super().__init__(Path(":memory:"))

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        yield self._database


@dataclass
class Notice:
    """A notification on its way; tells what was so when it was written."""

    channel: str
    body: bytes
    order_id: str
    is_paid: bool


@dataclass
class Post:
    """The provider's outgoing notifications and the requests that are still on their way to it."""

    notices: list[Notice] = field(default_factory=list)
    late_requests: list[tuple[str, Callable[[], Any]]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)


class SimulatedProvider(FakeProvider):
    """The fake with a network before and behind it."""

    hooks: Hooks
    faults: Faults
    clock: Clock
    post: Post

    def _do(self, operation: str, number: str, effect: Callable[[], Any]) -> Any:
        if operation == "create" and self.creates_locally:
            return effect()  # nobody is called
        self.hooks.outside("provider_before", f"{operation} sent")
        if self.faults.strikes("provider.unreachable"):
            self.clock.advance(CONNECTION_SECONDS)
            raise ProviderUnknown("PROVIDER_UNAVAILABLE", "no connection")
        if self.faults.strikes("provider.arrives_late"):
            self.post.late_requests.append((number, effect))
            self.clock.advance(ANSWER_SECONDS)
            raise ProviderUnknown("PROVIDER_TIMEOUT", "no answer")
        if self.faults.strikes("provider.slow"):
            self.clock.advance(SLOW_SECONDS)
        answer = self._arrived(operation, number, effect)
        self.hooks.outside("provider_after", f"{operation} answered")
        if self.faults.strikes("provider.no_answer"):
            self.clock.advance(ANSWER_SECONDS)
            raise ProviderUnknown("PROVIDER_TIMEOUT", "no answer")
        return answer

    def _arrived(self, operation: str, number: str, effect: Callable[[], Any]) -> Any:
        self.books.note_call(operation, number)
        if operation == "refund":
            executed = self.books.rows("SELECT 1 FROM refunds WHERE refund_id = ?", (number,))
            if number in self.post.refused:
                raise ProviderRefused("NOT_ENOUGH", "the balance is too small")
            if not executed and self.faults.strikes("provider.refuses"):
                self.post.refused.add(number)
                raise ProviderRefused("NOT_ENOUGH", "the balance is too small")
        elif operation in REFUSABLE and self.faults.strikes("provider.refuses"):
            raise ProviderRefused("NO", "no")
        answer = effect()
        if self.faults.strikes("provider.arrives_twice"):
            answer = effect()
        return answer

    def tell_payment(self, order_id: str) -> None:
        """Writes a notification about an order as it is now."""
        report = self.books.payment(order_id)
        self._tell(payment_notice(report), order_id, is_paid=report.state is PaymentState.PAID)

    def tell_refund(self, report: RefundReport) -> None:
        """The same about a refund."""
        assert report.order_id is not None
        self._tell(refund_notice(report), report.order_id, is_paid=False)

    def _tell(self, body: bytes, order_id: str, *, is_paid: bool) -> None:
        self.post.notices.append(Notice(self.channel_code, body, order_id, is_paid))

    def end_open_refunds(self, choose: Callable[[], bool], amounts: Mapping[str, int]) -> None:
        """Refunds that took a while end; `amounts`: what each order on this channel was about."""
        waiting = self.books.rows(
            "SELECT refund_id, order_id, amount_fen FROM refunds WHERE state = 'PROCESSING'"
        )
        for refund_id, order_id, amount_fen in waiting:
            if order_id not in amounts:
                continue
            state = RefundState.SUCCEEDED if choose() else RefundState.FAILED
            self.books.end_refund(refund_id, state)
            self.tell_refund(
                RefundReport(
                    refund_id, order_id, state, state, amount_fen=amount_fen,
                    order_amount_fen=amounts[order_id], provider_refund_id=f"gr{refund_id[-20:]}",
                )
            )  # fmt: skip


def forged(kind: str, report: PaymentReport) -> bytes:
    """A notification that must not be believed."""
    if kind == "wrong_amount":
        told = {**report.__dict__, "paid_amount_fen": (report.paid_amount_fen or 0) + 1}
        return payment_notice(PaymentReport(**told))
    return payment_notice(report, rejected="bad_signature")


@dataclass
class Arrival:
    """A request that a merchant's endpoint got."""

    delivery_id: str
    body: bytes
    merchant_code: str
    verifies: bool


@dataclass
class _Request:
    since: float
    until: float
    was_paused: bool


class Endpoints:
    """All merchants' endpoints: stands where the client for callbacks stands, and keeps what arrived."""

    def __init__(
        self, hooks: Hooks, faults: Faults, clock: Clock, secrets: Mapping[str, str]
    ) -> None:
        self.arrivals: list[Arrival] = []
        self._hooks, self._faults, self._clock, self._secrets = hooks, faults, clock, secrets
        self._under_way: dict[str, list[_Request]] = {}

    def request(
        self, _method: str, _url: str, *, headers: Mapping[str, str], body: bytes, timeout_seconds: float, **_: Any
    ) -> Answer:  # fmt: skip
        """One attempt, as the real client makes it."""
        self._hooks.outside("merchant_before", "callback sent")
        if self._faults.strikes("merchant.unreachable"):
            raise OutboundError(OutboundKind.CONNECT, "refused", request_sent=False)
        delivery_id = headers["x-novapay-delivery-id"]
        request = self._arrived(delivery_id, headers, body, timeout_seconds)
        try:
            self._hooks.outside("merchant_after", "callback answered")
            return self._answer(timeout_seconds)
        finally:
            request.until = min(request.until, self._clock.seconds)

    def close(self) -> None:
        """Nothing is open."""

    def _arrived(
        self, delivery_id: str, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> _Request:
        now = self._clock.seconds
        request = _Request(now, now + timeout_seconds, self._hooks.has_lost_lease())
        others = self._under_way.setdefault(delivery_id, [])
        if not request.was_paused and any(o.until > now and not o.was_paused for o in others):
            self._hooks.findings.append(f"V10 two requests of {delivery_id} at once")
        others.append(request)
        code = headers["x-novapay-merchant-code"]
        expected = callback_signature(self._secrets[code], headers["x-novapay-timestamp"], body)
        self.arrivals.append(
            Arrival(delivery_id, body, code, expected == headers["x-novapay-signature"])
        )
        return request

    def _answer(self, timeout_seconds: float) -> Answer:
        if self._faults.strikes("merchant.no_answer"):
            self._clock.advance(timeout_seconds)
            raise OutboundError(OutboundKind.TIMEOUT, "no answer", request_sent=True)
        if self._faults.strikes("merchant.refuses"):
            return Answer(500, {}, b"", 1)
        if self._faults.strikes("merchant.says_later"):
            return Answer(429, {"retry-after": "90"}, b"", 1)
        return Answer(200, {}, b"ok", 1)


def told_statuses(arrivals: list[Arrival]) -> Iterator[tuple[Arrival, dict[str, Any]]]:
    """Each request with what its body says."""
    for arrival in arrivals:
        yield arrival, json.loads(arrival.body)
