"""Worker processes: killed at every step of a delivery, told to stop, left without a database."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core_service import workers
from core_service.storage.database import connection_scope, execute, fetch_one
from tests.core_service.workers.callback_steps import (
    attempts_of,
    configure,
    delivery_of,
    let_leases_end,
    outcomes_of,
    paid_order,
    status_of,
    wait_for,
)
from tests.core_service.workers.receiver import Behaviour, Receiver, answer, hold
from tests.proof_line import tell

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(__file__).with_name("worker_process.py")
SECONDS_TO_END = 30


@contextlib.contextmanager
def worker(
    database_url: str, *names: str, failpoints: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
        "NOVAPAY_ENV": "test",
        "NOVAPAY_FAILPOINTS": failpoints,
    }
    process = subprocess.Popen(
        [sys.executable, PROGRAM, database_url, *names], env=environment, cwd=ROOT
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("point", "requests", "outcomes"),
    [
        ("d1", 1, ["lost", "delivered"]),
        ("d2", 2, ["lost", "delivered"]),
        ("d3", 2, ["lost", "delivered"]),
        ("d4", 1, ["delivered"]),
    ],
)
def test_k03_kill_at_every_step_of_a_delivery(
    wired: str, shop: Receiver, point: str, requests: int, outcomes: list[str]
) -> None:
    _, order_id = paid_order(shop.url)
    failpoints = "" if point == "d2" else f"{point}=kill"
    with worker(wired, "callback_delivery", failpoints=failpoints) as first:
        if point == "d2":
            shop.behaviour = kill_instead_of_answering(first)
        assert first.wait(SECONDS_TO_END) == -signal.SIGKILL
    tell("kill", point=point)
    shop.behaviour = answer(200)
    let_leases_end()
    with worker(wired, "callback_delivery") as second:
        wait_for(lambda: status_of(order_id) == "DELIVERED")
        _, later = paid_order(shop.url)  # shows that the second worker is at work
        wait_for(lambda: status_of(later) == "DELIVERED")
        second.terminate()
        assert second.wait(SECONDS_TO_END) == 0
    assert outcomes_of(order_id) == outcomes
    numbers = [attempt["number"] for attempt in attempts_of(order_id)]
    assert numbers == list(range(1, len(outcomes) + 1))
    mine = [request for request in shop.received if request.json["order"]["id"] == order_id]
    assert len(mine) == requests
    assert len({(request.delivery_id, request.body) for request in mine}) == 1


def test_k07_sigterm_ends_what_is_in_flight_and_exits_0(wired: str, shop: Receiver) -> None:
    release = threading.Event()
    shop.behaviour = hold(release)
    _, order_id = paid_order(shop.url)
    with worker(wired) as process:  # all of them
        shop.wait_for(1)
        process.terminate()
        release.set()
        assert process.wait(SECONDS_TO_END) == 0
    assert delivery_of(order_id)["status"] == "DELIVERED"
    assert len(shop.received) == 1
    row = fetch_one("SELECT count(*) AS leases FROM deliveries WHERE lease_until IS NOT NULL")
    assert row == {"leases": 0}


def test_c12_several_processes_share_the_work(wired: str, shop: Receiver) -> None:
    orders = [paid_order(shop.url)[1] for _ in range(40)]
    with worker(wired, "callback_delivery") as one, worker(wired, "callback_delivery") as other:
        shop.wait_for(len(orders))
        wait_for(lambda: all(status_of(order_id) == "DELIVERED" for order_id in orders))
        # One may have done all of it before the other had even started.
        wait_for(lambda: handles_sigterm(one) and handles_sigterm(other))
        for process in (one, other):
            process.terminate()
            assert process.wait(SECONDS_TO_END) == 0
    assert len({request.delivery_id for request in shop.received}) == len(shop.received) == 40


def test_k09_a_worker_outlives_its_database_connections(wired: str, shop: Receiver) -> None:
    held = threading.Event()
    shop.behaviour = hold(held)
    configure(callback_timeout_ms=20_000)
    _, order_id = paid_order(shop.url)
    with worker(wired, "callback_delivery") as process:
        shop.wait_for(1)
        with connection_scope():
            execute(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )
        held.set()
        wait_for(lambda: status_of(order_id) == "DELIVERED")
        _, later = paid_order(shop.url)
        wait_for(lambda: status_of(later) == "DELIVERED")
        process.terminate()
        assert process.wait(SECONDS_TO_END) == 0
    assert outcomes_of(order_id) == ["delivered"]


def test_an_unknown_worker_is_named() -> None:
    with pytest.raises(ValueError, match="no worker named 'nonsense'"):
        workers.main(["nonsense"])


def kill_instead_of_answering(process: subprocess.Popen[bytes]) -> Behaviour:
    def behave(_handler: object) -> None:
        process.kill()
        process.wait()

    return behave


def handles_sigterm(process: subprocess.Popen[bytes]) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
