"""The refund's table walked whole, the share of the fee, and when a provider is asked."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_service.application.refunds import _EVENTS
from core_service.domain.money import fee_fen
from core_service.domain.refund import (
    FIRST_ASK_SECONDS,
    LONGEST_ASK_SECONDS,
    OPEN_STATUSES,
    TRANSITIONS,
    OrderMoney,
    RefundEvent,
    RefundStatus,
    fee_share,
    next_ask,
)
from core_service.providers.base import RefundState

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_the_table_is_total_and_every_state_of_a_provider_has_a_meaning() -> None:
    assert set(TRANSITIONS) == set(product(RefundStatus, RefundEvent))
    assert set(_EVENTS) == set(RefundState)


@pytest.mark.parametrize(("status", "event"), [*product(RefundStatus, RefundEvent)])
def test_v01_every_status_and_event(status: RefundStatus, event: RefundEvent) -> None:
    after = TRANSITIONS[status, event]
    if status not in OPEN_STATUSES:
        assert after is status
    elif event is RefundEvent.UNKNOWN:
        assert after is RefundStatus.PROCESSING
    else:
        assert after.value == event.value


@given(
    amount_fen=st.integers(1, 10_000_000_000),
    rate=st.integers(0, 10_000).map(lambda ten_thousandths: Decimal(ten_thousandths) / 10_000),
    parts=st.lists(st.integers(1, 10_000_000_000), max_size=8),
)
def test_the_parts_of_a_full_refund_take_the_whole_fee_back(
    amount_fen: int, rate: Decimal, parts: list[int]
) -> None:
    fee = fee_fen(amount_fen, rate)
    reserved = taken = 0
    for part in [*parts, amount_fen]:
        refunded = min(part, amount_fen - reserved)
        if refunded == 0:
            break
        share = fee_share(OrderMoney(amount_fen, rate, fee, reserved, taken), refunded)
        assert 0 <= share <= refunded
        reserved, taken = reserved + refunded, taken + share
        assert taken <= fee
    assert (reserved, taken) == (amount_fen, fee)


def test_a_failed_refund_gives_its_share_to_the_next() -> None:
    money = OrderMoney(1000, Decimal("0.0060"), 6, 0, 0)
    assert fee_share(money, 500) == 3
    assert fee_share(money, 1000) == 6


def test_pauses_double_to_five_minutes_and_never_end() -> None:
    pauses = [(next_ask(ask_count=n, now=NOW) - NOW).total_seconds() for n in (0, 1, 2, 3, 4, 5)]
    assert pauses == [FIRST_ASK_SECONDS, 20, 40, 80, 160, LONGEST_ASK_SECONDS]
    assert (next_ask(ask_count=10_000_000, now=NOW) - NOW).total_seconds() == LONGEST_ASK_SECONDS
