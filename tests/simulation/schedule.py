"""One schedule from its seed to its findings."""

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, Protocol

import structlog

from core_service.errors import CoreError, Family
from core_service.storage.database import connection_scope
from tests.invariants import broken_invariants
from tests.simulation.endings import broken_endings
from tests.simulation.faults import RATES, Faults
from tests.simulation.hooks import Clock, Hooks
from tests.simulation.merchants import MerchantClient
from tests.simulation.others import Operator, Payer, ProviderPost, Time, Worker, make_quiet
from tests.simulation.scheduler import Actor, Crash, Scheduler
from tests.simulation.world import Ground, World

ACTORS: dict[str, tuple[Callable[[World, Random], "Steps"], int]] = {
    "merchant A, first": (lambda world, chance: MerchantClient(world, "A", chance), 8),
    "merchant A, second": (lambda world, chance: MerchantClient(world, "A", chance), 8),
    "merchant B": (lambda world, chance: MerchantClient(world, "B", chance), 6),
    "payer": (Payer, 5),
    "provider": (ProviderPost, 8),
    "operator": (Operator, 2),
    "worker 1": (Worker, 6),
    "worker 2": (Worker, 6),
    "time": (Time, 5),
}


TRIES_FOR_A_STEP = 10
"""How often somebody looks for something to do before that counts as a thing done."""


class Steps(Protocol):
    """Somebody who does one thing after another."""

    def step(self) -> bool:
        """Does one thing, decided by chance; False: there was nothing to do."""


@dataclass(frozen=True)
class Plan:
    """What a schedule is made from; the same plan is the same schedule."""

    seed: int
    steps: dict[str, int] = field(
        default_factory=lambda: {name: n for name, (_, n) in ACTORS.items()}
    )
    """Actor → how many things it does."""
    faults: tuple[str, ...] = tuple(RATES)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Outcome:
    """What came of a schedule."""

    plan: Plan
    findings: list[str]
    struck: Counter[str]
    trace: str
    requests: int
    waits: int
    answers: Counter[str]


def run(plan: Plan, ground: Ground) -> Outcome:
    """Runs a schedule on emptied tables, then lets everything become quiet and looks."""
    ground.fresh()
    chance = Random(plan.seed)
    faults = Faults(Random(chance.random()), frozenset(plan.faults))
    clock = ground.window.clock = Clock()
    scheduler = Scheduler(Random(chance.random()), ground.monitor)
    hooks = Hooks(scheduler, faults, clock)
    world = World(ground, chance, faults, clock, hooks, scheduler)
    random.seed(plan.seed)  # what jitters and is not told how
    with _quiet_logs(), hooks.installed(), connection_scope():
        scheduler.run([_actor(world, name, plan) for name in ACTORS if plan.steps.get(name)])
        struck = Counter(faults.struck)
        at_once = broken_invariants()
        make_quiet(world)
        _ask_again(world)
        make_quiet(world)
        findings = [*world.findings, *at_once, *broken_invariants(world.books, world.told)]
        findings += broken_endings(world)
    answers = Counter(entry.outcome or "nobody knows" for entry in world.history)
    return Outcome(
        plan, sorted(set(findings)), struck, scheduler.trace, len(world.history), scheduler.waits, answers
    )  # fmt: skip


def _actor(world: World, name: str, plan: Plan) -> Actor:
    make, _ = ACTORS[name]
    steps = make(world, Random(f"{plan.seed} {name}"))

    def work(actor: Actor) -> None:
        done = 0
        for _ in range(plan.steps[name] * TRIES_FOR_A_STEP):
            if done == plan.steps[name]:
                break
            actor.is_dead = False
            try:
                world.hooks.point("statement", "begins")
                with connection_scope():
                    done += steps.step()
            except Crash:
                done += 1
            except CoreError as refusal:
                if refusal.family is not Family.UNAVAILABLE:
                    world.findings.append(f"V24 {name}: {refusal!r}")
            except Exception as failure:  # noqa: BLE001 (that is what is looked for)
                world.findings.append(f"V24 {name}: {failure!r}")

    return Actor(name, work, Random(f"{plan.seed} {name}"))


def _ask_again(world: World) -> None:
    """Every merchant sends each of its requests once more, with a fresh nonce; each must get a final answer (V12).

    After the lease of whoever died with a key in its hands: until then the answer is that it is in progress.
    """
    (leases,) = world.ground.window.rows(
        "SELECT extract(epoch FROM max(lease_until) - now()) AS seconds FROM idempotency_keys WHERE outcome IS NULL"
    )
    world.clock.advance(max(0.0, float(leases["seconds"] or 0)) + 1.0)
    asked = {repr(entry.request): entry.request for entry in world.history}
    clients = {
        name: MerchantClient(world, name, Random(f"{world.chance.random()} again"))
        for name in world.ground.merchants
    }
    for request in asked.values():
        clients[request.merchant].send(request)
        entry = world.history[-1]
        if entry.outcome in (
            "IDEMPOTENCY_IN_PROGRESS",
            "OVERLOADED",
            "DATABASE_UNAVAILABLE",
            "PROVIDER_TIMEOUT",
        ):
            world.findings.append(f"V12 {request} still gets {entry.outcome}")


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """What workers log about faults that were made on purpose."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)
