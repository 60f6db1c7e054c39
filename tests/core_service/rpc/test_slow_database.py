"""A database that answers late: the core sheds what it cannot begin, and is itself again as soon as the database is."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from core_service import metadata
from core_service.rpc.server import MAX_CALLS, THREADS
from core_service.storage import database
from novapay.payments.v1 import payment_service_pb2
from tests.core_service.far_database import far_database
from tests.core_service.rpc.running import (
    CREATE,
    TOKEN,
    channel_to,
    invoke,
    reason,
    running_server,
)
from tests.stack import wait_until

BURST = 3 * MAX_CALLS
STATEMENT_SECONDS = 0.2
SERVICE: Any = [(metadata.SERVICE_TOKEN, f"Bearer {TOKEN}")]
ORDER = payment_service_pb2.CreatePaymentOrderRequest(
    merchant_code="m", channel_code="c", external_order_id="e", amount="1", subject="s"
)


def test_o03_o05_a_slow_database_sheds_calls_instead_of_queueing_them(core_database: str) -> None:
    """While nothing comes back only those at work have sent a statement, and what is beyond the queue is refused."""
    answering = threading.Event()
    answering.set()

    def handle(_request: Any, _context: grpc.ServicerContext) -> Any:
        database.fetch_one("SELECT 1")
        return payment_service_pb2.CreatePaymentOrderResponse()

    with (
        far_database(core_database, max_connections=THREADS + 4) as network,
        running_server({CREATE: handle}) as server,
        channel_to(server) as channel,
        ThreadPoolExecutor(BURST) as pool,
    ):
        connect_all()
        network.delay = lambda: answering.wait(30) * STATEMENT_SECONDS
        answers: list[str] = []

        def ask() -> None:
            answers.append(reason(invoke(channel, CREATE, ORDER, SERVICE, timeout=30)[0]))

        answering.clear()
        sent = network.forwarded
        asked = [pool.submit(ask) for _ in range(BURST)]
        wait_until(lambda: answers.count("OVERLOADED") == BURST - MAX_CALLS, what="refusals")
        assert network.forwarded - sent <= THREADS
        answering.set()
        for one in asked:
            one.result()
        assert answers.count("OK") == MAX_CALLS
        assert reason(invoke(channel, CREATE, ORDER, SERVICE)[0]) == "OK"


def connect_all() -> None:
    """As many connections as can be in use at once, so that none is made while the database is slow."""
    together = threading.Barrier(THREADS)

    def connect(_number: int) -> None:
        with database.connection_scope():
            together.wait(20)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(connect, range(THREADS)))
