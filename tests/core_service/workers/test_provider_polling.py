"""The loops that ask providers: one owner for each order, whatever the number of workers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from core_service.storage import payment_orders, refunds
from core_service.storage.database import connection_scope, execute, fetch_all
from core_service.workers.provider_polling import provider_polling_loops
from tests.factories import make_account, make_merchant, make_order, make_refund

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


def test_orders_and_refunds_of_one_channel_do_not_wait_behind_those_of_another() -> None:
    merchant = make_merchant()
    open_orders, open_refunds = {}, {}
    for channel in ("wxpay.native", "alipay.page"):
        make = partial(
            make_order,
            merchant,
            account_id=make_account(merchant, channel_code=channel),
            channel_code=channel,
        )
        open_orders[channel] = {make() for _ in range(3)}
        paid = make(status="SUCCEEDED")
        open_refunds[channel] = {make_refund(merchant, paid, status="PROCESSING")}
        execute("UPDATE payment_orders SET ask_at = now() WHERE status = 'PENDING'")
        execute("UPDATE refunds SET ask_at = now()")
    for channel in ("alipay.page", "wxpay.native"):
        orders = payment_orders.claim_due(10, lease_seconds=60, channel=channel)
        assert {order.id for order in orders} == open_orders[channel]
        due = refunds.claim_due(10, lease_seconds=60, channel=channel)
        assert {refund.id for refund in due} == open_refunds[channel]


def test_an_order_that_cannot_be_asked_about_stays_open_and_is_asked_again() -> None:
    due_orders(1)  # its account has no keys
    (asking, *_) = provider_polling_loops()
    assert asking.round(threading.Event()) == 1
    assert asking.round(threading.Event()) == 0
    (order,) = fetch_all("SELECT status, ask_at > now() AS later FROM payment_orders")
    assert order == {"status": "PENDING", "later": True}


def test_every_loop_finds_nothing_in_an_empty_database() -> None:
    assert [loop.round(threading.Event()) for loop in provider_polling_loops()] == [0] * 11
