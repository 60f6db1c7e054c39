"""One round of everything: scenarios and floor in turn, so that whatever the machine does meets all alike."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import floor, load
from bench.floor import Pieces
from bench.installation import Installation
from bench.results import Sample
from bench.scenarios import Scenario

DELIVERY = "delivery"
DELIVERY_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """What to measure, for how long each time."""

    scenarios: Sequence[Scenario]
    connections: Sequence[int]
    rounds: int
    seconds: float
    with_delivery: bool


def measure(installation: Installation, pieces: Pieces, plan: Plan) -> Iterator[Sample]:
    """Workers rest but for deliveries: what they ask providers would be paid by whoever is measured."""
    installation.pause_workers()
    _put_off_account_checks(installation)
    for scenario in plan.scenarios:  # caches, connections, prepared statements
        scenario_sample(installation, scenario, max(plan.connections), 0.7)
    for _ in range(plan.rounds):
        for connections in plan.connections:
            yield floor.signature(plan.seconds / 3)
            yield floor.transaction(installation, connections, plan.seconds)
            yield pieces.empty_rpc(connections, plan.seconds / 2)
            yield pieces.empty_route(connections, plan.seconds / 2)
            for scenario in plan.scenarios:
                yield scenario_sample(installation, scenario, connections, plan.seconds)
            if plan.with_delivery and (sample := delivery_sample(installation)):
                yield sample


def scenario_sample(
    installation: Installation, scenario: Scenario, connections: int, seconds: float
) -> Sample:
    """Prepared first, then sent; every answer is checked."""
    requests = scenario.prepare(installation, int(scenario.most_per_second * seconds))
    before = installation.processor_seconds()
    result = load.run(
        installation.stack.http_port,
        requests,
        connections=connections,
        seconds=seconds,
        status=200,
        expected=scenario.expected,
    )
    after = installation.processor_seconds()
    count = max(1, result.right)
    spent = {name: 1000 * (after[name] - before[name]) / count for name in after}
    spent["load"] = 1000 * result.processor_seconds / count
    return Sample(
        scenario.name,
        connections,
        result.rate,
        result.milliseconds,
        result.wrong,
        spent,
        result.first_error,
    )


def delivery_sample(installation: Installation) -> Sample | None:
    """From a full outbox, which the notifications before it filled, to all delivered."""
    installation.rows(
        "UPDATE payment_orders SET ask_at = now() + interval '1 day' WHERE ask_at < now() + interval '1 hour'"
    )
    count = _undelivered(installation)
    if not count:
        return None
    before, started = installation.processor_seconds(), time.monotonic()
    installation.resume_workers()
    while (left := _undelivered(installation)) and _is_in_time(started):
        time.sleep(0.05)
    seconds = time.monotonic() - started
    installation.pause_workers()
    after = installation.processor_seconds()
    times = installation.rows(
        "SELECT duration_ms FROM delivery_attempts WHERE outcome = 'delivered' ORDER BY started_at DESC LIMIT %s",
        count,
    )
    spent = {name: 1000 * (after[name] - before[name]) / count for name in after}
    return Sample(
        DELIVERY, 0, (count - left) / seconds, [float(row[0]) for row in times], left, spent
    )


def _put_off_account_checks(installation: Installation) -> None:
    """New accounts are examined within a minute, which is in the middle of the first deliveries."""
    installation.rows("UPDATE channel_account_checks SET check_at = now() + interval '1 day'")


def _undelivered(installation: Installation) -> int:
    """By the index of those that wait: whoever looks often must not read the whole table."""
    return int(
        installation.rows(
            "SELECT count(*) FROM deliveries WHERE status IN ('PENDING', 'PROCESSING')"
        )[0][0]
    )


def _is_in_time(started: float) -> bool:
    return time.monotonic() - started < DELIVERY_PATIENCE_SECONDS
