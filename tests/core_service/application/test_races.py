"""The races of the fault catalogue, with threads on connections of their own."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from core_service.application import finance, provider_asking
from core_service.errors import CoreError
from core_service.storage.database import connection_scope, fetch_all
from tests.core_service.fake_provider import Gate, unknown_after
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Answered,
    Shop,
    at_once,
    count,
    in_background,
    let_expire,
    make_due,
    reason_of,
    refusal_of,
)
from tests.invariants import broken_invariants, reservations

BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


def reasons(outcomes: list[Any]) -> list[str]:
    return sorted(map(reason_of, outcomes))


def _nth(work: Sequence[Callable[[], Any]], number: int) -> Any:
    return work[number % len(work)]()


def answered(outcomes: list[Any]) -> list[Answered]:
    return [outcome for outcome in outcomes if isinstance(outcome, Answered)]


@BOTH
@pytest.mark.parametrize("callers", [2, 24])
def test_c01_one_key_many_callers(shop: Shop, channel: str, callers: int) -> None:
    outcomes = at_once(callers, lambda _: shop.ask_create(channel, "a-1", key="k"))
    assert set(reasons(outcomes)) <= {"OK", "IDEMPOTENCY_IN_PROGRESS"}
    good = answered(outcomes)
    assert len({answer.response for answer in good}) == 1
    assert [answer.mark for answer in good].count("created") == 1
    assert count("payment_orders") == 1
    if channel == REMOTE:
        assert shop.books.calls("create") == 1


def test_c01_others_are_told_at_once_while_the_first_waits_for_its_provider(shop: Shop) -> None:
    gate = Gate()
    shop.providers[REMOTE].script("create", gate)
    _, first = in_background(lambda: shop.ask_create(REMOTE, "a-1", key="k"))
    assert gate.reached.wait(10)
    others = at_once(8, lambda _: shop.ask_create(REMOTE, "a-1", key="k"))
    assert set(reasons(others)) == {"IDEMPOTENCY_IN_PROGRESS"}, "while the first still waits"
    gate.opened.set()
    assert reason_of(first()) == "OK"


@BOTH
def test_c02_one_external_id_many_callers_without_a_key(shop: Shop, channel: str) -> None:
    outcomes = at_once(12, lambda _: shop.ask_create(channel, "a-1"))
    assert reasons(outcomes) == ["OK"] * 12
    results = [answer.result for answer in answered(outcomes)]
    assert sum(result.created for result in results) == 1
    assert len({result.view.order.id for result in results}) == 1
    assert all(result.view.order.checkout_url for result in results)
    assert {number for (number,) in shop.books.rows("SELECT order_id FROM payments")} <= {
        results[0].view.order.id
    }


@BOTH
def test_c03_other_amounts_and_channels_at_once(shop: Shop, channel: str) -> None:
    wanted = [
        (channel, "30.00"),
        (channel, "40.00"),
        ({LOCAL: REMOTE, REMOTE: LOCAL}[channel], "30.00"),
    ] * 3
    outcomes = at_once(9, lambda n: shop.ask_create(wanted[n][0], "a-1", amount=wanted[n][1]))
    (order,) = fetch_all("SELECT channel_code, amount_fen FROM payment_orders")
    for (asked_channel, amount), outcome in zip(wanted, outcomes, strict=True):
        if asked_channel != order["channel_code"]:
            assert reason_of(outcome) == "ORDER_CHANNEL_CONFLICT"
        elif amount != f"{order['amount_fen'] / 100:.2f}":
            assert reason_of(outcome) == "ORDER_AMOUNT_CONFLICT"
        else:
            assert reason_of(outcome) == "OK"


@BOTH
def test_c04_one_key_two_requests_at_once(shop: Shop, channel: str) -> None:
    outcomes = at_once(8, lambda n: shop.ask_create(channel, f"a-{n % 2}", key="k"))
    assert count("payment_orders") == 1
    assert set(reasons(outcomes)) <= {"OK", "IDEMPOTENCY_CONFLICT", "IDEMPOTENCY_IN_PROGRESS"}
    assert reasons(outcomes).count("IDEMPOTENCY_CONFLICT") == 4


def test_c05_one_key_on_everything_at_once(shop: Shop, other_shop: Shop) -> None:
    paid, unpaid = shop.paid(), shop.create(REMOTE)
    work = [
        lambda: shop.ask_create(LOCAL, "a-1", key="k"),
        lambda: other_shop.ask_create(LOCAL, "a-1", key="k"),
        lambda: shop.ask_close(unpaid.id, key="k"),
        lambda: shop.ask_refund(paid.id, key="k"),
    ]
    outcomes = at_once(4, lambda n: work[n]())
    assert [answer.mark for answer in answered(outcomes)] == ["created"] * 4


@BOTH
def test_c06_eight_refunds_of_a_third_each(shop: Shop, channel: str) -> None:
    order = shop.paid(channel, "30.00")
    outcomes = at_once(8, lambda _: shop.ask_refund(order.id, "10.00"))
    assert reasons(outcomes) == ["OK"] * 3 + ["REFUND_AMOUNT_EXCEEDED"] * 5
    assert sum(shop.books.refunded().values()) == 3000
    assert count("refunds") == 3


@pytest.mark.parametrize("key", [None, "k"])
def test_c07_one_external_refund_id_many_callers(shop: Shop, key: str | None) -> None:
    order = shop.paid()
    outcomes = at_once(8, lambda _: shop.ask_refund(order.id, "10.00", "r-1", key=key))
    assert set(reasons(outcomes)) <= {"OK", "IDEMPOTENCY_IN_PROGRESS"}
    assert len({row["id"] for row in fetch_all("SELECT id FROM refunds")}) == 1
    assert shop.books.calls("refund") == 1


def test_c07_one_external_refund_id_on_two_orders(shop: Shop) -> None:
    """Two orders are two locks: only the unique key decides, and it is no internal error."""
    for round_ in range(5):
        orders = [shop.paid(), shop.paid()]
        external = f"r-{round_}"
        asks = [partial(shop.ask_refund, order.id, "10.00", external) for order in orders]
        outcomes = at_once(8, partial(_nth, asks))
        assert set(reasons(outcomes)) == {"OK", "REFUND_REFERENCE_CONFLICT"}
        assert count("refunds") == round_ + 1
        assert sum(shop.order(order.id).refund_reserved_fen for order in orders) == 1000


@BOTH
@pytest.mark.parametrize("round_", range(3))
def test_c08_close_against_pay(shop: Shop, channel: str, round_: int) -> None:
    orders = [shop.create(channel) for _ in range(4)]

    def pay_or_close(number: int) -> None:
        order = orders[number // 2]
        if number % 2:
            shop.ask_close(order.id)
        elif shop.books.pay(order.id, order.amount_fen):
            assert shop.notify(order).status == 200

    outcomes = at_once(8, pay_or_close)
    assert set(reasons(outcomes)) <= {"OK", "ORDER_ALREADY_PAID"}
    assert broken_invariants(shop.books) == []


@BOTH
def test_c09_the_sweep_against_pay(shop: Shop, channel: str) -> None:
    orders = [shop.create(channel) for _ in range(4)]
    for order in orders:
        let_expire(order.id)

    def pay_or_sweep(number: int) -> None:
        if number >= len(orders):
            provider_asking.ask_due_orders(1)
            return
        order = orders[number]
        if shop.books.pay(order.id, order.amount_fen):
            assert shop.notify(order).status == 200

    assert reasons(at_once(8, pay_or_sweep)) == ["OK"] * 8
    for _ in range(2):
        make_due()
        provider_asking.ask_due_orders(10)
    assert broken_invariants(shop.books) == []
    assert count("payment_events WHERE before_status = 'SUCCEEDED' AND refund_id IS NULL") == 0


@BOTH
def test_c10_notification_query_and_sweep_report_one_payment(shop: Shop, channel: str) -> None:
    order = shop.create(channel)
    assert shop.books.pay(order.id, order.amount_fen)
    make_due()
    work: list[Callable[[], Any]] = [
        lambda: shop.notify(order),
        lambda: shop.query(order.id),
        lambda: provider_asking.ask_due_orders(5),
    ]
    assert reasons(at_once(9, partial(_nth, work))) == ["OK"] * 9
    assert (count("journals"), count("deliveries"), count("received_payments")) == (1, 1, 1)
    assert count("payment_events WHERE after_status = 'SUCCEEDED'") == 1


def test_c13_captures_and_refunds_of_one_merchant_at_once(shop: Shop) -> None:
    paid = [shop.paid() for _ in range(25)]
    unpaid = [shop.create(LOCAL) for _ in range(50)]
    for order in unpaid:
        shop.books.open_payment(order.id, order.amount_fen)
        assert shop.books.pay(order.id)

    def work(number: int) -> list[str]:
        done = [f"notify {shop.notify(order).status}" for order in unpaid[number::10]]
        for order in paid[number::10]:
            done += [refusal_of(partial(shop.ask_refund, order.id, "1.00")) for _ in range(2)]
        return done

    outcomes = at_once(10, work)
    said = [word for done in outcomes if isinstance(done, list) for word in done]
    assert sorted(set(said)) == ["OK", "notify 200"], outcomes
    books = finance.verify_books()
    assert books.is_balanced
    assert (books.captured_fen, books.refunded_fen) == (75 * 3000, 50 * 100)


@BOTH
def test_c14_a_refund_while_the_payment_is_being_told(shop: Shop, channel: str) -> None:
    for _ in range(4):
        order = shop.create(channel)
        assert shop.books.pay(order.id, order.amount_fen)

        def tell_or_refund(number: int, order: Any = order) -> Any:
            return shop.notify(order) if number == 0 else shop.ask_refund(order.id, "10.00")

        outcomes = at_once(4, tell_or_refund)
        assert set(reasons(outcomes[1:])) <= {"OK", "ORDER_NOT_REFUNDABLE"}
        assert reason_of(outcomes[0]) == "OK"
        assert sum(shop.books.refunded().values()) <= sum(shop.books.money().values())


def test_c14_money_that_has_not_arrived_is_never_refunded(shop: Shop) -> None:
    order = shop.create(LOCAL)
    outcomes = at_once(4, lambda _: shop.ask_refund(order.id, "10.00"))
    assert reasons(outcomes) == ["ORDER_NOT_REFUNDABLE"] * 4
    assert (shop.books.calls("refund"), count("refunds")) == (0, 0)


def test_c07_a_worker_and_a_repeat_send_a_lost_refund_with_one_number(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", unknown_after())
    assert refusal_of(lambda: shop.ask_refund(order.id, "10.00", "r-1")) == "PROVIDER_TIMEOUT"
    make_due()
    work: list[Callable[[], Any]] = [
        lambda: provider_asking.ask_due_refunds(1),
        lambda: shop.ask_refund(order.id, "10.00", "r-1"),
        lambda: shop.query_refund("r-1"),
    ]
    outcomes = at_once(6, partial(_nth, work))
    assert not any(isinstance(outcome, CoreError) for outcome in outcomes)
    assert len(shop.books.refunded()) == 1
    assert shop.order(order.id).refunded_fen == 1000


def test_c06_at_no_instant_is_more_reserved_than_paid(shop: Shop) -> None:
    order = shop.paid(LOCAL, "30.00")
    stop = time.monotonic() + 20
    seen: list[str] = []

    def refund_or_watch(number: int) -> None:
        if number < 6:
            refusal_of(lambda: shop.ask_refund(order.id, "10.00"))
            return
        with connection_scope():
            while not seen and time.monotonic() < stop and shop.order(order.id).refunded_fen < 3000:
                seen.extend(reservations())

    at_once(7, refund_or_watch)
    assert seen == []
