"""Random schedules of everything that can happen to orders and refunds, at a provider that fails at random.

What must hold at every instant is checked after every step, the rest when all is quiet.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from core_service.application import provider_asking
from core_service.errors import CoreError
from core_service.storage.database import fetch_all
from core_service.storage.payment_orders import PaymentOrderRow
from tests.core_service.fake_provider import Behaviour, refuse, unknown_after, unknown_before
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Answered,
    Shop,
    at_once,
    bind,
    end_leases,
    let_expire,
    make_due,
    reason_of,
)
from tests.invariants import broken_invariants

pytestmark = pytest.mark.slow

STEPS = 45
SUCCESSORS = {
    "PENDING": {"PENDING", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELLED"},
    "PROCESSING": {"PROCESSING", "SUCCEEDED", "FAILED", "CANCELLED"},
    "SUCCEEDED": {"SUCCEEDED"},
    "FAILED": {"FAILED", "SUCCEEDED"},
    "CANCELLED": {"CANCELLED", "SUCCEEDED"},
}
REASONS = {
    "OK", "PROVIDER_TIMEOUT", "PROVIDER_UNAVAILABLE", "PROVIDER_ERROR", "ORDER_ALREADY_PAID",
    "ORDER_NOT_REFUNDABLE", "REFUND_AMOUNT_EXCEEDED", "IDEMPOTENCY_IN_PROGRESS",
}  # fmt: skip


class Schedule:
    """One random walk; remembers what was answered, and compares."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self._shop = shop
        self._chance = random.Random(seed)
        self._keyed: dict[tuple[str, str], bytes] = {}
        self._told: dict[str, str] = {}

    def run(self) -> None:
        steps: list[Callable[[], None]] = [
            self.create, self.create, self.pay, self.pay, self.notify, self.notify, self.query,
            self.close, self.refund, self.refund, self.refund_twice_at_once, self.query_refund,
            self.sweep, self.expire, self.trouble, self.trouble, end_leases, make_due,
        ]  # fmt: skip
        for _ in range(STEPS):
            self._chance.choice(steps)()
            assert broken_invariants() == []
        for provider in self._shop.providers.values():
            provider._scripts.clear()
        for _ in range(3):
            self.sweep()
        assert broken_invariants(self._shop.books) == []
        self._compare()

    def create(self) -> None:
        number = self._chance.randrange(6)
        channel = (LOCAL, REMOTE)[number % 2]
        key = f"key-{number}" if number < 4 else None
        # Little time, so that nobody waits long for a request that is dead.
        call = self._shop.call(key, seconds=2.5)
        self._answer(
            "create", key, lambda: self._shop.ask_create(channel, f"A-{number}", call=call)
        )

    def pay(self) -> None:
        order = self._any_order()
        if order is None:
            return
        # A link that signs itself can be paid until it expires; any other order must have been made there.
        is_open_link = order.channel_code == LOCAL and order.expire_at > datetime.now(UTC)
        self._shop.books.pay(order.id, order.amount_fen if is_open_link else None)

    def notify(self) -> None:
        order = self._any_order()
        if order is not None and self._shop.books.payment(order.id).provider_status != "NOT_EXIST":
            assert self._shop.notify(order).status == 200

    def query(self) -> None:
        if (order := self._any_order()) is not None:
            self._refused_or(lambda: self._shop.query(order.id))
            self._compare()

    def close(self) -> None:
        if (order := self._any_order()) is not None:
            key = f"close-{order.id}"
            self._answer("close", key, lambda: self._shop.ask_close(order.id, key=key))

    def refund(self) -> None:
        if (order := self._any_order()) is not None:
            amount = self._chance.choice(("3.00", "15.00"))
            self._refused_or(lambda: self._shop.ask_refund(order.id, amount))

    def refund_twice_at_once(self) -> None:
        if (order := self._any_order()) is not None:
            number = f"R-{self._chance.randrange(10**6)}"
            for outcome in at_once(2, lambda _: self._shop.ask_refund(order.id, "7.00", number)):
                assert reason_of(outcome) in REASONS

    def query_refund(self) -> None:
        refunds = fetch_all("SELECT id FROM refunds ORDER BY id")
        if refunds:
            refund_id = self._chance.choice(refunds)["id"]
            self._refused_or(lambda: self._shop.query_refund(refund_id))

    def sweep(self) -> None:
        make_due()
        while provider_asking.ask_due_orders(20) or provider_asking.ask_due_refunds(20):
            continue

    def expire(self) -> None:
        if (order := self._any_order()) is not None:
            let_expire(order.id)

    def trouble(self) -> None:
        operation = self._chance.choice(("create", "query", "close", "refund", "query_refund"))
        kinds: list[Behaviour] = [unknown_before(), unknown_after()]
        if not operation.startswith("query"):  # a question is never refused
            kinds.append(refuse("NOAUTH"))
        channel = self._chance.choice((LOCAL, REMOTE))
        if (channel, operation) != (LOCAL, "create"):  # nobody is called there
            self._shop.providers[channel].script(operation, self._chance.choice(kinds))

    def _any_order(self) -> PaymentOrderRow | None:
        orders = fetch_all("SELECT id FROM payment_orders ORDER BY id")
        return self._shop.order(self._chance.choice(orders)["id"]) if orders else None

    def _refused_or(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except CoreError as refusal:
            assert refusal.reason in REASONS  # noqa: PT017 (an answer is right, too)
            return None

    def _answer(self, operation: str, key: str | None, work: Callable[[], Answered]) -> None:
        """V15: all answers under a key are the same bytes. V17: what was told stays true."""
        answer: Answered | None = self._refused_or(work)
        if answer is None:
            return
        if key is not None:
            assert self._keyed.setdefault((operation, key), answer.response) == answer.response
        if answer.result is not None:
            order = answer.result.view.order
            self._told[order.id] = order.status
        self._compare()

    def _compare(self) -> None:
        for order_id, status in self._told.items():
            assert self._shop.order(order_id).status in SUCCESSORS[status]


@pytest.mark.parametrize("seed", range(10))
def test_v01_to_v17_hold_whatever_happens_in_which_order(shop: Shop, seed: int) -> None:
    for channel in (LOCAL, REMOTE):
        bind(shop, channel, fee_rate="0.0060")
    Schedule(shop, seed).run()
