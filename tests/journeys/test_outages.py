"""Processes that end and a database that goes away, in the running stack: K06, K07, K09, K10, P20, A01."""

import http.client
import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

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
    """kill -9 of the server; nobody starts it again inside the block."""
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
    answers: list[tuple[Answer, float]] = []
    over = threading.Event()

    def keep_creating() -> None:
        while not over.wait(0.05):
            began = time.monotonic()
            answer = merchant.post("/api/payment-orders", order_body())
            answers.append((answer, time.monotonic() - began))

    with ThreadPoolExecutor(4) as pool:
        load = [pool.submit(keep_creating) for _ in range(4)]
        wait_until(lambda: len(answers) > 8, what="load")
        with database_down(stack):
            wait_until(
                lambda: core_health(stack) == health_pb2.HealthCheckResponse.NOT_SERVING,
                what="NOT_SERVING",
            )
            health = stack.http.request("GET", "/api/health")
            assert (health.status, health.json["ok"]) == (503, False)
            for order in orders:  # P20: no success before the commit
                told = payer.notify(order)
                assert told.status == 503, told.raw
                assert told.raw != b"success"
            payer.pay(paid_for, waitSeconds=5)
            down = merchant.post("/api/payment-orders", order_body())
            assert (down.status, down.code) == (503, "DATABASE_UNAVAILABLE")
            assert int(down.headers["retry-after"]) >= 1
        postmaster = wait_until(lambda: running_postmaster(stack), what="the database")
        assert postmaster
        wait_until(
            lambda: merchant.post("/api/payment-orders", order_body()).status == 200,
            seconds=BACK_WITHIN_SECONDS,
            what="the service to be back",
        )
        rough_stack.until_healthy(seconds=BACK_WITHIN_SECONDS)
        over.set()
        for worker in load:
            worker.result()

    refused = [answer for answer, _ in answers if answer.status != 200]
    assert refused
    assert {(answer.status, answer.code) for answer in refused} == {(503, "DATABASE_UNAVAILABLE")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert merchant.post("/api/payment-orders", order_body()).status == 200
    for order in orders:
        assert merchant.order(order["id"])["status"] == "PENDING"
    wait_until(
        lambda: merchant.order(paid_for["id"])["status"] == "SUCCEEDED",
        seconds=60,
        what="the provider's repeat",
    )


def running_postmaster(stack: Stack) -> bool:
    """Whether a server accepts connections: its pid file says ready in the last line."""
    files: list[Path] = list(stack.data.resolve().rglob("postmaster.pid"))
    if not files:
        return False
    lines = files[0].read_text().splitlines()
    return len(lines) >= 8 and lines[7].strip() == "ready" and psutil.pid_exists(int(lines[0]))


def test_p20_database_killed_inside_the_transaction(rough_stack: RoughStack) -> None:
    stack, merchant, payer = rough_stack.stack, rough_stack.merchant, rough_stack.payer
    rough_stack.until_healthy()
    order = merchant.create_order("wxpay.native").json["order"]
    with payer.scenario("wxpay.native", "notify_lost"):
        payer.pay(order)
    rough_stack.arm("n2", "pause:1.0")
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
    body = {"scenario": "slow_answer", "match": {"operation": "create"}, "times": None}
    assert stack.sandbox.post_json("/control/scenarios", body).status == 201
    calls = [SlowCall(stack, merchant, order_body("wxpay.native")) for _ in range(8)]
    try:
        with ThreadPoolExecutor(8) as pool:
            running = [pool.submit(call.answer) for call in calls]
            wait_until(lambda: all(call.port for call in calls), what="eight connections")
            time_to_arrive = wait_until(lambda: begun(stack, calls), what="eight provider calls")
            assert time_to_arrive
            victim = workers[0]
            its_ports = {c.raddr.port for c in victim.net_connections("tcp") if c.raddr}
            victim.kill()
            statuses = [one.result() for one in running]
    finally:
        stack.sandbox.request("DELETE", "/control/scenarios")
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


def begun(stack: Stack, calls: list[SlowCall]) -> bool:
    """Whether every order has reached the provider."""
    known = {
        trade["subject"]
        for trade in stack.sandbox.request("GET", "/control/books").json["trades"][-len(calls) :]
    }
    return known == {"outage"}


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


