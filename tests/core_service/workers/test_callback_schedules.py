"""Random schedules of workers, deaths, time and an operator; the invariants after every step."""

import random
import time

import pytest

from core_service.application import callback_attempts, callbacks
from core_service.application.callback_attempts import Attempt
from core_service.calls import Call, Principal
from core_service.storage.database import fetch_all
from tests.core_service.workers.callback_steps import (
    announce,
    configure,
    let_leases_end,
    let_pauses_pass,
)
from tests.core_service.workers.receiver import Receiver, answer
from tests.factories import make_merchant, make_order

STEPS = 40


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("seed", range(8))
def test_v09_v10_v11_v14_hold_after_every_step(shop: Receiver, seed: int) -> None:
    chance = random.Random(seed)
    configure(callback_max_attempts=4)
    merchant = make_merchant(callback_base=shop.url)
    orders = [make_order(merchant, status="FAILED") for _ in range(3)]
    held: list[Attempt] = []

    def claim() -> None:
        held.extend(callback_attempts.claim_due(2))

    def send() -> None:
        if held:
            callback_attempts.send(held.pop(chance.randrange(len(held))))

    def die() -> None:
        held.clear()
        let_leases_end()

    def sleep_too_long() -> None:
        let_leases_end()  # what is held is still held, and sent late

    def retry() -> None:
        call = Call("test-request", Principal.OPERATOR, time.monotonic() + 10)
        callbacks.retry_now(call, chance.choice(orders))

    steps = [claim, claim, send, send, send, die, sleep_too_long, retry, let_pauses_pass]
    for order_id in orders:
        announce(order_id)
    for _ in range(STEPS):
        shop.behaviour = answer(chance.choice([200, 500, 500]))
        chance.choice(steps)()
        check(shop, merchant.notify_secret)
        announce(chance.choice(orders))


def check(shop: Receiver, secret: str) -> None:
    deliveries = {row["id"]: row for row in fetch_all("SELECT * FROM deliveries")}
    attempts = fetch_all("SELECT * FROM delivery_attempts ORDER BY delivery_id, number")
    assert len({row["order_id"] for row in deliveries.values()}) == len(deliveries) == 3
    for delivery in deliveries.values():
        mine = [row for row in attempts if row["delivery_id"] == delivery["id"]]
        outcomes = [row["outcome"] for row in mine]
        assert [row["number"] for row in mine] == list(range(1, delivery["attempt_count"] + 1))
        assert outcomes.count("lost") == delivery["lost_count"]
        assert outcomes.count(None) == (0 if delivery["lease_until"] is None else 1)
        assert None not in outcomes[:-1]
        assert (delivery["status"] == "DELIVERED") == ("delivered" in outcomes)
        assert (delivery["delivered_at"] is not None) == (delivery["status"] == "DELIVERED")
        if delivery["status"] == "FAILED":
            assert outcomes.count("failed") >= 4
    for request in shop.received:
        assert request.body == bytes(deliveries[request.delivery_id]["body"])
        assert request.is_signed_with(secret)
