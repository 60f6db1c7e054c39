"""Refunds: reservation, conflicts, and every answer of a provider."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from core_service.application import provider_asking
from core_service.providers.base import RefundState
from core_service.storage.database import execute, fetch_all
from tests.core_service.fake_provider import Behaviour, refuse, unknown_after, unknown_before
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Shop,
    bind,
    count,
    events_of,
    make_due,
    refusal_of,
)

BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


def refund_row() -> dict[str, Any]:
    (row,) = fetch_all("SELECT * FROM refunds")
    return row


@BOTH
def test_a_partial_refund_and_the_rest(shop: Shop, channel: str) -> None:
    order = shop.paid(channel)
    first = shop.ask_refund(order.id, "10.00", reason="returned").result
    assert (first.refund.status, first.refund.reason, first.created) == (
        "SUCCEEDED",
        "returned",
        True,
    )
    assert (first.order.refund_reserved_fen, first.order.refunded_fen) == (1000, 1000)
    rest = shop.ask_refund(order.id, "20.00").result
    assert (rest.order.status, rest.order.refunded_fen) == ("SUCCEEDED", 3000)
    assert refusal_of(lambda: shop.ask_refund(order.id, "0.01")) == "REFUND_AMOUNT_EXCEEDED"
    assert shop.books.refunded() == {first.refund.id: 1000, rest.refund.id: 2000}
    assert count("deliveries WHERE refund_id IS NOT NULL") == 2


def test_the_same_refund_again_is_found(shop: Shop) -> None:
    order = shop.paid()
    first = shop.ask_refund(order.id, "10.00", "r-1").result
    for reference in (order.id, order.external_order_id):
        again = shop.ask_refund(reference, "10.00", "r-1").result
        assert (again.created, again.refund.id) == (False, first.refund.id)
    assert shop.books.calls("refund") == 1


def test_another_order_amount_or_reason_is_a_conflict(shop: Shop) -> None:
    order, other = shop.paid(), shop.paid()
    shop.ask_refund(order.id, "10.00", "r-1", reason="a")
    refused = {
        "REFUND_REFERENCE_CONFLICT": lambda: shop.ask_refund(other.id, "10.00", "r-1", reason="a"),
        "REFUND_AMOUNT_CONFLICT": lambda: shop.ask_refund(order.id, "10.01", "r-1", reason="a"),
        "REFUND_REASON_CONFLICT": lambda: shop.ask_refund(order.id, "10.00", "r-1", reason="b"),
    }
    for reason, ask in refused.items():
        assert refusal_of(ask) == reason
    assert count("refunds") == 1


@BOTH
def test_only_a_paid_order_can_be_refunded(shop: Shop, channel: str) -> None:
    order = shop.create(channel)
    assert refusal_of(lambda: shop.ask_refund(order.id)) == "ORDER_NOT_REFUNDABLE"
    shop.ask_close(order.id)
    assert refusal_of(lambda: shop.ask_refund(order.id)) == "ORDER_NOT_REFUNDABLE"
    assert refusal_of(lambda: shop.ask_refund("po_unknown")) == "ORDER_NOT_FOUND"
    assert refusal_of(lambda: shop.ask_refund(order.id, "0")) == "INVALID_AMOUNT"
    assert count("refunds") == 0


def test_a_channel_that_cannot_refund(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].can_refund = False
    assert refusal_of(lambda: shop.ask_refund(order.id)) == "CHANNEL_REFUND_UNSUPPORTED"


def test_a12_the_order_of_another_merchant(shop: Shop, other_shop: Shop) -> None:
    theirs = other_shop.paid()
    for reference in (theirs.id, theirs.external_order_id):
        assert refusal_of(partial(shop.ask_refund, reference)) == "ORDER_NOT_FOUND"
    refund = other_shop.ask_refund(theirs.id, external="r-1").result.refund
    for reference in (refund.id, "r-1"):
        assert refusal_of(partial(shop.query_refund, reference)) == "REFUND_NOT_FOUND"


def test_p08_a_definite_no_releases_the_reservation_once(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", refuse("NOT_ENOUGH", "balance short"))
    assert refusal_of(lambda: shop.ask_refund(order.id, "30.00", "r-1")) == "PROVIDER_ERROR"
    row = refund_row()
    assert (row["status"], row["failure_code"], row["failure_message"]) == (
        "FAILED",
        "NOT_ENOUGH",
        "balance short",
    )
    assert shop.order(order.id).refund_reserved_fen == 0
    again = shop.ask_refund(order.id, "30.00", "r-1").result
    assert (again.created, again.refund.status) == (False, "FAILED")
    assert shop.ask_refund(order.id, "30.00", "r-2").result.refund.status == "SUCCEEDED"


@pytest.mark.parametrize(
    ("fault", "reason", "executed"),
    [
        (unknown_after(), "PROVIDER_TIMEOUT", True),
        (unknown_before(), "PROVIDER_UNAVAILABLE", False),
    ],
)
@pytest.mark.parametrize("key", [None, "k"])
def test_p07_an_unknown_outcome_is_held_and_found_out_with_the_same_number(
    shop: Shop, fault: Behaviour, reason: str, key: str | None, *, executed: bool
) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", fault)
    assert refusal_of(lambda: shop.ask_refund(order.id, "10.00", "r-1", key=key)) == reason
    row = refund_row()
    assert (row["status"], shop.order(order.id).refund_reserved_fen) == ("PROCESSING", 1000)
    assert refusal_of(lambda: shop.ask_refund(order.id, "20.01")) == "REFUND_AMOUNT_EXCEEDED"
    again = shop.ask_refund(order.id, "10.00", "r-1", key=key)
    assert again.result.refund.id == row["id"]
    make_due()
    assert provider_asking.ask_due_refunds(10) == 1
    assert (refund_row()["status"], shop.order(order.id).refunded_fen) == ("SUCCEEDED", 1000)
    assert shop.books.calls("refund", row["id"]) == (1 if executed else 2)
    assert shop.books.refunded() == {row["id"]: 1000}


def test_p09_an_unknown_refund_never_fails_by_age_and_is_shown(shop: Shop) -> None:
    order = shop.paid()
    provider = shop.providers[LOCAL]
    provider.script("refund", unknown_before())
    provider.script("query_refund", *[unknown_before()] * 12)
    refusal_of(lambda: shop.ask_refund(order.id, "10.00"))
    pauses = []
    for hours in range(12):
        make_due()
        assert provider_asking.ask_due_refunds(10) == 1
        row = refund_row()
        pauses.append(round((row["ask_at"] - datetime.now(UTC)).total_seconds()))
        assert (row["status"], shop.order(order.id).refund_reserved_fen) == ("PROCESSING", 1000)
        assert count("anomalies WHERE kind = 'REFUND_STUCK'") == (0 if hours < 2 else 1)
        if hours == 1:
            _make_older(row["id"])
    assert pauses[:5] == [20, 40, 80, 160, 300]
    assert set(pauses[5:]) == {300}


def _make_older(refund_id: str) -> None:
    """The guard keeps creation times: the test must take it away for a moment."""
    execute("ALTER TABLE refunds DISABLE TRIGGER guard")
    execute(
        "UPDATE refunds SET created_at = created_at - interval '2 hours' WHERE id = %s",
        (refund_id,),
    )
    execute("ALTER TABLE refunds ENABLE TRIGGER guard")


def test_a_refund_that_takes_its_time(shop: Shop) -> None:
    order = shop.paid(REMOTE)
    shop.providers[REMOTE].refund_state = RefundState.PROCESSING
    refund = shop.ask_refund(order.id, "10.00").result.refund
    assert (refund.status, refund.refunded_at) == ("PROCESSING", None)
    assert count("deliveries WHERE refund_id IS NOT NULL") == 0
    assert shop.query_refund(refund.id).refund.status == "PROCESSING"
    shop.books.end_refund(refund.id, RefundState.SUCCEEDED)
    assert shop.query_refund(refund.id, sync=False).refund.status == "PROCESSING"
    done = shop.query_refund(refund.external_refund_id)
    assert (done.refund.status, done.order.refunded_fen) == ("SUCCEEDED", 1000)
    assert done.refund.refunded_at is not None
    calls = shop.books.calls("query_refund")
    assert shop.query_refund(refund.id).refund.status == "SUCCEEDED"
    assert shop.books.calls("query_refund") == calls, "a refund that has ended is not asked about"


def test_an_abnormal_refund_stays_reserved_and_is_shown_once(shop: Shop) -> None:
    order = shop.paid(REMOTE)
    shop.providers[REMOTE].refund_state = RefundState.ABNORMAL
    refund = shop.ask_refund(order.id, "10.00").result.refund
    assert refund.status == "PROCESSING"
    for _ in range(2):
        make_due()
        provider_asking.ask_due_refunds(10)
    assert count("anomalies WHERE kind = 'REFUND_STUCK'") == 1
    assert shop.order(order.id).refund_reserved_fen == 1000
    shop.books.end_refund(refund.id, RefundState.SUCCEEDED)
    assert shop.query_refund(refund.id).refund.status == "SUCCEEDED"


def test_a_refund_that_fails_later_gives_the_money_back_to_the_order(shop: Shop) -> None:
    order = shop.paid(REMOTE)
    shop.providers[REMOTE].refund_state = RefundState.PROCESSING
    refund = shop.ask_refund(order.id, "30.00").result.refund
    shop.books.end_refund(refund.id, RefundState.FAILED)
    make_due()
    provider_asking.ask_due_refunds(10)
    assert (refund_row()["status"], shop.order(order.id).refund_reserved_fen) == ("FAILED", 0)
    refund_events = [event for event in events_of(order.id) if event[0] in ("refund", "query")]
    assert refund_events == [
        ("refund", None, "PENDING"),
        ("refund", "PENDING", "PROCESSING"),
        ("query", "PROCESSING", "FAILED"),
    ]
    assert count("deliveries WHERE refund_id IS NOT NULL") == 1


def test_the_parts_of_a_full_refund_take_the_whole_fee_back(shop: Shop) -> None:
    bind(shop, LOCAL, fee_rate="0.0060")
    order = shop.paid(LOCAL, "9.99")
    assert order.fee_fen == 6
    for amount in ("3.33", "3.33", "3.33"):
        shop.ask_refund(order.id, amount)
    rows = fetch_all("SELECT fee_fen FROM refunds ORDER BY id")
    assert [row["fee_fen"] for row in rows] == [2, 2, 2]
    left = fetch_all(
        "SELECT account, sum(amount_fen) AS n FROM journal_lines GROUP BY account HAVING sum(amount_fen) <> 0"
    )
    assert left == []


def test_v18_a_caller_without_time_leaves_no_refund(shop: Shop) -> None:
    order = shop.paid()
    call = shop.call("k", seconds=0.5)
    assert refusal_of(lambda: shop.ask_refund(order.id, "10.00", "r-1", call=call)) == "OVERLOADED"
    assert (count("refunds"), shop.order(order.id).refund_reserved_fen) == (0, 0)
    assert shop.ask_refund(order.id, "10.00", "r-1", key="k").mark == "created"
