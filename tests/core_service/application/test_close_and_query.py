"""Closing in every state, and asking the provider on a merchant's behalf."""

from collections.abc import Callable
from functools import partial

import pytest

from core_service import failpoints
from core_service.providers.base import PaymentReport, PaymentState
from core_service.storage.payment_orders import PaymentOrderRow
from tests.core_service.fake_provider import (
    Behaviour,
    answer_with,
    first_do,
    refuse,
    then_do,
    unknown_after,
    unknown_before,
)
from tests.core_service.shop import LOCAL, REMOTE, Shop, count, events_of, refusal_of

BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


@BOTH
def test_an_unpaid_order_is_closed_there_and_here(shop: Shop, channel: str) -> None:
    order = shop.create(channel)
    closed = shop.ask_close(order.external_order_id).result.view.order
    assert (closed.status, closed.id) == ("CANCELLED", order.id)
    assert not shop.books.pay(order.id) or channel == LOCAL
    assert events_of(order.id)[-1] == ("close", "PENDING", "CANCELLED")
    again = shop.ask_close(order.id).result.view.order
    assert (again.status, shop.books.calls("close")) == ("CANCELLED", 1)


@BOTH
def test_a_paid_order_cannot_be_closed(shop: Shop, channel: str) -> None:
    order = shop.paid(channel)
    assert refusal_of(lambda: shop.ask_close(order.id)) == "ORDER_ALREADY_PAID"
    assert shop.books.calls("close") == 0


def test_c08_an_order_that_was_paid_unknown_to_us_cannot_be_closed(shop: Shop) -> None:
    order = shop.create(REMOTE)
    assert shop.books.pay(order.id)
    assert refusal_of(lambda: shop.ask_close(order.id, key="k")) == "ORDER_ALREADY_PAID"
    assert shop.order(order.id).status == "SUCCEEDED"
    assert refusal_of(lambda: shop.ask_close(order.id, key="k")) == "ORDER_ALREADY_PAID"


@pytest.mark.parametrize("key", [None, "k"])
def test_v18_money_that_comes_right_after_closing_makes_the_answer_no_refusal(
    shop: Shop, key: str | None
) -> None:
    order = shop.create(LOCAL)

    def pay(failpoint: str) -> None:
        # Its link signs itself: a payer who opened it before can still pay.
        if failpoint == "x4" and shop.books.pay(order.id, order.amount_fen):
            assert shop.notify(order).status == 200

    failpoints.observe(pay)
    try:
        answered = shop.ask_close(order.id, key=key).result.view.order
    finally:
        failpoints.observe(None)
    assert (answered.status, answered.late) == ("SUCCEEDED", True)
    assert events_of(order.id)[-2:] == [
        ("close", "PENDING", "CANCELLED"),
        ("notification", "CANCELLED", "SUCCEEDED"),
    ]
    assert refusal_of(lambda: shop.ask_close(order.id)) == "ORDER_ALREADY_PAID"


def test_closing_a_failed_order_answers_it_as_it_is(shop: Shop) -> None:
    shop.providers[REMOTE].script("create", refuse())
    refusal_of(lambda: shop.create(REMOTE, "a-1"))
    assert shop.ask_close("a-1").result.view.order.status == "FAILED"
    assert shop.books.calls("close") == 0


def test_a_channel_that_cannot_close(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.providers[LOCAL].can_close = False
    assert refusal_of(lambda: shop.ask_close(order.id)) == "CHANNEL_CLOSE_UNSUPPORTED"
    assert refusal_of(lambda: shop.ask_close("po_unknown")) == "ORDER_NOT_FOUND"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unknown_before(), "PROVIDER_UNAVAILABLE"),
        (unknown_after(), "PROVIDER_TIMEOUT"),
        (refuse(), "PROVIDER_ERROR"),
    ],
)
def test_p10_an_unknown_close_changes_nothing_until_a_query_decides(
    shop: Shop, fault: Behaviour, reason: str
) -> None:
    order = shop.create(REMOTE)
    shop.providers[REMOTE].script("close", fault)
    assert refusal_of(lambda: shop.ask_close(order.id, key="k")) == reason
    assert shop.order(order.id).status == "PENDING"
    assert shop.ask_close(order.id, key="k").result.view.order.status == "CANCELLED"


@pytest.mark.parametrize("said", [PaymentState.PAID, PaymentState.FAILED])
def test_a_provider_that_says_paid_and_shows_no_money(shop: Shop, said: PaymentState) -> None:
    order = shop.create(REMOTE)
    shop.providers[REMOTE].script("close", answer_with(said))
    assert refusal_of(lambda: shop.ask_close(order.id)) == "PROVIDER_UNAVAILABLE"
    assert shop.order(order.id).status == "PENDING"


@BOTH
@pytest.mark.parametrize("when", [first_do, then_do])
def test_c08_the_payment_comes_while_the_close_is_on_its_way(
    shop: Shop, channel: str, when: Callable[[Callable[[], object]], Behaviour]
) -> None:
    order = shop.create(channel)

    def pay_and_tell() -> None:
        if shop.books.pay(order.id, order.amount_fen):
            assert shop.notify(order).status == 200

    shop.providers[channel].script("close", when(pay_and_tell))
    refusal_of(lambda: shop.ask_close(order.id))
    is_paid = order.id in shop.books.money()
    assert (shop.order(order.id).status == "SUCCEEDED") == is_paid


def test_query_with_sync_brings_the_payment(shop: Shop) -> None:
    order = shop.create(REMOTE)
    assert shop.query(order.id).status == "PENDING"
    assert shop.books.pay(order.id)
    calls = shop.books.calls("query")
    assert shop.query(order.id, sync=False).status == "PENDING"
    assert shop.books.calls("query") == calls
    assert shop.query(order.external_order_id).status == "SUCCEEDED"
    assert shop.books.calls("query") == calls + 1
    assert shop.query(order.id).status == "SUCCEEDED"
    assert shop.books.calls("query") == calls + 1, "a paid order is not asked about"


def test_query_shows_what_the_provider_says_without_changing_the_status(shop: Shop) -> None:
    order = shop.create(REMOTE)
    report = PaymentReport(order.id, PaymentState.UNPAID, "USERPAYING")
    shop.providers[REMOTE].script("query", answer_with(report))
    found = shop.query(order.id)
    assert (found.status, found.provider_status) == ("PENDING", "USERPAYING")
    assert count("payment_events") == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (unknown_before(), "PROVIDER_UNAVAILABLE"),
        (unknown_after(), "PROVIDER_TIMEOUT"),
        (refuse(), "PROVIDER_ERROR"),
    ],
)
def test_p05_p06_an_answer_that_cannot_be_believed_changes_nothing(
    shop: Shop, fault: Behaviour, reason: str
) -> None:
    order = shop.create(REMOTE)
    assert shop.books.pay(order.id)
    shop.providers[REMOTE].script("query", fault)
    assert refusal_of(lambda: shop.query(order.id)) == reason
    assert shop.order(order.id).status == "PENDING"
    assert shop.query(order.id).status == "SUCCEEDED"


def test_late_money_is_found_by_a_query_too(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    assert shop.books.pay(order.id, order.amount_fen)
    found = shop.query(order.id)
    assert (found.status, found.late) == ("SUCCEEDED", True)
    assert count("anomalies WHERE kind = 'LATE_PAYMENT'") == 1


def test_a_query_that_began_before_a_close_and_brings_late_money_keeps_the_history(
    shop: Shop,
) -> None:
    """Its time is older than the close's: the order of events is not the order of the requests' times."""
    order: PaymentOrderRow = shop.create(LOCAL)

    def close_then_pay() -> None:
        shop.ask_close(order.id)
        assert shop.books.pay(order.id, order.amount_fen)

    shop.providers[LOCAL].script("query", first_do(close_then_pay))
    assert shop.query(order.id).status == "SUCCEEDED"
    assert [after for _, _, after in events_of(order.id)] == ["PENDING", "CANCELLED", "SUCCEEDED"]


def test_all_names_of_a_request_must_be_of_one_order(shop: Shop) -> None:
    from core_service.application import payment_orders
    from core_service.application.payment_orders import References

    one, other = shop.create(LOCAL), shop.create(LOCAL)
    fitting = References.of(
        orderReference=one.id, orderId="", externalOrderId=one.external_order_id
    )
    assert payment_orders.find(shop.snapshot, fitting).order.id == one.id
    strange = References.of(orderReference=one.id, orderId=other.id, externalOrderId="")
    assert refusal_of(lambda: payment_orders.find(shop.snapshot, strange)) == "INVALID_REQUEST"
    assert refusal_of(lambda: References.of(orderReference="", orderId="")) == "INVALID_REQUEST"


def test_the_id_wins_over_an_external_id_that_looks_like_one(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.create(LOCAL, order.id)
    assert shop.query(order.id, sync=False).id == order.id


def test_a12_the_order_of_another_merchant(shop: Shop, other_shop: Shop) -> None:
    theirs = other_shop.create(REMOTE)
    for reference in (theirs.id, theirs.external_order_id):
        for ask in (shop.query, partial(shop.query, sync=False), shop.ask_close):
            assert refusal_of(partial(ask, reference)) == "ORDER_NOT_FOUND"
    assert other_shop.query(theirs.id).status == "PENDING"
