"""Stopping and losing edge processes."""

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from novapay.payments.v1 import payment_service_pb2 as payments
from tests.rest_edge.conftest import Call, Edge, RecordingCore, running_edge, wait_until

BODY = {"merchantCode": "acme"}


def workers(edge: Edge) -> list[int]:
    """Process ids of gunicorn's workers."""
    pid = edge.process.pid
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_k07_sigterm_lets_requests_in_flight_end(core: RecordingCore, tmp_path: Path) -> None:
    release = threading.Event()

    def slow(_call: Call, _context: Any) -> Any:
        release.wait(10)
        return payments.CreatePaymentOrderResponse(created=True)

    core.answer("CreatePaymentOrder", slow)
    with (
        running_edge(tmp_path, NOVAPAY_GRPC_BIND=core.address) as edge,
        ThreadPoolExecutor() as pool,
    ):
        running = pool.submit(edge.request, "POST", "/api/payment-orders", BODY)
        wait_until(lambda: bool(core.calls))
        edge.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Worker shutting down" in edge.log.read_text())
        release.set()
        assert (200, True) == (running.result().status, running.result().json["created"])
        assert 0 == edge.process.wait(20)


def test_k06_killed_process_is_replaced(core: RecordingCore, tmp_path: Path) -> None:
    with running_edge(tmp_path, NOVAPAY_GRPC_BIND=core.address, NOVAPAY_EDGE_PROCESSES="2") as edge:
        # A process that dies while it starts would never have said that it listens.
        wait_until(lambda: edge.log.read_text().count("ASGI server listening") == 2)
        os.kill(workers(edge)[0], signal.SIGKILL)
        assert 200 == edge.request("POST", "/api/payment-orders", BODY).status
        wait_until(lambda: edge.log.read_text().count("ASGI server listening") == 3)
        assert 2 == len(workers(edge))
        assert 200 == edge.request("POST", "/api/payment-orders", BODY).status


def test_k07_idle_connections_do_not_hold_up_the_stop(core: RecordingCore, tmp_path: Path) -> None:
    """One that was used and one that never was; nothing has to be cut off at the end."""
    with (
        running_edge(tmp_path, NOVAPAY_GRPC_BIND=core.address) as edge,
        socket.create_connection(("127.0.0.1", edge.port), timeout=30) as used,
        socket.create_connection(("127.0.0.1", edge.port), timeout=30) as unused,
    ):
        used.sendall(b"GET /api/channels HTTP/1.1\r\nHost: x\r\n\r\n")
        assert used.recv(65536).startswith(b"HTTP/1.1 ")
        edge.process.send_signal(signal.SIGTERM)
        assert [used.recv(1), unused.recv(1)] == [b"", b""]
        assert 0 == edge.process.wait(20)
        assert "Forcing close" not in edge.log.read_text()
