"""The loops that ask providers: one owner for each order, whatever the number of workers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core_service.storage import payment_orders
from core_service.storage.database import connection_scope, execute, fetch_all
from core_service.workers.provider_polling import provider_polling_loops
from tests.factories import make_account, make_merchant, make_order

pytestmark = pytest.mark.usefixtures("wired")


def due_orders(count: int) -> None:
    merchant = make_merchant()
    account_id = make_account(merchant)
    for _ in range(count):
        make_order(merchant, account_id=account_id)
    execute("UPDATE payment_orders SET ask_at = now()")


def test_c11_two_resolvers_never_get_the_same_order() -> None:
    due_orders(40)
    start = threading.Barrier(4)

    def claim_all() -> list[str]:
        mine: list[str] = []
        start.wait()
        with connection_scope():
            while found := payment_orders.claim_due(1, lease_seconds=60):
                mine += [order.id for order in found]
        return mine

    with ThreadPoolExecutor(4) as workers:
        claims = [future.result() for future in [workers.submit(claim_all) for _ in range(4)]]
    claimed = [order_id for mine in claims for order_id in mine]
    assert len(claimed) == len(set(claimed)) == 40


def test_an_order_that_cannot_be_asked_about_stays_open_and_is_asked_again() -> None:
    due_orders(1)  # its account has no keys
    (asking, *_) = provider_polling_loops()
    assert asking.round(threading.Event()) == 1
    assert asking.round(threading.Event()) == 0
    (order,) = fetch_all("SELECT status, ask_at > now() AS later FROM payment_orders")
    assert order == {"status": "PENDING", "later": True}


def test_every_loop_finds_nothing_in_an_empty_database() -> None:
    assert [loop.round(threading.Event()) for loop in provider_polling_loops()] == [0] * 7
