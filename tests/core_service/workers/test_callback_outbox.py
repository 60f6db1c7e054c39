"""What gets into the outbox, in one transaction with the news itself."""

from datetime import UTC, datetime

import pytest

from core_service.application import callbacks, merchant_cache
from core_service.storage import payment_orders, refunds
from core_service.storage.database import execute, fetch_all, transact
from tests.core_service.workers.callback_steps import announce, deliveries_of, delivery_of
from tests.factories import make_merchant, make_order, make_refund

pytestmark = pytest.mark.usefixtures("wired")


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "CANCELLED"])
def test_v09_a_terminal_status_is_queued_once(status: str) -> None:
    order_id = make_order(make_merchant(callback_base="https://shop.example"), status=status)
    announce(order_id)
    announce(order_id)
    delivery = delivery_of(order_id)
    assert (delivery["status"], delivery["resulting_status"], delivery["attempt_count"]) == (
        "PENDING",
        status,
        0,
    )
    assert delivery["subject_id"] == order_id
    assert f'"status":"{status}"'.encode() in bytes(delivery["body"])


@pytest.mark.parametrize("status", ["PENDING", "PROCESSING"])
def test_v09_an_open_order_is_no_news(status: str) -> None:
    order_id = make_order(make_merchant(callback_base="https://shop.example"), status=status)
    announce(order_id)
    assert deliveries_of(order_id) == []


def test_v09_nothing_is_queued_for_who_does_not_want_it() -> None:
    nowhere = make_order(make_merchant(callback_base=None), status="SUCCEEDED")
    off = make_order(
        make_merchant(callback_base="https://shop.example", callback_enabled=False),
        status="SUCCEEDED",
        callback_url="https://shop.example/own",
    )
    announce(nowhere)
    announce(off)
    assert fetch_all("SELECT * FROM deliveries") == []


def test_p19_late_money_is_a_new_event_with_its_own_id() -> None:
    order_id = make_order(make_merchant(callback_base="https://shop.example"), status="CANCELLED")
    announce(order_id)
    execute(
        """
        UPDATE payment_orders SET status = 'SUCCEEDED', paid_amount_fen = amount_fen, paid_at = now()
        WHERE id = %s
        """,
        (order_id,),
    )
    announce(order_id)
    first, second = deliveries_of(order_id)
    assert first["id"] != second["id"]
    assert (first["resulting_status"], second["resulting_status"]) == ("CANCELLED", "SUCCEEDED")


def test_v09_refund_results_may_be_switched_off() -> None:
    wanting = make_merchant(callback_base="https://shop.example")
    older = make_merchant(callback_base="https://shop.example", refund_callback_enabled=False)
    told = [announce_refund(merchant.id, refunded(merchant)) for merchant in (wanting, older)]
    assert told == [1, 0]


def test_refund_still_running_is_no_news() -> None:
    merchant = make_merchant(callback_base="https://shop.example")
    order_id = make_order(merchant, status="SUCCEEDED")
    assert announce_refund(merchant.id, make_refund(merchant, order_id, status="PROCESSING")) == 0


def test_what_is_rolled_back_was_never_queued() -> None:
    order_id = make_order(make_merchant(callback_base="https://shop.example"), status="FAILED")
    order = payment_orders.find_by_id(order_id)
    assert order is not None
    merchant = merchant_cache.by_id(order.merchant_id)

    def news_and_failure() -> None:
        callbacks.enqueue_order_update(order, merchant, now=datetime.now(UTC))
        raise RuntimeError("after the news")

    with pytest.raises(RuntimeError):
        transact(news_and_failure)
    assert deliveries_of(order_id) == []


def refunded(merchant: object) -> str:
    return make_refund(merchant, make_order(merchant, status="SUCCEEDED"))  # type: ignore[arg-type]


def announce_refund(merchant_id: str, refund_id: str) -> int:
    """How many deliveries tell of the refund afterwards."""
    refund = refunds.find_for_merchant(merchant_id, refund_id)
    assert refund is not None
    order = payment_orders.find_by_id(refund.order_id)
    assert order is not None
    merchant = merchant_cache.by_id(merchant_id)
    transact(
        lambda: callbacks.enqueue_refund_update(refund, order, merchant, now=datetime.now(UTC))
    )
    return len(fetch_all("SELECT 1 FROM deliveries WHERE subject_id = %s", (refund_id,)))
