"""The overview: its roll-up is counted anew, back to the first order, and its books are gone through by slices."""

from datetime import UTC, datetime, timedelta

import pytest

from core_service.application import books_pass, order_hours, purge
from core_service.application.overview import WEEK, Totals, overview
from core_service.storage import finance, job_progress
from core_service.storage.database import database, execute, fetch_all, transact
from tests.core_service.application.oversight import Console
from tests.core_service.fake_provider import refuse
from tests.core_service.shop import LOCAL, REMOTE, Shop, count
from tests.factories import make_account, make_merchant, make_order

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def count_everything(at: datetime | None = None) -> None:
    while order_hours.count_hours(at or now()):
        pass


@pytest.mark.usefixtures("shop")
def test_nothing_at_all(console: Console) -> None:
    seen = console.ask("GetOverview")
    assert not seen.money.HasField("counted_at")
    assert (seen.money.last_day.created, seen.callbacks.undelivered) == (0, 0)
    assert (len(seen.money.hours), seen.HasField("books")) == (48, False)


def test_money_of_the_last_day(shop: Shop, other_shop: Shop, console: Console) -> None:
    paid = shop.paid(LOCAL, "30.00")
    shop.ask_refund(paid.id, "10.00")
    shop.ask_close(shop.create(REMOTE).id)
    shop.create(LOCAL)
    other_shop.paid(LOCAL, "5.00")
    asked = shop.create(LOCAL, amount="7.00")
    assert shop.books.pay(asked.id, asked.amount_fen)
    shop.query(asked.id)
    count_everything()
    seen = console.ask("GetOverview")
    total = seen.money.last_day
    assert (total.created, total.paid, total.ended_unpaid) == (5, 3, 1)
    assert (total.paid_amount, total.refunds, total.refund_amount) == ("42.00", 1, "10.00")
    assert {one.channel_code: one.totals.created for one in seen.money.channels} == {
        LOCAL: 4,
        REMOTE: 1,
    }
    lost = {(one.account_id): (one.by_notification, one.by_asking) for one in seen.callbacks.lost}
    assert lost == {shop.accounts[LOCAL]: (1, 1), other_shop.accounts[LOCAL]: (1, 0)}
    assert seen.callbacks.undelivered == count("deliveries")
    mine = console.ask("GetOverview", merchant_code=other_shop.snapshot.facts.code)
    assert mine.money.last_day.paid_amount == "5.00"
    assert [one.account_id for one in mine.callbacks.lost] == [other_shop.accounts[LOCAL]]
    assert mine.callbacks.undelivered == 1


def test_counting_again_changes_nothing_and_sees_what_changed(shop: Shop) -> None:
    order = shop.create(LOCAL)
    count_everything()
    count_everything()
    assert overview(None, now=now()).last_day.now.created == 1
    shop.books.pay(order.id, order.amount_fen)
    shop.notify(order)
    count_everything()
    assert overview(None, now=now()).last_day.now == Totals(created=1, paid=1, paid_fen=3000)


def test_only_one_worker_counts_at_a_time(shop: Shop) -> None:
    shop.create(LOCAL)
    position = transact(lambda: job_progress.claim(order_hours.JOB))
    assert position == {}
    assert order_hours.count_hours(now()) == 0
    assert count("order_hours") == 0
    job_progress.give_back(order_hours.JOB, {})
    count_everything()
    assert count("order_hours") == 1
    execute("UPDATE job_progress SET lease_until = now() - interval '1 second'")
    assert transact(lambda: job_progress.claim(order_hours.JOB)) is not None  # a dead one's


@pytest.fixture
def old_orders(money_database: str, monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Orders of forty different hours of the last three weeks; the ids say so."""
    merchant = make_merchant()
    account = make_account(merchant)
    start = now() - timedelta(days=20)
    moments = [start + number * 11 * HOUR for number in range(40)]
    for moment in moments:
        monkeypatch.setattr("core_service.domain.ids.time.time_ns", lambda m=moment: _ns(m))
        make_order(merchant, account_id=account, status="SUCCEEDED", created_at=moment)
    monkeypatch.undo()
    return moments


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) * 1_000_000


def test_the_past_is_filled_in_piece_by_piece(old_orders: list[datetime]) -> None:
    assert order_hours.count_hours(now()) == purge.BATCH
    assert count("order_hours") < len(old_orders)
    count_everything()
    rows = fetch_all("SELECT hour, created FROM order_hours ORDER BY hour")
    assert [row["hour"] for row in rows] == [
        moment.replace(minute=0, second=0, microsecond=0) for moment in old_orders
    ]
    seen = overview(None, now=now())
    assert seen.last_day.week_before.created > 0


def test_hours_that_no_worker_saw_are_counted_afterwards(old_orders: list[datetime]) -> None:
    count_everything(now() - timedelta(days=10))
    before = count("order_hours")
    count_everything()
    assert before < count("order_hours") == len(old_orders)


def test_money_that_came_late_is_found_by_going_over_the_last_week(shop: Shop) -> None:
    order = shop.create(LOCAL)
    count_everything(now() + timedelta(days=1))
    assert shop.books.pay(order.id, order.amount_fen)
    shop.notify(order)
    later = now() + timedelta(days=5)
    count_everything(later)
    assert fetch_all("SELECT paid FROM order_hours") == [{"paid": 0}]
    for _ in range(6 * 24):
        count_everything(later)
    assert fetch_all("SELECT paid FROM order_hours") == [{"paid": 1}]


def test_the_running_hour_is_compared_with_as_much_of_last_weeks(money_database: str) -> None:
    merchant = make_merchant()
    account = make_account(merchant)
    this_hour = datetime(2026, 3, 4, 5, tzinfo=UTC)
    for hour in (this_hour - WEEK, this_hour - WEEK - HOUR):
        execute(
            "INSERT INTO order_hours VALUES (%s, %s, %s, %s, 100, 100, 0, 0, 0, 0, 0)",
            (merchant.id, account, hour, LOCAL),
        )
    seen = overview(None, now=this_hour + timedelta(minutes=15))
    assert seen.last_day.week_before.created == 125


def go_through_books(at: datetime | None = None) -> None:
    for _ in range(100):
        if books_pass.check_slice(at):
            return
    pytest.fail("the pass has no end")


@pytest.fixture
def busy(shop: Shop) -> Shop:
    paid = shop.paid(LOCAL)
    shop.ask_refund(paid.id, "10.00")
    shop.providers[LOCAL].script("refund", refuse())
    shop.paid(REMOTE)
    shop.ask_close(shop.create(REMOTE).id)
    return shop


@pytest.mark.usefixtures("busy")
def test_v13_good_books(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_pass, "SLICE", 2)
    go_through_books()
    books = console.ask("GetOverview").books
    assert (books.balanced, books.orders) == (True, 3)
    assert {check.name for check in books.checks} == set(finance.CHECKS)
    # Then it rests.
    assert books_pass.check_slice() == 0
    assert count("books_reports") == 1
    go_through_books(now() + timedelta(hours=1))
    assert count("books_reports") == 2


@pytest.mark.usefixtures("busy")
def test_v13_a_broken_row_is_found_wherever_its_slice_is(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books_pass, "SLICE", 1)
    _as_replica("UPDATE payment_orders SET refunded_fen = refunded_fen - 1 WHERE refunded_fen > 0")
    try:
        go_through_books()
        books = console.ask("GetOverview").books
        broken = {check.name: check.violations for check in books.checks if not check.holds}
        assert (books.balanced, broken) == (False, {"refunded_equals_refunds": 1})
    finally:
        _as_replica(
            "UPDATE payment_orders SET refunded_fen = refunded_fen + 1 WHERE refund_reserved_fen > 0"
        )
    assert not database.in_transaction()


def _as_replica(statement: str) -> None:
    """Only without its guards can a row become wrong at all."""

    def work() -> None:
        execute("SET LOCAL session_replication_role = replica")
        assert execute(statement) == 1

    transact(work)


def test_stuck_things_are_counted_without_being_stored(shop: Shop, console: Console) -> None:
    order = shop.create(LOCAL)
    paid = shop.paid(LOCAL)
    shop.ask_refund(paid.id, "1.00")
    assert console.ask("GetOverview").stuck.orders == 0
    execute("UPDATE payment_orders SET expire_at = now() - interval '1 hour' WHERE id = %s", (order.id,))  # fmt: skip
    stuck = console.ask("GetOverview").stuck
    assert (stuck.orders, stuck.refunds, list(stuck.anomalies)) == (1, 0, [])
