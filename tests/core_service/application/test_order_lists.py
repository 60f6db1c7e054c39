"""Lists of orders, refunds and deliveries: filters, pages, and finding an order by any number."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.storage import listing
from core_service.storage.database import execute, fetch_one
from novapay.payments.v1 import payment_service_pb2 as pb
from tests.core_service.application.oversight import Console
from tests.core_service.shop import LOCAL, REMOTE, Shop
from tests.factories import make_order

NOW = datetime.now(UTC)


def ids(answer: Any) -> list[str]:
    return [order.id for order in answer.orders]


def test_newest_first_in_pages(shop: Shop, console: Console) -> None:
    orders = [shop.create(LOCAL).id for _ in range(5)]
    first = console.ask("ListPaymentOrders", page_size=2)
    second = console.ask("ListPaymentOrders", page_size=2, page_token=first.next_page_token)
    last = console.ask("ListPaymentOrders", page_size=2, page_token=second.next_page_token)
    assert ids(first) + ids(second) + ids(last) == sorted(orders, reverse=True)
    assert last.next_page_token == ""


def test_what_a_row_shows(shop: Shop, console: Console) -> None:
    paid = shop.paid(REMOTE, "30.00")
    shop.ask_refund(paid.id, "10.00")
    (row,) = console.ask("ListPaymentOrders").orders
    assert (row.amount, row.refunded_amount, row.subject) == ("30.00", "10.00", "Tea")
    assert (row.merchant_code, row.channel_code) == (shop.snapshot.facts.code, REMOTE)
    assert (row.status, row.callback_status) == (
        pb.ORDER_STATUS_SUCCEEDED,
        pb.CALLBACK_STATUS_PENDING,
    )


def test_filters(shop: Shop, other_shop: Shop, console: Console) -> None:
    paid = shop.paid(LOCAL, "30.00")
    dear = shop.create(REMOTE, amount="31.00")
    closed = shop.create(REMOTE, amount="30.00")
    shop.ask_close(closed.id)
    other = other_shop.create(LOCAL, amount="5.00")
    failed, late, stuck = (
        make_order(shop_merchant(shop), account_id=shop.accounts[LOCAL], **columns)
        for columns in (
            {"status": "FAILED"},
            {"status": "SUCCEEDED", "late": True},
            {"expire_at": NOW - timedelta(hours=1), "ask_at": NOW},
        )
    )
    try:
        found = {
            "paid": ids(console.ask("ListPaymentOrders", status=pb.ORDER_STATUS_SUCCEEDED)),
            "open": ids(console.ask("ListPaymentOrders", status=pb.ORDER_STATUS_PENDING)),
            "closed": ids(console.ask("ListPaymentOrders", status=pb.ORDER_STATUS_CANCELLED)),
            "failed": ids(console.ask("ListPaymentOrders", status=pb.ORDER_STATUS_FAILED)),
            "late": ids(console.ask("ListPaymentOrders", late=True)),
            "stuck": ids(console.ask("ListPaymentOrders", stuck=True)),
            "channel": ids(console.ask("ListPaymentOrders", channel_code=REMOTE)),
            "amount": ids(console.ask("ListPaymentOrders", amount="30.0")),
            "merchant": ids(
                console.ask("ListPaymentOrders", merchant_code=other_shop.snapshot.facts.code)
            ),
            "both": ids(console.ask("ListPaymentOrders", channel_code=REMOTE, amount="31")),
        }
        newest = [stuck, late, failed, other.id, closed.id, dear.id, paid.id]
        # Ids of one millisecond come in any order.
        assert found == {
            name: sorted(rows, reverse=True)
            for name, rows in {
                "paid": [late, paid.id],
                "open": [stuck, other.id, dear.id],
                "closed": [closed.id],
                "failed": [failed],
                "late": [late],
                "stuck": [stuck],
                "channel": [closed.id, dear.id],
                "amount": [closed.id, paid.id],
                "merchant": [other.id],
                "both": [dear.id],
            }.items()
        }
        assert ids(console.ask("ListPaymentOrders")) == sorted(newest, reverse=True)
    finally:
        # Rows without a history are not what the shop's invariants expect.
        execute("SET session_replication_role = replica")
        execute("DELETE FROM payment_orders WHERE id = ANY(%s)", ([failed, late, stuck],))
        execute("SET session_replication_role = origin")


def shop_merchant(shop: Shop) -> Any:
    return shop.snapshot.facts


def test_a_range_of_time_begins_with_its_first_and_ends_before_its_last(
    shop: Shop, console: Console
) -> None:
    orders = [shop.create(LOCAL) for _ in range(3)]
    bounds = [order.created_at for order in orders]
    middle = console.ask(
        "ListPaymentOrders", created_from=bounds[1], created_to=bounds[2], page_size=10
    )
    assert ids(middle) == [orders[1].id]
    assert ids(console.ask("ListPaymentOrders", created_to=bounds[0])) == []


def test_a_short_page_says_how_far_it_has_looked(
    shop: Shop, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = shop.create(LOCAL, amount="7.00")
    others = [shop.create(LOCAL) for _ in range(5)]
    monkeypatch.setattr(listing, "STRETCH", 3)
    first = console.ask("ListPaymentOrders", amount="7.00")
    assert (ids(first), first.HasField("searched_back_to")) == ([], True)
    assert first.searched_back_to.ToDatetime(UTC) == others[2].created_at
    second = console.ask("ListPaymentOrders", amount="7.00", page_token=first.next_page_token)
    assert ids(second) == [wanted.id]
    third = console.ask("ListPaymentOrders", amount="7.00", page_token=second.next_page_token)
    assert (ids(third), third.next_page_token) == ([], "")


@pytest.mark.parametrize("is_scoped", [False, True])
def test_any_number_finds_its_order(shop: Shop, console: Console, *, is_scoped: bool) -> None:
    paid = shop.paid(REMOTE)
    shop.create(LOCAL)
    refund = shop.ask_refund(paid.id, "10.00").result.refund
    delivery = fetch_one("SELECT id FROM deliveries WHERE order_id = %s LIMIT 1", (paid.id,))
    assert delivery is not None
    assert refund.provider_refund_id is not None
    scope = {"merchant_code": shop.snapshot.facts.code} if is_scoped else {}
    for number in (
        paid.id,
        paid.external_order_id,
        paid.gateway_order_id,
        refund.id,
        refund.external_refund_id,
        refund.provider_refund_id,
        delivery["id"],
        f"  {paid.id} ",
    ):
        assert ids(console.ask("ListPaymentOrders", search=number, **scope)) == [paid.id], number
    assert ids(console.ask("ListPaymentOrders", search="nothing", **scope)) == []
    assert ids(console.ask("ListPaymentOrders", search=paid.id, amount="1.00", **scope)) == []


def test_v19_a_scoped_list_shows_nothing_of_another_merchant(
    shop: Shop, other_shop: Shop, console: Console
) -> None:
    paid = shop.paid(LOCAL)
    refund = shop.ask_refund(paid.id, "10.00").result.refund
    delivery = console.ask("ListDeliveries").deliveries[0]
    theirs = {"merchant_code": other_shop.snapshot.facts.code}
    assert ids(console.ask("ListPaymentOrders", **theirs)) == []
    for number in (paid.id, paid.external_order_id, paid.gateway_order_id, refund.id, delivery.id):
        assert ids(console.ask("ListPaymentOrders", search=number, **theirs)) == []
    assert list(console.ask("ListRefunds", **theirs).refunds) == []
    assert list(console.ask("ListDeliveries", **theirs).deliveries) == []
    assert console.refusal("GetPaymentOrder", id=paid.id, **theirs) == "ORDER_NOT_FOUND"
    assert console.refusal("GetDelivery", id=delivery.id, **theirs) == "NOT_FOUND"
    assert console.refusal("RetryDelivery", id=delivery.id, **theirs) == "NOT_FOUND"
    assert console.refusal("ListPaymentOrders", merchant_code="nobody") == "MERCHANT_NOT_FOUND"


def test_refunds(shop: Shop, console: Console) -> None:
    paid = shop.paid(LOCAL)
    first = shop.ask_refund(paid.id, "10.00").result.refund
    second = shop.ask_refund(paid.id, "5.00").result.refund
    rows = console.ask("ListRefunds").refunds
    assert [(row.id, row.amount, row.external_order_id) for row in rows] == [
        (second.id, "5.00", paid.external_order_id),
        (first.id, "10.00", paid.external_order_id),
    ]
    page = console.ask("ListRefunds", page_size=1)
    assert [row.id for row in page.refunds] == [second.id]
    page = console.ask("ListRefunds", page_size=1, page_token=page.next_page_token)
    assert [row.id for row in page.refunds] == [first.id]
    assert list(console.ask("ListRefunds", stuck=True).refunds) == []
    succeeded = console.ask("ListRefunds", status=3).refunds
    assert [row.id for row in succeeded] == [second.id, first.id]
    assert list(console.ask("ListRefunds", created_to=first.created_at).refunds) == []


def test_deliveries(shop: Shop, console: Console) -> None:
    paid = shop.paid(LOCAL)
    shop.ask_refund(paid.id, "10.00")
    rows = console.ask("ListDeliveries").deliveries
    assert [row.event for row in rows] == ["payment.refund.updated", "payment.order.updated"]
    oldest_first = console.ask("ListDeliveries", undelivered=True, page_size=1)
    assert [row.id for row in oldest_first.deliveries] == [rows[1].id]
    following = console.ask(
        "ListDeliveries", undelivered=True, page_size=1, page_token=oldest_first.next_page_token
    )
    assert [row.id for row in following.deliveries] == [rows[0].id]
    assert len(console.ask("ListDeliveries", due=True).deliveries) == 2
    assert len(console.ask("ListDeliveries", event="payment.refund.updated").deliveries) == 1
    delivered = console.ask("ListDeliveries", status=pb.CALLBACK_STATUS_DELIVERED)
    assert list(delivered.deliveries) == []
    shown = console.ask("GetDelivery", id=rows[1].id)
    assert f'"id":"{paid.id}"' in shown.body
    assert list(shown.attempts) == []
