"""A provider that stands still takes its share of a core process, one merchant a share of that; the rest goes on."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from core_service.application.provider_places import MERCHANT_PLACES, PLACES, WAITING, Scope
from core_service.storage.database import connection_scope
from tests.core_service.shop import LOCAL, REMOTE, Shop, count, refusal_of
from tests.stack import wait_until

T = TypeVar("T")


class Standstill:
    """A provider behind `shop` that answers nothing until it is let go, and calls that wait for it."""

    def __init__(self, shop: Shop, pool: ThreadPoolExecutor) -> None:
        self._provider = shop.providers[REMOTE]
        self._pool = pool
        self._go_on = threading.Event()
        self._lock = threading.Lock()
        self.entered = 0

    def begin(self, work: Callable[[], T], operation: str = "create") -> Future[T]:
        """Runs `work` beside the test until it stands at the provider."""
        self._provider.script(operation, self._stand)
        so_far = self.entered
        running = self._pool.submit(in_a_call, work)
        wait_until(lambda: self.entered > so_far or running.done(), what="a call at the provider")
        return running

    def let_go(self) -> None:
        self._go_on.set()

    def _stand(self, effect: Callable[[], Any]) -> Any:
        with self._lock:
            self.entered += 1
        assert self._go_on.wait(30)
        return effect()


def in_a_call(work: Callable[[], T]) -> T:
    """As the interceptors run a handler."""
    with connection_scope(), Scope():
        return work()


@pytest.fixture
def standstill(shop: Shop) -> Iterator[Standstill]:
    with ThreadPoolExecutor(PLACES + WAITING + 2) as pool:
        still = Standstill(shop, pool)
        yield still
        still.let_go()


def test_o02_a_slow_provider_takes_its_share_and_who_is_refused_has_done_nothing(
    shop: Shop, other_shop: Shop, standstill: Standstill
) -> None:
    mine = [standstill.begin(lambda: shop.ask_create(REMOTE)) for _ in range(MERCHANT_PLACES)]
    refused = shop.call("k")
    assert in_a_call(lambda: refusal_of(lambda: shop.ask_create(REMOTE, "no", call=refused))) == (
        "OVERLOADED"
    )
    assert count("payment_orders") == MERCHANT_PLACES
    assert count("idempotency_keys") == 0

    theirs = [
        standstill.begin(lambda: other_shop.ask_create(REMOTE))
        for _ in range(PLACES - MERCHANT_PLACES)
    ]
    assert in_a_call(lambda: refusal_of(lambda: other_shop.ask_create(REMOTE))) == "OVERLOADED"
    assert standstill.entered == PLACES  # nobody else got there
    order = in_a_call(lambda: shop.create(LOCAL))
    assert in_a_call(lambda: shop.query(order.id, sync=False)).status == "PENDING"

    standstill.let_go()
    assert all(one.result().result.created for one in (*mine, *theirs))
    # Its nonce was not spent either: the very same call passes now.
    assert in_a_call(lambda: shop.ask_create(REMOTE, "no", call=refused)).result.created
    assert in_a_call(lambda: other_shop.ask_create(REMOTE)).result.created


@contextmanager
def full(shop: Shop, other_shop: Shop, standstill: Standstill) -> Iterator[None]:
    """Every place at the remote provider is taken."""
    for number in range(PLACES):
        who = shop if number < MERCHANT_PLACES else other_shop
        standstill.begin(lambda who=who: who.ask_create(REMOTE))  # type: ignore[misc]
    yield
    standstill.let_go()


def test_o02_refund_close_and_question_are_refused_before_anything_is_written(
    shop: Shop, other_shop: Shop, standstill: Standstill
) -> None:
    paid, unpaid = shop.paid(REMOTE), shop.create(REMOTE)
    refund = shop.ask_refund(paid.id, "1.00").result.refund
    with full(shop, other_shop, standstill):
        for work in (
            lambda: shop.ask_refund(paid.id, "10.00", key="r"),
            lambda: shop.ask_close(unpaid.id, key="c"),
            lambda: shop.query(unpaid.id),
        ):
            assert in_a_call(lambda work=work: refusal_of(work)) == "OVERLOADED"  # type: ignore[misc]
        assert shop.order(paid.id).refund_reserved_fen == refund.amount_fen
        assert (count("refunds"), count("idempotency_keys")) == (1, 0)
        assert shop.order(unpaid.id).status == "PENDING"


def test_o02_a_replay_needs_no_place(shop: Shop, other_shop: Shop, standstill: Standstill) -> None:
    first = shop.ask_create(REMOTE, "a-1", key="k")
    with full(shop, other_shop, standstill):
        again = in_a_call(lambda: shop.ask_create(REMOTE, "a-1", key="k"))
    assert again.response == first.response
