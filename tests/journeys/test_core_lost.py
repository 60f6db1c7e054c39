"""What the edge says when a core dies or falls silent under a request."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.journeys.rough import RoughStack
from tests.journeys.test_outages import order_body
from tests.stack import wait_until

pytestmark = pytest.mark.slow

GIVEN_UP_SECONDS = 2.0


def test_v18_a_core_that_died_behind_its_commit_leaves_the_outcome_open(
    rough_stack: RoughStack,
) -> None:
    merchant = rough_stack.merchant
    rough_stack.until_healthy()
    body, key = order_body(), secrets.token_hex(8)
    rough_stack.arm("c5")
    broken = merchant.post("/api/payment-orders", body, idempotency_key=key)
    assert rough_stack.has_struck("c5")
    assert (broken.status, broken.code) == (500, "PROVIDER_TIMEOUT")
    rough_stack.until_healthy()  # no connection leads to the dead process any more
    again = merchant.post("/api/payment-orders", body, idempotency_key=key)
    assert again.status == 200
    assert again.headers["x-novapay-idempotency-status"] == "replayed"


@pytest.mark.parametrize("point", ["x4", "r4"])
def test_v18_the_same_of_closing_and_refunding(rough_stack: RoughStack, point: str) -> None:
    merchant = rough_stack.merchant
    rough_stack.until_healthy()
    order = merchant.create_order("alipay.page").json["order"]
    path, body = f"/api/payment-orders/{order['id']}/close", {}
    if point == "r4":
        rough_stack.payer.pay(order)
        wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
        path = f"/api/payment-orders/{order['id']}/refunds"
        body = {"externalRefundId": secrets.token_hex(8), "amount": "1.00"}
    rough_stack.arm(point)
    broken = merchant.post(path, body)
    assert rough_stack.has_struck(point)
    assert (broken.status, broken.code) == (500, "PROVIDER_TIMEOUT")
    rough_stack.until_healthy()  # no connection leads to the dead process any more
    assert merchant.post(path, body).status == 200


def test_a_question_is_told_to_come_again(rough_stack: RoughStack) -> None:
    """It asks for no effect, so none can be open."""
    merchant = rough_stack.merchant
    rough_stack.until_healthy()
    order = merchant.create_order("alipay.page").json["order"]
    rough_stack.arm("q2")
    broken = merchant.post(f"/api/payment-orders/{order['id']}", {"sync": True})
    assert rough_stack.has_struck("q2")
    assert (broken.status, broken.code) == (503, "OVERLOADED")


def test_n06_cores_that_fell_silent_are_given_up_and_found_again(rough_stack: RoughStack) -> None:
    merchant, http = rough_stack.merchant, rough_stack.stack.http
    rough_stack.until_healthy()
    order = merchant.create_order("alipay.page").json["order"]
    body = order_body()
    with silent(rough_stack):
        for path, asked in (
            ("/api/payment-orders", body),
            (f"/api/payment-orders/{order['id']}", {"sync": False}),
        ):
            began = time.monotonic()
            answer = merchant.post(path, asked)
            assert (answer.status, answer.code) == (503, "OVERLOADED")
            assert answer.headers["retry-after"]
            assert time.monotonic() - began < GIVEN_UP_SECONDS
        assert http.request("GET", "/api/health").status == 503
    rough_stack.until_healthy(seconds=GIVEN_UP_SECONDS)
    # V18: what they had not begun they have left.
    found = merchant.post(f"/api/payment-orders/{body['externalOrderId']}", {"sync": False})
    assert (found.status, found.code) == (404, "ORDER_NOT_FOUND")


@contextmanager
def silent(rough_stack: RoughStack) -> Iterator[None]:
    """Every core process keeps its connections and says nothing more.

    None of those that an earlier test lost must come back meanwhile, and answer.
    """
    stack = rough_stack.stack

    def serving() -> list[int]:
        pids = stack.process_ids("core")
        all_serve = all(psutil.pid_exists(pid) and stack.is_serving(pid) for pid in pids)
        return pids if all_serve else []

    pids = wait_until(serving, what="every core process")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
