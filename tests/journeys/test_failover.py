"""The primary database is lost under load and its synchronous standby takes over: K13, V17.

Sizes for `make prove`: NOVAPAY_FAILOVERS.
"""

import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.replicated_postgres import Pair
from tests.payer import Payer, sandbox_accounts
from tests.proof_line import size, tell
from tests.stack import Answer, Merchant, Stack, wait_until
from tests.stack_fixtures import open_shop

FAILOVERS = size("NOVAPAY_FAILOVERS", 1)
CLIENTS = 4
KNOWN_REFUSALS = {"DATABASE_UNAVAILABLE", "OVERLOADED", "PROVIDER_TIMEOUT"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 40 * FAILOVERS)]


@dataclass
class Load:
    """Merchants that create orders, close some of them and pay others, and what they were told."""

    merchant: Merchant
    payer: Payer
    statuses: dict[str, set[str]] = field(default_factory=dict)
    """Order id → what answers with 200 said about it."""
    unanswered: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Key and body of creates that got no 200."""
    paid: set[str] = field(default_factory=set)
    successes: int = 0
    refusals: set[str | None] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        channel = ("alipay.page", "wxpay.native")[number % 2]
        while not self.over.is_set():
            key = f"over-{secrets.token_hex(8)}"
            body = {
                "channelCode": channel, "externalOrderId": key, "amount": "5.00", "subject": "over"
            }  # fmt: skip
            if not self.create(key, body):
                self.unanswered.append((key, body))
                self.over.wait(0.05)

    def create(self, key: str, body: dict[str, str]) -> bool:
        answer = self.merchant.post("/api/payment-orders", body, idempotency_key=key)
        if not self.hear(answer):
            return False
        order = answer.json["order"]
        if secrets.randbelow(4) == 0:
            self.hear(self.merchant.post(f"/api/payment-orders/{order['id']}/close", {}))
        elif secrets.randbelow(8) == 0:
            self.payer.pay(order, waitSeconds=0)
            self.paid.add(order["id"])
        return True

    def hear(self, answer: Answer) -> bool:
        if answer.status != 200:
            self.refusals.add(answer.code)
            return False
        order = answer.json["order"]
        self.statuses.setdefault(order["id"], set()).add(order["status"])
        self.successes += 1
        return True


def test_k13_no_answered_write_is_lost_with_the_primary() -> None:
    with replicated_stack() as (stack, pair):
        merchant = open_shop(stack, sandbox_accounts(stack))[0]
        load = Load(merchant, Payer(stack, stack.accounts_of[merchant.code]))
        processes = running(stack)
        seconds = []
        with under(load):
            for number in range(FAILOVERS):
                if number:
                    pair.replace_lost()
                so_far = load.successes
                wait_until(lambda n=so_far: load.successes > n + 5 * CLIENTS, what="load")  # type: ignore[misc]
                seconds.append(fail_over(pair, load))
                assert_kept(pair, load)
        assert load.refusals <= KNOWN_REFUSALS
        finish(pair, load)
        assert_kept(pair, load)
        assert running(stack) == processes
        tell(
            "failover", failovers=FAILOVERS, answered_writes=load.successes, lost=0,
            back_after_seconds=[round(one, 2) for one in seconds],
        )  # fmt: skip
        assert stack.internal_errors() == []


def fail_over(pair: Pair, load: Load) -> float:
    """Loses the primary; the seconds until a merchant's write is answered 200 again."""
    began = time.monotonic()
    pair.fail_over()
    so_far = load.successes
    wait_until(lambda: load.successes > so_far, seconds=60, what="writes on the new primary")
    return time.monotonic() - began


def assert_kept(pair: Pair, load: Load) -> None:
    """Whatever an answer said stands, or has gone on from there."""
    told = {order: set(statuses) for order, statuses in list(load.statuses.items())}
    kept = {
        row["id"]: row["status"]
        for row in pair.primary.rows(
            "SELECT id, status FROM payment_orders WHERE id = ANY(%s)", [list(told)]
        )
    }
    assert told.keys() - kept.keys() == set()
    for order, statuses in told.items():
        if "CANCELLED" in statuses:
            assert kept[order] in ("CANCELLED", "SUCCEEDED")


def finish(pair: Pair, load: Load) -> None:
    """What got no answer is finished by the same request; who paid is told so in the end."""
    # As if the leases of the answers that were lost had run out.
    with pair.primary.connected() as cursor:
        cursor.execute("UPDATE idempotency_keys SET lease_until = now() WHERE outcome IS NULL")
    for key, body in load.unanswered:
        wait_until(
            lambda key=key, body=body: load.create(key, body),  # type: ignore[misc]
            seconds=40,
            what="an answer at last",
        )
    for order in load.paid:
        wait_until(partial(is_paid, load, order), seconds=60, what="a payment")


def is_paid(load: Load, order: str) -> bool:
    """Whether NovaPay says so; a core that has not found the new primary yet answers 503, and is asked again."""
    answer = load.merchant.post(f"/api/payment-orders/{order}", {"sync": True})
    if answer.status == 503:
        assert answer.code in KNOWN_REFUSALS
        return False
    assert answer.status == 200, answer.raw
    return bool(answer.json["order"]["status"] == "SUCCEEDED")


def running(stack: Stack) -> set[int]:
    """NovaPay's own processes."""
    return {pid for kind in ("core", "worker", "edge") for pid in stack.process_ids(kind)}


@contextmanager
def under(load: Load) -> Iterator[None]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.run, number) for number in range(CLIENTS)]
        try:
            yield
        finally:
            load.over.set()
        for one in clients:
            one.result()


@contextmanager
def replicated_stack() -> Iterator[tuple[Stack, Pair]]:
    """A stack on two database servers."""
    with tempfile.TemporaryDirectory(prefix="novapay-pair-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the account that runs PostgreSQL for root must get through
        pair = Pair(Path(folder))
        try:
            stack = Stack(
                Path(folder),
                DATABASE_URL=pair.url,
                NOVAPAY_CORE_PROCESSES="2",
                NOVAPAY_WORKER_PROCESSES="1",
                NOVAPAY_EDGE_PROCESSES="1",
            ).start()
            try:
                yield stack, pair
            finally:
                assert stack.stop() == 0, stack.log.read_text()[-4000:]
        finally:
            pair.stop()
