"""The check of the books finds every kind of inconsistency, and none where there is none."""

import pytest

from core_service.application import finance
from core_service.storage import finance as checks
from core_service.storage.database import database, execute, transact
from tests.core_service.fake_provider import refuse
from tests.core_service.shop import LOCAL, REMOTE, Shop, refusal_of

MONEY = "journals_have_the_amounts"
PLANTED: dict[str, tuple[str, ...]] = {
    "journals_sum_to_zero": ("UPDATE journal_lines SET amount_fen = amount_fen + 1 WHERE account = 'sales'",),
    "every_journal_has_lines": (
        "DELETE FROM journal_lines WHERE journal_id = (SELECT min(id) FROM journals)",
    ),
    "paid_orders_are_booked_once": (
        "UPDATE journals SET order_id = 'po_nobody' WHERE id = (SELECT min(id) FROM journals)",
    ),
    "refunds_are_booked_once": ("UPDATE refunds SET status = 'PROCESSING' WHERE status = 'SUCCEEDED'",),
    "journals_have_the_amounts": (
        "UPDATE journal_lines SET amount_fen = amount_fen * 2 WHERE journal_id = (SELECT min(id) FROM journals)",
    ),
    "reservations_equal_refunds": (
        "UPDATE payment_orders SET refund_reserved_fen = refund_reserved_fen + 1 WHERE refunded_fen > 0",
    ),
    "refunded_equals_refunds": ("UPDATE payment_orders SET refunded_fen = refunded_fen - 1 WHERE refunded_fen > 0",),
    "paid_orders_have_their_payment": ("DELETE FROM received_payments",),
    "history_ends_where_the_order_is": (
        "DELETE FROM payment_events WHERE after_status = 'SUCCEEDED' AND refund_id IS NULL",
    ),
    "refunds_end_where_their_history_ends": (
        "DELETE FROM payment_events WHERE refund_id IS NOT NULL AND after_status = 'SUCCEEDED'",
    ),
    "second_payments_are_booked": (
        """
        INSERT INTO received_payments
        SELECT merchant_id, order_id, 'second', amount_fen, paid_at, true, 'query', now()
        FROM received_payments LIMIT 1
        """,
    ),
    "deliveries_tell_what_happened": ("UPDATE deliveries SET resulting_status = 'FAILED' WHERE refund_id IS NULL",),
    "deliveries_end_as_their_attempts_say": ("UPDATE deliveries SET status = 'DELIVERED'",),
}  # fmt: skip


@pytest.fixture
def busy(shop: Shop) -> Shop:
    """Every kind of order and refund there is."""
    paid = shop.paid(LOCAL)
    shop.ask_refund(paid.id, "10.00")
    shop.providers[LOCAL].script("refund", refuse())
    refusal_of(lambda: shop.ask_refund(paid.id, "5.00"))
    shop.paid(REMOTE)
    shop.ask_close(shop.create(REMOTE).id)
    shop.create(LOCAL)
    return shop


def broken() -> set[str]:
    return {check.name for check in finance.verify_books().checks if check.violations}


def test_good_books(busy: Shop) -> None:
    books = finance.verify_books()
    assert books.is_balanced
    assert (books.captured_fen, books.refunded_fen) == (6000, 1000)
    assert {check.name for check in books.checks} == set(PLANTED) == set(checks.CHECKS)


def test_empty_books(money_database: str) -> None:
    books = finance.verify_books()
    assert (books.is_balanced, books.captured_fen, books.refunded_fen) == (True, 0, 0)


class _Undo(Exception):
    pass


WRONG_MONEY = {
    "doubled": (
        "INSERT INTO journal_lines SELECT merchant_id, journal_id, line + 10, account, amount_fen FROM journal_lines",
    ),
    "none": ("UPDATE journal_lines SET account = 'fee_income' WHERE account = 'provider_balance'",),
    "another fee": (
        "INSERT INTO journal_lines SELECT merchant_id, id, 11, 'fees_owed', 1 FROM journals",
        "INSERT INTO journal_lines SELECT merchant_id, id, 12, 'fee_income', -1 FROM journals",
    ),
}


@pytest.mark.parametrize("kind", WRONG_MONEY)
def test_v13_lines_that_add_up_to_nothing_must_still_be_the_right_ones(
    busy: Shop, kind: str
) -> None:
    assert MONEY in broken_by(WRONG_MONEY[kind])


@pytest.mark.parametrize("name", PLANTED)
def test_v13_a_planted_inconsistency_is_found(busy: Shop, name: str) -> None:
    assert name in broken_by(PLANTED[name])


def broken_by(statements: tuple[str, ...]) -> set[str]:
    """The checks that fail after these statements, which are taken back."""
    found: list[set[str]] = []

    def plant_and_check() -> None:
        # Only without its guards can a row become wrong at all.
        execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            assert execute(statement) > 0
        found.append({check for check in checks.CHECKS if checks.count_violations(check)})
        raise _Undo

    with pytest.raises(_Undo):
        transact(plant_and_check)
    assert not database.in_transaction()
    assert broken() == set()
    return found[0]
