"""The simulator itself: it replays, it sees what is wrong, it makes failures small, it remembers them."""

import json
from pathlib import Path
from unittest import mock

import pytest

from core_service.storage import payment_orders
from tests.simulation.chunk import SEEDS
from tests.simulation.schedule import Plan, run
from tests.simulation.shrink import shrunk
from tests.simulation.world import Ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.parametrize("seed", [1, 12, 22])
def test_a_seed_replays_exactly(simulated: Ground, seed: int) -> None:
    first, second = run(Plan(seed), simulated), run(Plan(seed), simulated)
    assert (first.trace, first.answers, first.struck) == (
        second.trace,
        second.answers,
        second.struck,
    )
    assert first.trace != run(Plan(seed + 1000), simulated).trace


def test_a_dropped_lock_is_seen_and_the_schedule_made_small(simulated: Ground) -> None:
    def without_lock(merchant_id: str, order_id: str) -> payment_orders.PaymentOrderRow | None:
        view = payment_orders.find_view(merchant_id, order_id)
        return view.order if view else None

    def without_locks(
        merchant_id: str, _version: int, order_id: str
    ) -> tuple[bool, payment_orders.PaymentOrderRow | None]:
        return True, without_lock(merchant_id, order_id)

    with (
        mock.patch.object(payment_orders, "lock", without_lock),
        mock.patch.object(payment_orders, "lock_at_version", without_locks),
    ):
        failing = next(
            (plan for plan in map(Plan, range(60)) if run(plan, simulated).findings), None
        )
        assert failing is not None, "60 schedules without a lock on orders, and nothing is seen"
        small = shrunk(failing, lambda plan: bool(run(plan, simulated).findings), 60)
    assert sum(small.steps.values()) < sum(failing.steps.values())


@pytest.mark.parametrize("kept", sorted(SEEDS.glob("*.json")), ids=lambda kept: kept.stem)
def test_schedules_that_failed_once(simulated: Ground, kept: Path) -> None:
    plan = json.loads(kept.read_text())
    outcome = run(Plan(plan["seed"], plan["steps"], tuple(plan["faults"])), simulated)
    assert outcome.findings == []
