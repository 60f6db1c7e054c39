"""An operator sends one delivery again: of an order or a refund, delivered or given up."""

import pytest

from core_service.application import callbacks
from core_service.errors import CoreError
from core_service.storage import callback_health, delivery_lists
from core_service.storage.database import execute
from tests.core_service.admin_setup import audit_rows, operator_call
from tests.core_service.workers.callback_steps import (
    delivery_of,
    outcomes_of,
    paid_order,
    send_due,
)
from tests.core_service.workers.receiver import Receiver, answer

pytestmark = pytest.mark.usefixtures("wired")


def test_v23_any_delivery_is_sent_at_once(shop: Receiver) -> None:
    merchant, order_id = paid_order(shop.url)
    shop.behaviour = answer(500)
    send_due()
    delivery_id = delivery_of(order_id)["id"]
    execute("UPDATE deliveries SET status = 'FAILED'")
    shop.behaviour = answer(200)
    outcome = callbacks.retry_delivery(operator_call(), delivery_id, merchant.id)
    assert (outcome.delivered, outcome.skipped, outcome.http_status) == (True, False, 200)
    again = callbacks.retry_delivery(operator_call(), delivery_id, None)
    assert again.delivered
    assert [request.delivery_id for request in shop.received] == [delivery_id] * 3
    assert outcomes_of(order_id) == ["failed", "delivered", "delivered"]
    assert [row["action"] for row in audit_rows()] == ["delivery.retry"] * 2
    attempts = delivery_lists.attempts_of(merchant.id, delivery_id)
    assert [attempt.http_status for attempt in attempts] == [500, 200, 200]
    assert merchant.notify_secret not in str(attempts)


def test_an_unknown_one_and_one_of_another_merchant_are_not_there(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    for delivery_id, merchant_id in (("dlv_x", None), (delivery_of(order_id)["id"], "mch_other")):
        with pytest.raises(CoreError, match="NOT_FOUND"):
            callbacks.retry_delivery(operator_call(), delivery_id, merchant_id)
    assert audit_rows() == []


def test_nothing_is_sent_when_callbacks_are_not_wanted(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    delivery_id = delivery_of(order_id)["id"]
    execute("UPDATE merchants SET callback_enabled = false, version = version + 1")
    outcome = callbacks.retry_delivery(operator_call(), delivery_id, None)
    assert (outcome.skipped, outcome.reason) == (True, "CALLBACK_NOT_WANTED")
    assert (shop.received, audit_rows()) == ([], [])


def test_failing_endpoints_are_named_with_their_last_error(shop: Receiver) -> None:
    merchant, order_id = paid_order(shop.url)
    assert callback_health.failing_of(None) == []
    shop.behaviour = answer(503)
    send_due()
    (failing,) = callback_health.failing_of(None)
    assert (failing.merchant_code, failing.undelivered) == (merchant.code, 1)
    assert failing.last_error == "the merchant answered 503"
    queue = callback_health.queue_of(merchant.id)
    assert (queue.size, queue.oldest_id) == (1, delivery_of(order_id)["id"])
    assert callback_health.queue_of("mch_other").size == 0
