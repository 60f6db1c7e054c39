"""What the tests of callbacks do again and again: make news, let time pass, look at the rows."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from core_service.application import callback_attempts, callbacks, merchant_cache, system_config
from core_service.application.callback_attempts import AttemptResult
from core_service.storage import payment_orders
from core_service.storage.database import connection_scope, execute, fetch_all, fetch_one, transact
from tests.factories import TestMerchant, make_merchant, make_order


def paid_order(url: str | None, merchant: TestMerchant | None = None) -> tuple[TestMerchant, str]:
    """A merchant who is told at `url`, with a paid order whose callback is due."""
    merchant = merchant or make_merchant(callback_base=url)
    order_id = make_order(merchant, status="SUCCEEDED", metadata='{"n": 1.10}')
    announce(order_id)
    return merchant, order_id


def announce(order_id: str) -> None:
    """Queues the news of an order's status, as its transition does."""
    order = payment_orders.find_by_id(order_id)
    assert order is not None
    merchant = merchant_cache.by_id(order.merchant_id)
    transact(lambda: callbacks.enqueue_order_update(order, merchant, now=datetime.now(UTC)))


def send_due() -> list[AttemptResult | None]:
    """One round of a worker, without its threads."""
    return [callback_attempts.send(attempt) for attempt in callback_attempts.claim_due(100)]


def let_pauses_pass() -> None:
    execute("UPDATE deliveries SET due_at = now() WHERE status = 'PENDING'")


def let_leases_end() -> None:
    execute("UPDATE deliveries SET lease_until = now() - interval '1 s' WHERE lease_until > now()")


def configure(**values: int) -> None:
    for key, value in values.items():
        execute(
            """
            INSERT INTO system_configs (key, value, updated_at, updated_by)
            VALUES (%s, %s, now(), 'test')
            ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value
            """,
            (key.upper(), str(value)),
        )
    system_config.refresh_now()


def deliveries_of(order_id: str) -> list[dict[str, Any]]:
    return fetch_all(
        "SELECT *, due_at - now() AS pause FROM deliveries WHERE order_id = %s ORDER BY id",
        (order_id,),
    )


def delivery_of(order_id: str) -> dict[str, Any]:
    (only,) = deliveries_of(order_id)
    return only


def attempts_of(order_id: str) -> list[dict[str, Any]]:
    return fetch_all(
        """
        SELECT a.* FROM delivery_attempts a JOIN deliveries d
        ON d.merchant_id = a.merchant_id AND d.id = a.delivery_id
        WHERE d.order_id = %s ORDER BY a.delivery_id, a.number
        """,
        (order_id,),
    )


def outcomes_of(order_id: str) -> list[str | None]:
    return [attempt["outcome"] for attempt in attempts_of(order_id)]


def wait_for(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Asks until it holds."""
    ticks = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        ticks.wait(0.02)
    raise AssertionError("it did not come about in time")


def status_of(order_id: str) -> str | None:
    """Over a connection of its own, so that it can be asked from any thread."""
    with connection_scope():
        row = fetch_one("SELECT status FROM deliveries WHERE order_id = %s", (order_id,))
    return None if row is None else str(row["status"])
