"""Every process is replaced under load, one after the other: K08.

In the suite some of each kind are replaced, once. NOVAPAY_RESTARTS: how often all of them are, and
NOVAPAY_RESTART_REQUESTS: how many requests must have been answered by the end.
"""

import os
import secrets
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
import urllib3

from tests.journeys.database import rows
from tests.journeys.rough import RoughStack
from tests.proof_line import size, tell
from tests.stack import Stack, wait_until

RESTARTS = size("NOVAPAY_RESTARTS", 0)
REQUESTS = size("NOVAPAY_RESTART_REQUESTS", 0)
SOME = {"core": 2, "worker": 1, "edge": 1}
"""How many of each kind in the suite."""
CLIENTS = 8 if RESTARTS else 4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 200 * RESTARTS + REQUESTS // 5)]


def test_k08_rolling_restart_of_everything_fails_no_request(rough_stack: RoughStack) -> None:
    stack = rough_stack.stack
    rough_stack.until_healthy()
    restarts = max(1, RESTARTS)
    with load(rough_stack) as results:
        for number in range(1, restarts + 1):
            replace_everything(stack)
            wanted = max(number * REQUESTS // restarts, len(results) + 4 * CLIENTS)
            wait_until(
                lambda wanted=wanted: len(results) > wanted,  # type: ignore[misc]
                seconds=30 + REQUESTS // 5,
                what="requests after the last restart",
            )
    assert Counter(status for status, _ in results) == {"200": len(results)}, refusals(stack)
    names = [name for _, name in results]
    kept = rows(
        stack, "SELECT count(*) AS n FROM payment_orders WHERE external_order_id = ANY(%s)", [names]
    )
    assert kept == [{"n": len(names)}]
    tell("rolling restart", restarts=restarts, requests=len(results), failed=0)


def replace_everything(stack: Stack) -> None:
    for kind in ("core", "worker"):
        running = stack.process_ids(kind)
        for process_id in running if RESTARTS else running[: SOME[kind]]:
            replace_program(stack, kind, process_id)
    replace_edge_workers(stack)


def refusals(stack: Stack) -> Counter[str]:
    """What the log says about calls that went wrong."""
    said: Counter[str] = Counter()
    for record in stack.log_records():
        if record.get("event") == "core call failed":
            said[f"{record['grpc_code']} {record['grpc_details']}"] += 1
        elif record.get("event") == "rpc" and record["reason"] not in ("OK", ""):
            said[f"{record['method']} {record['reason']} {record['duration_ms']:.0f} ms"] += 1
    return said


@contextmanager
def load(rough_stack: RoughStack) -> Iterator[list[tuple[str, str]]]:
    """Merchants that create orders all the time, each on a connection of its own; status and external id of each."""
    results: list[tuple[str, str]] = []
    over = threading.Event()

    def keep_creating(number: int) -> None:
        channel = ("alipay.page", "wxpay.native")[number % 2]
        while not over.is_set():
            name = f"roll-{secrets.token_hex(8)}"
            body = {
                "channelCode": channel, "externalOrderId": name, "amount": "5.00", "subject": "roll"
            }  # fmt: skip
            try:
                answer = rough_stack.merchant.post(
                    "/api/payment-orders",
                    body,
                    idempotency_key=name,
                    headers={"connection": "close"},
                )
                told = "" if answer.status == 200 else answer.raw.decode()
                results.append((f"{answer.status}{told}", name))
            except urllib3.exceptions.HTTPError as failure:
                results.append((repr(failure), name))

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(keep_creating, number) for number in range(CLIENTS)]
        try:
            wait_until(lambda: len(results) > CLIENTS, what="load")
            yield results
        finally:
            over.set()
        for one in running:
            one.result()


def replace_program(stack: Stack, kind: str, process_id: int) -> None:
    """SIGTERM, and the supervisor starts it again; over when the new one is ready, or soon all would be starting."""
    before = set(stack.process_ids(kind))
    os.kill(process_id, signal.SIGTERM)

    def replaced() -> bool:
        new = set(stack.process_ids(kind)) - before
        return bool(new) and (kind != "core" or all(map(stack.is_serving, new)))

    wait_until(replaced, seconds=60, what=f"a new {kind}")


def replace_edge_workers(stack: Stack) -> None:
    """One worker of the edge after the other; its master starts a new one."""
    (master,) = stack.process_ids("edge")
    edge = psutil.Process(master)
    running = edge.children()
    for old in running if RESTARTS else running[: SOME["edge"]]:
        old.terminate()
        wait_until(
            lambda old=old: not old.is_running() and len(edge.children()) == 2,  # type: ignore[misc]
            seconds=60,
            what="a new worker of the edge",
        )
