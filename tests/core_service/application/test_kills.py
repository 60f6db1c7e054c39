"""kill -9 of the core at every point of create, notify, refund, close, expiry and query (K01, K02, K04, K05).

The killed process is a real one on the real database; the provider's books outlive it. Then the request comes
again with the same key and a fresh nonce, the sweeps run, and nothing may be out of order.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core_service.application import provider_asking
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Answered,
    Shop,
    count,
    end_leases,
    let_expire,
    make_due,
    refusal_of,
)
from tests.invariants import Told, broken_invariants
from tests.proof_line import tell

pytestmark = pytest.mark.slow  # a process for each test

ROOT = Path(__file__).parents[3]

Kill = Callable[..., None]


@pytest.fixture(scope="module")
def processes() -> Iterator[subprocess.Popen[str]]:
    """Forks the processes that are killed."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.core_service.money_process"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as running:  # fmt: skip
        yield running
        assert running.stdin is not None
        running.stdin.close()


@pytest.fixture
def kill(shop: Shop, money_database: str, tmp_path: Path, processes: subprocess.Popen[str]) -> Kill:
    """Runs an action in a process that dies at a failpoint, or between a provider's effect and its answer."""

    def run(point: str, action: str, **arguments: Any) -> None:
        at_provider = point.removeprefix("provider:") if point.startswith("provider:") else None
        job = {
            "url": money_database, "merchant": shop.merchant_id, "books": str(tmp_path / "provider.sqlite"),
            "action": action, "arguments": arguments, "kill_at_provider": at_provider,
            "failpoints": "" if at_provider else f"{point}=kill",
        }  # fmt: skip
        assert processes.stdin is not None
        assert processes.stdout is not None
        processes.stdin.write(f"{json.dumps(job)}\n")
        processes.stdin.flush()
        assert json.loads(processes.stdout.readline()) == {"exit_status": -signal.SIGKILL}
        tell("kill", point=point)

    return run


def calm(shop: Shop, told: Told | None = None) -> None:
    """Leases run out, everything due is asked about until nothing is, and the invariants hold."""
    for _ in range(3):
        make_due()
        provider_asking.ask_due_orders(10)
        provider_asking.ask_due_refunds(10)
    assert broken_invariants(shop.books, told) == []


def again(ask: Callable[[], Answered]) -> Answered:
    """The same request until its lease has run out and it is answered, and once more for the replay."""
    assert refusal_of(ask) in ("OK", "IDEMPOTENCY_IN_PROGRESS")
    end_leases()
    answer = ask()
    assert ask().response == answer.response
    return answer


@pytest.mark.parametrize("point", ["c1", "c2", "c3", "provider:create", "c4", "c5"])
def test_k01_create_over_a_call(shop: Shop, kill: Kill, point: str) -> None:
    kill(point, "create", channel=REMOTE, external="a-1", key="k")
    answer = again(lambda: shop.ask_create(REMOTE, "a-1", call=shop.call("k", seconds=2.5)))
    assert (count("payment_orders"), count("idempotency_keys")) == (1, 1)
    order = shop.query("a-1", sync=False)
    assert order.checkout_url is not None
    assert [number for (number,) in shop.books.rows("SELECT order_id FROM payments")] == [order.id]
    assert shop.books.pay(order.id)
    told = Told(orders=[(order.id, "PENDING")], keyed=[(("create", "k"), answer.response)])
    calm(shop, told)
    assert shop.order(order.id).status == "SUCCEEDED"


@pytest.mark.parametrize("point", ["c1", "c5"])
def test_k01_create_that_signs_locally(shop: Shop, kill: Kill, point: str) -> None:
    kill(point, "create", channel=LOCAL, external="a-1", key="k")
    assert count("payment_orders") == count("idempotency_keys") == (0 if point == "c1" else 1)
    again(lambda: shop.ask_create(LOCAL, "a-1", key="k"))
    assert count("payment_orders") == 1
    calm(shop)


def test_k01_a_create_that_nobody_repeats_ends_with_its_expiry(shop: Shop, kill: Kill) -> None:
    kill("provider:create", "create", channel=REMOTE, external="a-1")
    order = shop.query("a-1", sync=False)
    let_expire(order.id)
    calm(shop)
    assert shop.order(order.id).status == "CANCELLED"


@pytest.mark.parametrize("point", ["n1", "n2", "n3"])
@pytest.mark.parametrize("channel", [LOCAL, REMOTE])
def test_k02_notify(shop: Shop, kill: Kill, channel: str, point: str) -> None:
    order = shop.create(channel)
    shop.books.open_payment(order.id, order.amount_fen)
    assert shop.books.pay(order.id)
    kill(point, "notify", order=order.id)
    assert shop.order(order.id).status == ("SUCCEEDED" if point == "n3" else "PENDING")
    assert shop.notify(order).status == 200
    calm(shop, Told(payments_acknowledged=[order.id]))
    assert (count("journals"), count("deliveries")) == (1, 1)


@pytest.mark.parametrize("point", ["r1", "r2", "provider:refund", "r3", "r4"])
@pytest.mark.parametrize("is_repeated", [True, False])
def test_k04_refund(shop: Shop, kill: Kill, point: str, *, is_repeated: bool) -> None:
    order = shop.paid()
    kill(point, "refund", reference=order.id, amount="10.00", external="r-1", key="k")
    assert shop.order(order.id).refund_reserved_fen == 1000
    assert refusal_of(lambda: shop.ask_refund(order.id, "20.01")) == "REFUND_AMOUNT_EXCEEDED"
    if is_repeated:
        again(lambda: shop.ask_refund(order.id, "10.00", "r-1", key="k"))
    calm(shop)
    assert list(shop.books.refunded().values()) == [1000]
    assert (count("refunds"), shop.order(order.id).refunded_fen) == (1, 1000)


@pytest.mark.parametrize("point", ["x1", "x2", "provider:close", "x3", "x4"])
@pytest.mark.parametrize("channel", [LOCAL, REMOTE])
def test_k05_close(shop: Shop, kill: Kill, channel: str, point: str) -> None:
    order = shop.create(channel)
    kill(point, "close", reference=order.id, key="k")
    again(lambda: shop.ask_close(order.id, key="k"))
    calm(shop, Told(orders=[(order.id, "CANCELLED")]))
    assert shop.order(order.id).status == "CANCELLED"
    assert count("deliveries") == 1


@pytest.mark.parametrize("point", ["x1", "x2"])
def test_k05_close_that_was_never_sent_and_a_payer_who_pays(
    shop: Shop, kill: Kill, point: str
) -> None:
    order = shop.create(REMOTE)
    kill(point, "close", reference=order.id, key="k")
    assert shop.books.pay(order.id)
    end_leases()
    assert refusal_of(lambda: shop.ask_close(order.id, key="k")) == "ORDER_ALREADY_PAID"
    calm(shop)


@pytest.mark.parametrize("point", ["e1", "e2", "provider:close", "e3", "e4"])
def test_k05_expiry(shop: Shop, kill: Kill, point: str) -> None:
    order = shop.create(REMOTE)
    let_expire(order.id)
    kill(point, "sweep")
    calm(shop)
    assert shop.order(order.id).status == "CANCELLED"


@pytest.mark.parametrize("point", ["e1", "e2"])
def test_k05_expiry_of_a_paid_order(shop: Shop, kill: Kill, point: str) -> None:
    order = shop.create(REMOTE)
    let_expire(order.id)
    assert shop.books.pay(order.id)
    kill(point, "sweep")
    assert shop.order(order.id).status == "PENDING"
    calm(shop)
    assert shop.order(order.id).status == "SUCCEEDED"


@pytest.mark.parametrize("point", ["q1", "provider:query", "q2"])
def test_k05_query(shop: Shop, kill: Kill, point: str) -> None:
    order = shop.create(REMOTE)
    assert shop.books.pay(order.id)
    kill(point, "query", order=order.id)
    assert shop.order(order.id).status == "PENDING"
    calm(shop)
    assert shop.order(order.id).status == "SUCCEEDED"
