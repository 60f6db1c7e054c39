"""Processes that end and a database that goes away, in the running stack: K06, K07, K09, K10, P20, A01."""

import http.client
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import psutil
import psycopg2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.journeys.database import rows
from tests.journeys.rough import RoughStack
from tests.payer import PROVIDERS
from tests.stack import Answer, Merchant, Stack, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

BACK_WITHIN_SECONDS = 5.0


def order_body(channel: str = "alipay.page") -> dict[str, Any]:
    return {
        "channelCode": channel,
        "externalOrderId": f"out-{secrets.token_hex(8)}",
        "amount": "11.00",
        "subject": "outage",
    }


def postmaster_id(stack: Stack) -> int:
    """The stack's own database server."""
    (pid_file,) = stack.data.resolve().rglob("postmaster.pid")
    return int(pid_file.read_text().splitlines()[0])


@contextmanager
def database_down(stack: Stack) -> Iterator[None]:
    """The server gets kill -9; nobody starts it again inside the block."""
    assert stack.process_id is not None
    os.kill(stack.process_id, signal.SIGSTOP)
    try:
        os.kill(postmaster_id(stack), signal.SIGKILL)
        yield
    finally:
        os.kill(stack.process_id, signal.SIGCONT)


def core_health(stack: Stack) -> Any:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        request = health_pb2.HealthCheckRequest(service="novapay.payments.v1.PaymentService")
        return health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status


def test_k09_k10_p20_database_killed(rough_stack: RoughStack) -> None:
    stack, merchant, payer = rough_stack.stack, rough_stack.merchant, rough_stack.payer
    rough_stack.until_healthy()
    orders = [merchant.create_order(channel).json["order"] for channel in PROVIDERS]
    paid_for = merchant.create_order("wxpay.native").json["order"]
    answers: list[tuple[str, Answer]] = []
    over = threading.Event()

    def keep_creating() -> None:
        while not over.wait(0.05):
            body = order_body()
            answers.append((body["externalOrderId"], merchant.post("/api/payment-orders", body)))

    with ThreadPoolExecutor(4) as pool:
        load = [pool.submit(keep_creating) for _ in range(4)]
        try:
            wait_until(lambda: len(answers) > 8, what="load")
            with database_down(stack):
                wait_until(lambda: is_out_of_service(stack), what="NOT_SERVING everywhere")
                for order in orders:  # P20: no success before the commit
                    told = payer.notify(order)
                    assert told.status == 503, told.raw
                payer.pay(paid_for, waitSeconds=5)
                down = merchant.post("/api/payment-orders", order_body())
                assert (down.status, down.code) == (503, "DATABASE_UNAVAILABLE")
            wait_until(lambda: accepts_connections(stack), what="the database")
            rough_stack.until_healthy(seconds=BACK_WITHIN_SECONDS)
        finally:
            over.set()
        for worker in load:
            worker.result()

    refused = {name: answer for name, answer in answers if answer.status == 503}
    assert refused
    assert {answer.code for answer in refused.values()} == {"DATABASE_UNAVAILABLE"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused.values())
    made = {
        row["external_order_id"]
        for row in rows(stack, "SELECT external_order_id FROM payment_orders")
    }
    assert not refused.keys() & made, "V18: refused, and there all the same"
    # Whose COMMIT was under way learns the truth when the database is back, or that nobody knew it in time.
    assert {answer.code for _, answer in answers if answer.status not in (200, 503)} <= {
        "PROVIDER_TIMEOUT"
    }
    assert {name for name, answer in answers if answer.status == 200} <= made
    assert merchant.post("/api/payment-orders", order_body()).status == 200
    for order in orders:
        assert merchant.order(order["id"])["status"] == "PENDING"
    wait_until(
        lambda: merchant.order(paid_for["id"])["status"] == "SUCCEEDED",
        seconds=60,
        what="the provider's repeat",
    )


def is_out_of_service(stack: Stack) -> bool:
    """Both health checks say so; asked often, because each process finds out by itself."""
    for _ in range(8):
        health = stack.http.request("GET", "/api/health")
        if (health.status, health.json["ok"]) != (503, False):
            return False
    return bool(core_health(stack) == health_pb2.HealthCheckResponse.NOT_SERVING)


def accepts_connections(stack: Stack) -> bool:
    try:
        return rows(stack, "SELECT 1 AS one") == [{"one": 1}]
    except psycopg2.OperationalError:
        return False


def test_p20_database_killed_inside_the_transaction(rough_stack: RoughStack) -> None:
    stack, merchant, payer = rough_stack.stack, rough_stack.merchant, rough_stack.payer
    rough_stack.until_healthy()
    order = merchant.create_order("wxpay.native").json["order"]
    with payer.scenario("wxpay.native", "notify_lost"):
        payer.pay(order)
    rough_stack.arm("n2", "delay:1.0")
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(payer.notify, order)
        rough_stack.until_struck("n2")
        os.kill(postmaster_id(stack), signal.SIGKILL)
        assert told.result().status == 503
    rough_stack.until_healthy()
    wait_until(
        lambda: merchant.order(order["id"], sync=True)["status"] == "SUCCEEDED",
        what="the truth by asking",
    )


def test_k06_one_edge_worker_killed(rough_stack: RoughStack) -> None:
    """Only requests on the killed worker's own connections fail; everybody else is served."""
    stack, merchant = rough_stack.stack, rough_stack.merchant
    rough_stack.until_healthy()
    (master,) = stack.process_ids("edge")
    workers = psutil.Process(master).children()
    assert len(workers) == 2
    calls = [SlowCall(stack, merchant, order_body("wxpay.native")) for _ in range(6)]
    with (
        rough_stack.payer.scenario("wxpay.native", "slow_answer", delaySeconds=5),
        ThreadPoolExecutor(6) as pool,
    ):
        running = [pool.submit(call.answer) for call in calls]
        wait_until(lambda: all(begun(rough_stack, call) for call in calls), what="the calls")
        assert not any(one.done() for one in running)
        victim = workers[0]
        its_ports = {c.raddr.port for c in victim.net_connections("tcp") if c.raddr}
        victim.kill()
        statuses = [one.result() for one in running]
    for call, status in zip(calls, statuses, strict=True):
        assert status == (None if call.port in its_ports else 200)
    for _ in range(10):
        assert merchant.post("/api/payment-orders", order_body()).status == 200
    wait_until(lambda: len(psutil.Process(master).children()) == 2, what="a new worker")


class SlowCall:
    """One request on a connection of its own, so that it is known which process serves it."""

    def __init__(self, stack: Stack, merchant: Merchant, body: dict[str, Any]) -> None:
        self.port = 0
        self.reference = body["externalOrderId"]
        self._merchant = merchant
        self._raw = json.dumps({"merchantCode": merchant.code, **body}).encode()
        self._connection = http.client.HTTPConnection("127.0.0.1", stack.http_port, timeout=20)

    def answer(self) -> int | None:
        """The status; None when the connection broke."""
        self._connection.connect()
        headers = self._merchant.sign(self._raw)
        self._connection.request("POST", "/api/payment-orders", self._raw, headers)
        self.port = self._connection.sock.getsockname()[1]
        try:
            return self._connection.getresponse().status
        except (http.client.HTTPException, OSError):
            return None
        finally:
            self._connection.close()


def begun(rough_stack: RoughStack, call: SlowCall) -> bool:
    """Whether the provider has got the order and is slow to answer."""
    known = rows(
        rough_stack.stack,
        "SELECT id FROM payment_orders WHERE external_order_id = %s",
        [call.reference],
    )
    return bool(known and rough_stack.payer.trade(known[0]["id"]))


def test_k07_a01_stop_and_start_again(rough_stack: RoughStack) -> None:
    stack, merchant, payer = rough_stack.stack, rough_stack.merchant, rough_stack.payer
    rough_stack.until_healthy()
    nonce, key, body = secrets.token_hex(12), secrets.token_hex(8), order_body()
    first = merchant.post("/api/payment-orders", body, nonce=nonce, idempotency_key=key)
    assert first.status == 200
    reference = order_body("wxpay.native")
    rule = {"scenario": "slow_effect", "match": {"operation": "create"}}
    payer.control("scenarios", rule)
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(merchant.post, "/api/payment-orders", reference)
        wait_until(in_flight.running, what="the request to begin")
        wait_until(lambda: no_rule_left(stack), what="the provider's call to begin")
        assert stack.stop() == 0
        assert in_flight.result().status == 200, in_flight.result().raw
    ended = {r["program"]: r for r in stack.log_records() if r.get("event") == "program_killed"}
    assert not ended

    stack.start()
    replayed = merchant.post("/api/payment-orders", body, nonce=nonce, idempotency_key=key)
    assert (replayed.status, replayed.code) == (401, "NONCE_REPLAYED")
    again = merchant.post("/api/payment-orders", body, idempotency_key=key)
    assert again.raw == first.raw
    assert again.headers["x-novapay-idempotency-status"] == "replayed"
    assert merchant.order(reference["externalOrderId"])["checkoutUrl"]


def no_rule_left(stack: Stack) -> bool:
    rules: list[Any] = stack.sandbox.request("GET", "/control/scenarios").json["rules"]
    return not rules
