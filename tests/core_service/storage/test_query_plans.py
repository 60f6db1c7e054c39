"""No list, search, overview or job reads through the whole table of orders, as PostgreSQL itself says.

At thirty thousand orders the planner already chooses what it chooses at a million; with a handful it would rightly
read them all.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from core_service.application import books_pass, merchant_cache, order_hours, order_story
from core_service.application.overview import overview
from core_service.domain.ids import first_id
from core_service.storage import (
    anomalies,
    callback_health,
    database,
    delivery_lists,
    order_lists,
    refund_lists,
)
from core_service.storage.delivery_lists import DeliveryFilter
from core_service.storage.listing import wanted_page
from core_service.storage.order_lists import OrderFilter
from core_service.storage.paging import Position, token_of
from core_service.storage.refund_lists import RefundFilter
from tests import seeding
from tests.factories import TEST_BOX

pytestmark = pytest.mark.slow

ORDERS = 30_000
NOW = datetime.now(UTC)
Plans = list[tuple[str, str]]


@pytest.fixture(scope="module")
def seeded(module_database_url: str) -> Iterator[None]:
    sellers = seeding.make_sellers(module_database_url, 50)
    seeding.seed(module_database_url, orders=ORDERS, sellers=sellers)
    database.configure(module_database_url, max_connections=2)
    merchant_cache.configure(TEST_BOX, "https://pay.example")
    with database.connection_scope():
        yield
    database.database.close_all()


@pytest.fixture
def plans(seeded: None, monkeypatch: pytest.MonkeyPatch) -> Plans:
    """Statement and plan of everything that is read in the test."""
    seen: Plans = []
    run: Callable[[database.Statement, Any], Any] = database._execute

    def explained(statement: database.Statement, parameters: Any) -> Any:
        sql = statement.sql if isinstance(statement, database.Prepared) else statement
        if sql.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE")):
            lines = run(f"EXPLAIN {sql}", parameters).fetchall()
            seen.append((sql, "\n".join(line for (line,) in lines)))
        return run(statement, parameters)

    monkeypatch.setattr(database, "_execute", explained)
    return seen


def check(plans: Plans) -> None:
    assert plans
    for sql, plan in plans:
        for table in ("payment_orders", "payment_events", "received_payments", "deliveries"):
            assert f"Seq Scan on {table}" not in plan, f"{sql}\n{plan}"


def one(statement: str) -> Any:
    row = database.fetch_one(statement)
    assert row is not None
    return next(iter(row.values()))


MERCHANT = "SELECT merchant_id FROM payment_orders GROUP BY 1 ORDER BY count(*) {} LIMIT 1"
FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "paid": {"status": "SUCCEEDED"},
    "open": {"status": "PENDING"},
    "processing": {"status": "PROCESSING"},
    "closed": {"status": "CANCELLED"},
    "failed": {"status": "FAILED"},
    "late": {"is_late": True},
    "stuck": {"is_stuck": True},
    "channel": {"channel_code": "wxpay.native"},
    "no such channel": {"channel_code": "cash.desk"},
    "amount": {"amount_fen": 12345},
    "range": {"created_from": NOW - timedelta(days=9), "created_to": NOW - timedelta(days=8)},
    "range and status": {"created_from": NOW - timedelta(days=30), "status": "FAILED"},
    "range and amount": {"created_from": NOW - timedelta(days=30), "amount_fen": 12345},
}


@pytest.mark.parametrize("name", FILTERS)
def test_lists_of_orders(plans: Plans, name: str) -> None:
    merchants = (None, one(MERCHANT.format("DESC")), one(MERCHANT.format("ASC")))
    plans.clear()
    tokens = ("", token_of(Position(NOW, first_id("po", NOW - timedelta(days=45)))))
    for merchant_id, token in product(merchants, tokens):
        wanted = OrderFilter(merchant_id=merchant_id, **FILTERS[name])
        order_lists.newest(wanted, wanted_page(50, token))
    check(plans)


def test_the_end_of_a_stretch_is_found_inside_the_index(plans: Plans) -> None:
    merchant_id = one(MERCHANT.format("DESC"))
    plans.clear()
    wanted = OrderFilter(merchant_id=merchant_id, channel_code="cash.desk")
    order_lists.newest(wanted, wanted_page(50, None))
    (plan,) = (plan for sql, plan in plans if "OFFSET" in sql and "ORDER BY id DESC OFFSET" in sql)
    assert "Index Only Scan Backward using payment_orders_pkey" in plan, plan


def test_searches(plans: Plans) -> None:
    merchant_id = one(MERCHANT.format("DESC"))
    numbers = [
        one("SELECT id FROM payment_orders OFFSET 15000 LIMIT 1"),
        "ext-000015000",
        one("SELECT gateway_order_id FROM received_payments LIMIT 1"),
        one("SELECT id FROM refunds LIMIT 1"),
        one("SELECT external_refund_id FROM refunds LIMIT 1"),
        one("SELECT provider_refund_id FROM refunds LIMIT 1"),
        one("SELECT id FROM deliveries LIMIT 1"),
    ]
    plans.clear()
    for number in numbers:
        found = order_lists.newest(OrderFilter(search=number), wanted_page(50, None))
        assert len(found.items) == 1, number
        order_lists.newest(OrderFilter(merchant_id, search=number), wanted_page(50, None))
    order_lists.newest(OrderFilter(search="nothing"), wanted_page(50, None))
    check(plans)


def test_lists_of_refunds_deliveries_and_anomalies(plans: Plans) -> None:
    merchants = (None, one(MERCHANT.format("DESC")))
    plans.clear()
    for merchant_id in merchants:
        for refunds in (
            RefundFilter(merchant_id),
            RefundFilter(merchant_id, status="FAILED"),
            RefundFilter(merchant_id, status="SUCCEEDED"),
            RefundFilter(merchant_id, is_stuck=True),
            RefundFilter(merchant_id, created_from=NOW - timedelta(days=3)),
        ):
            refund_lists.newest(refunds, wanted_page(50, None))
        for deliveries in (
            DeliveryFilter(merchant_id),
            *(DeliveryFilter(merchant_id, status) for status in ("PENDING", "DELIVERED", "FAILED")),
            DeliveryFilter(merchant_id, event="payment.refund.updated"),
            DeliveryFilter(merchant_id, is_due=True),
            DeliveryFilter(merchant_id, is_undelivered=True),
        ):
            delivery_lists.page_of_deliveries(deliveries, wanted_page(50, None))
        anomalies.newest(merchant_id, None, is_resolved=False, page=wanted_page(50, None))
    check(plans)


def test_the_story_of_one_order(plans: Plans) -> None:
    order_id = one("SELECT order_id FROM refunds LIMIT 1")
    plans.clear()
    story = order_story.story_of(order_id, None, now=NOW)
    assert len(story.timeline) > 5
    check(plans)


def test_the_overview_and_what_it_is_made_of(plans: Plans) -> None:
    merchant_id = one(MERCHANT.format("DESC"))
    plans.clear()
    for _ in range(3):
        order_hours.count_hours(NOW)
    for _ in range(10):
        books_pass.check_slice(NOW)
    for scope in (None, merchant_id):
        seen = overview(scope, now=NOW)
        assert seen.last_day.now.created > 0
        callback_health.failing_of(scope)
    check(plans)
