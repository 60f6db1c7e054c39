"""What a payer is told."""

from datetime import UTC, datetime, timedelta

import pytest

from core_service.domain.checkout import CheckoutState, checkout_state, may_change
from core_service.domain.payment_order import EXPIRY_GRACE_SECONDS, OrderStatus

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GRACE = timedelta(seconds=EXPIRY_GRACE_SECONDS)


@pytest.mark.parametrize(
    ("status", "refunded_fen", "expires_in", "completed_ago", "expected"),
    [
        ("PENDING", 0, MINUTE, None, "WAITING"),
        ("PENDING", 0, timedelta(0), None, "EXPIRED"),
        ("PROCESSING", 0, MINUTE, None, "CONFIRMING"),
        ("PROCESSING", 0, -MINUTE, None, "EXPIRED"),
        ("SUCCEEDED", 0, -MINUTE, MINUTE, "PAID"),
        ("SUCCEEDED", 1, MINUTE, MINUTE, "PARTLY_REFUNDED"),
        ("SUCCEEDED", 99, MINUTE, MINUTE, "PARTLY_REFUNDED"),
        ("SUCCEEDED", 100, MINUTE, MINUTE, "REFUNDED"),
        ("FAILED", 0, MINUTE, MINUTE, "FAILED"),
        ("FAILED", 0, -MINUTE, timedelta(0), "FAILED"),
        ("CANCELLED", 0, MINUTE, MINUTE, "CLOSED"),
        ("CANCELLED", 0, -MINUTE, 2 * MINUTE, "CLOSED"),
        ("CANCELLED", 0, -MINUTE, MINUTE, "EXPIRED"),
        ("CANCELLED", 0, -MINUTE, timedelta(0), "EXPIRED"),
    ],
)
def test_state(
    status: str,
    refunded_fen: int,
    expires_in: timedelta,
    completed_ago: timedelta | None,
    expected: str,
) -> None:
    state = checkout_state(
        OrderStatus(status),
        amount_fen=100,
        refunded_fen=refunded_fen,
        expire_at=NOW + expires_in,
        completed_at=None if completed_ago is None else NOW - completed_ago,
        now=NOW,
    )
    assert CheckoutState(expected) is state


@pytest.mark.parametrize(
    ("status", "expires_in", "expected"),
    [
        ("PENDING", MINUTE, True),
        ("PENDING", -24 * 60 * MINUTE, True),
        ("PROCESSING", -MINUTE, True),
        ("SUCCEEDED", MINUTE, False),
        ("CANCELLED", MINUTE, True),
        ("CANCELLED", -GRACE + timedelta(seconds=1), True),
        ("CANCELLED", -GRACE, False),
        ("FAILED", MINUTE, True),
        ("FAILED", -MINUTE, False),
    ],
)
def test_may_change(status: str, expires_in: timedelta, *, expected: bool) -> None:
    assert expected is may_change(OrderStatus(status), expire_at=NOW + expires_in, now=NOW)
