"""Fixtures of the journeys: a merchant's callback endpoint and a stack that may be handled roughly."""

import base64
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from tests.journeys.rough import RoughStack
from tests.payer import Payer, sandbox_accounts
from tests.stack import ROOT, Merchant, Receiver, Stack
from tests.stack_fixtures import open_shop

WATCH = Path(__file__).parent / "watch"
NOTIFY_SECRET = "whsec_" + base64.b64encode(b"a test secret of thirty-two byte").decode()
T = TypeVar("T")
R = TypeVar("R")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where the merchant of a test is told."""
    with Receiver() as running:
        yield running


@pytest.fixture(scope="session")
def notify_secret(stack: Stack, merchant: Merchant) -> str:
    """The shared merchant's secret for callbacks."""
    stack.cli("merchants", "set", "--code", merchant.code, "--notify-secret", stdin=NOTIFY_SECRET)
    return NOTIFY_SECRET


@pytest.fixture(scope="session")
def at_once() -> Callable[[Callable[[T], R], Sequence[T]], list[R]]:
    """Calls a function with each of the arguments, all in threads of their own."""

    def run(work: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(max(1, len(arguments))) as pool:
            return list(pool.map(work, arguments))

    return run


@pytest.fixture(scope="session")
def rough_stack() -> Iterator[RoughStack]:
    """A stack of its own whose processes and database the tests kill."""
    with (
        tempfile.TemporaryDirectory(prefix="novapay-rough-", ignore_cleanup_errors=True) as folder,
        Receiver() as receiver,
    ):
        Path(folder).chmod(0o711)  # the account that runs PostgreSQL for root must get through
        points = Path(folder) / "failpoints"
        points.mkdir()
        connections = Path(folder) / "connections"
        stack = Stack(
            Path(folder),
            PYTHONPATH=os.pathsep.join(map(str, (WATCH, ROOT, ROOT / "generated"))),
            WATCHED_CONNECTIONS=str(connections),
            NOVAPAY_FAILPOINT_DIR=str(points),
            # Enough of each that one which was killed is not missed while it starts again.
            NOVAPAY_CORE_PROCESSES="6",
            NOVAPAY_WORKER_PROCESSES="3",
            NOVAPAY_EDGE_PROCESSES="2",
            CALLBACK_RETRY_INTERVAL_SECONDS="1",
            CALLBACK_TIMEOUT_MS="3000",
            IDEMPOTENCY_LEASE_SECONDS="16",
        ).start()
        try:
            stack.sandbox.post_json("/control/clock", {"timeFactor": 0.02})
            merchant = open_shop(stack, sandbox_accounts(stack))[0]
            stack.cli(
                "merchants", "set", "--code", merchant.code, "--notify-secret", stdin=NOTIFY_SECRET
            )
            payer = Payer(stack, stack.accounts_of[merchant.code])
            yield RoughStack(stack, merchant, payer, receiver, NOTIFY_SECRET, points, connections)
        finally:
            assert stack.stop() == 0, stack.log.read_text()[-4000:]
            assert stack.internal_errors() == []
