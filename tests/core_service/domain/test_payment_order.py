"""The order's table walked whole, decisions about reports, and when a provider is asked."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from core_service.domain.payment_order import (
    ASK_AFTER_SECONDS,
    ASK_EVERY_SECONDS,
    ASK_SPACING_SECONDS,
    EXPIRY_GRACE_SECONDS,
    OPEN_STATUSES,
    TRANSITIONS,
    Decision,
    OrderEvent,
    OrderFacts,
    OrderStatus,
    PaymentFacts,
    decide,
    next_ask,
)
from core_service.providers.base import PaymentState

CREATED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
EXPIRES = CREATED + timedelta(minutes=30)
PAID = PaymentFacts(OrderEvent.PAID, "gw-1", 3000, "CNY")
S = OrderStatus


def order(status: OrderStatus, gateway: str | None = None) -> OrderFacts:
    return OrderFacts(status, 3000, "CNY", gateway)


def test_the_table_is_total_and_speaks_of_every_state_of_a_provider() -> None:
    assert set(TRANSITIONS) == set(product(OrderStatus, OrderEvent))
    assert {event.value for event in OrderEvent} == {state.value for state in PaymentState}


@pytest.mark.parametrize(("status", "event"), [*product(OrderStatus, OrderEvent)])
def test_v01_every_status_and_event(status: OrderStatus, event: OrderEvent) -> None:
    after = TRANSITIONS[status, event]
    if status is S.SUCCEEDED or event is OrderEvent.PAID:
        assert after is S.SUCCEEDED
    elif status not in OPEN_STATUSES or event is OrderEvent.UNPAID:
        assert after is status
    else:
        assert after is {OrderEvent.CLOSED: S.CANCELLED, OrderEvent.FAILED: S.FAILED}[event]


def test_v01_nothing_leads_back_to_an_open_status() -> None:
    for (before, _), after in TRANSITIONS.items():
        if after is S.PENDING:
            assert before is S.PENDING
        if after is S.PROCESSING:
            assert before is S.PROCESSING


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize("event", OrderEvent)
def test_decide_follows_the_table_when_amounts_agree(
    status: OrderStatus, event: OrderEvent
) -> None:
    decision = decide(order(status, "gw-1"), PaymentFacts(event, "gw-1", 3000, "CNY"))
    assert decision.status is TRANSITIONS[status, event]
    assert decision.is_news == (decision.status is not status)
    assert not decision.is_duplicate
    assert not decision.is_mismatch


@pytest.mark.parametrize("status", [S.FAILED, S.CANCELLED])
def test_p19_money_after_the_end_is_late(status: OrderStatus) -> None:
    assert decide(order(status), PAID) == Decision(S.SUCCEEDED, is_news=True, is_late=True)


@pytest.mark.parametrize("status", sorted(OPEN_STATUSES))
def test_money_in_time_is_not_late(status: OrderStatus) -> None:
    assert decide(order(status), PAID) == Decision(S.SUCCEEDED, is_news=True)


@pytest.mark.parametrize("status", OrderStatus)
@pytest.mark.parametrize(
    ("amount_fen", "currency"),
    [(2999, "CNY"), (3001, "CNY"), (None, "CNY"), (3000, None), (3000, "USD"), (None, None)],
)
def test_p17_another_amount_or_none_changes_nothing(
    status: OrderStatus, amount_fen: int | None, currency: str | None
) -> None:
    report = PaymentFacts(OrderEvent.PAID, "gw-1", amount_fen, currency)
    assert decide(order(status), report) == Decision(status, is_news=False, is_mismatch=True)


@pytest.mark.parametrize(
    ("known", "told", "is_duplicate"),
    [("gw-1", "gw-1", False), ("gw-1", "gw-2", True), ("gw-1", None, False)],
)
def test_a_second_payment_is_one_with_another_number(
    known: str, told: str | None, *, is_duplicate: bool
) -> None:
    report = PaymentFacts(OrderEvent.PAID, told, 3000, "CNY")
    decision = decide(order(S.SUCCEEDED, known), report)
    assert decision == Decision(S.SUCCEEDED, is_news=False, is_duplicate=is_duplicate)


def test_the_schedule_of_questions_is_walked_from_creation_to_expiry() -> None:
    asked, now = [], CREATED
    while now < EXPIRES + timedelta(seconds=EXPIRY_GRACE_SECONDS):
        now = next_ask(created_at=CREATED, expire_at=EXPIRES, now=now)
        asked.append((now - CREATED).total_seconds())
    assert tuple(asked[:5]) == ASK_AFTER_SECONDS
    gaps = {after - before for before, after in pairwise(asked[4:-1])}
    assert gaps == {ASK_EVERY_SECONDS}
    assert asked[-1] == 30 * 60 + EXPIRY_GRACE_SECONDS


def test_two_questions_keep_their_distance_whoever_brought_the_first_forward() -> None:
    for seconds in (3.3, 9.9, 18.0, 30 * 60 + EXPIRY_GRACE_SECONDS - 1):
        now = CREATED + timedelta(seconds=seconds)
        then = next_ask(created_at=CREATED, expire_at=EXPIRES, now=now)
        assert then >= now + timedelta(seconds=ASK_SPACING_SECONDS)
    assert then == now + timedelta(seconds=ASK_SPACING_SECONDS)


def test_an_order_past_its_expiry_is_asked_about_as_regularly() -> None:
    now = EXPIRES + timedelta(hours=2)
    assert next_ask(created_at=CREATED, expire_at=EXPIRES, now=now) == now + timedelta(
        seconds=ASK_EVERY_SECONDS
    )
