"""Load for a long time: `python -m bench.soak MINUTES [--share 0.8] [--faults]`. Only PostgreSQL's files may grow.

Finds the peak rate of requests by which orders are created, asked about and paid, over 32 connections with workers
running, and goes on at a share of it. `--faults` breaks one request of a hundred: a wrong signature, a forged
notification, a provider that fails, a connection that is cut. What each answer must be is known, and every payment
must have been told to its merchant.

Says on standard error how each minute went (each tenth of a short run), prints one JSON object, and exits with 1 when
a bound is broken: no error; memory of edge, core and workers within 5 % of their first minute; no more descriptors
and database connections than then; without faults, p99 within three times that of one connection by itself.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.installation import Installation, installation, temporary_folder
from bench.processor import tree_descriptors, tree_resident_bytes
from bench.stories import BROKEN, Client, Stories, client, in_turn, paced

CONNECTIONS = 32
GROUPS = ("edge", "core", "worker")
MOST_MEMORY, LONGEST_P99 = 1.05, 3.0
A_FEW = 5
"""Descriptors or connections that a pool may open late, when it needs them; what leaks does not stop there."""
LONGEST_PERIOD_SECONDS = 60.0
SAMPLES_PER_PERIOD = 12
SHORTEST_PAUSE_SECONDS = 0.5
DELIVERY_PATIENCE_SECONDS = 60.0
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """What edge, core and workers hold at one moment."""

    memory: dict[str, int]
    """Bytes."""
    descriptors: dict[str, int]
    connections: int
    """Of all of them to the database."""


@dataclass
class Period:
    """A minute, or the tenth of a short run."""

    samples: list[Sample] = field(default_factory=list)

    def memory(self, group: str) -> float:
        """Megabytes, in the middle of what was seen."""
        return statistics.median(one.memory[group] for one in self.samples) / MEGABYTE

    def descriptors(self, group: str) -> list[int]:
        return [one.descriptors[group] for one in self.samples]

    def connections(self) -> list[int]:
        return [one.connections for one in self.samples]


@dataclass(frozen=True)
class Soaked:
    """A whole run; times in milliseconds, rates in requests a second."""

    peak: float
    unloaded: Client
    soaked: Client
    faults: int
    seconds: float
    periods: list[Period]


async def soak(running: Installation, seconds: float, share: float, *, with_faults: bool) -> Soaked:
    """The peak, the time of a lonely request, and then the load itself."""
    port = running.stack.http_port
    stories = Stories(running.shops, with_faults=False)
    period = min(LONGEST_PERIOD_SECONDS, seconds / 10)
    stretch = min(10.0, period)
    async with client(port, CONNECTIONS) as first:  # caches, connections, prepared statements
        await in_turn(first, stories, at_once=CONNECTIONS, seconds=stretch)
    async with client(port, 1) as unloaded:
        await in_turn(unloaded, stories, at_once=1, seconds=stretch)
    async with client(port, CONNECTIONS) as full:
        peak = await in_turn(full, stories, at_once=CONNECTIONS, seconds=stretch)
    await asyncio.to_thread(undelivered, running)
    groups = {name: running.groups()[name] for name in GROUPS}
    stories = Stories(running.shops, with_faults=with_faults)
    async with client(port, CONNECTIONS) as soaked:
        await paced(soaked, stories, rate=share * peak, seconds=period)
    periods: list[Period] = []
    began = time.monotonic()
    async with client(port, CONNECTIONS) as soaked:
        watching = asyncio.create_task(watch(running, groups, soaked, periods, period))
        await paced(soaked, stories, rate=share * peak, seconds=seconds)
        spent = time.monotonic() - began
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return Soaked(peak, unloaded, soaked, stories.faults, spent, periods)


async def watch(
    running: Installation,
    groups: dict[str, list[int]],
    soaked: Client,
    periods: list[Period],
    seconds: float,
) -> None:
    """Fill the periods, until cancelled; a last one that is not whole is left out."""
    pause = max(SHORTEST_PAUSE_SECONDS, seconds / SAMPLES_PER_PERIOD)
    while True:
        period, answered, end = Period(), len(soaked.milliseconds), time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(pause)
            period.samples.append(await asyncio.to_thread(sample, running, groups))
        periods.append(period)
        last = period.samples[-1]
        told = ", ".join(
            f"{name} {period.memory(name):.1f} MB {last.descriptors[name]} fd" for name in GROUPS
        )
        sys.stderr.write(
            f"{len(periods):>3}  {soaked.requests} requests, {soaked.wrong} errors, "
            f"p99 {p99(soaked.milliseconds[answered:]):.0f} ms, {told}, {last.connections} connections\n"
        )


def sample(running: Installation, groups: dict[str, list[int]]) -> Sample:
    """Now."""
    rows = running.rows("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'novapay'")
    return Sample(
        {name: tree_resident_bytes(pids) for name, pids in groups.items()},
        {name: tree_descriptors(pids) for name, pids in groups.items()},
        int(rows[0][0]),
    )


def undelivered(running: Installation) -> int:
    """Payments that their merchants were not told in time."""
    end = time.monotonic() + DELIVERY_PATIENCE_SECONDS
    sql = "SELECT count(*) FROM deliveries WHERE status <> 'DELIVERED'"
    while (left := int(running.rows(sql)[0][0])) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def troubles(running: Installation, started: dict[str, list[int]]) -> dict[str, int]:
    """What must not be, beside wrong answers."""
    made = running.rows(
        "SELECT count(*) FROM payment_orders WHERE external_order_id LIKE %s", f"{BROKEN}%"
    )
    return {
        "undelivered": undelivered(running),
        "orders of broken requests": int(made[0][0]),
        "internal errors": len(running.stack.internal_errors()),
        "processes that ended": sum(running.groups()[name] != started[name] for name in GROUPS),
    }


def p99(milliseconds: Sequence[float]) -> float:
    """Zero of nothing."""
    return sorted(milliseconds)[int(len(milliseconds) * 0.99)] if milliseconds else 0.0


def report(done: Soaked, troubles: dict[str, int], *, with_faults: bool) -> dict[str, Any]:
    """Everything that is printed; `broken` names the bounds that did not hold.

    Of descriptors and connections: the most of the first minute and the least of the last, so that a burst is no leak.
    """
    first, last = done.periods[0], done.periods[-1]
    memory = {name: [first.memory(name), last.memory(name)] for name in GROUPS}
    descriptors = {
        name: [max(first.descriptors(name)), min(last.descriptors(name))] for name in GROUPS
    }
    connections = [max(first.connections()), min(last.connections())]
    loaded, unloaded = p99(done.soaked.milliseconds), p99(done.unloaded.milliseconds)
    errors = done.soaked.wrong + sum(troubles.values())
    broken = [f"memory of {name}" for name, (was, now) in memory.items() if now > MOST_MEMORY * was]
    broken += [
        f"descriptors of {name}" for name, (was, now) in descriptors.items() if now > was + A_FEW
    ]
    broken += ["connections"] if connections[1] > connections[0] + A_FEW else []
    broken += ["errors"] if errors else []
    broken += ["p99"] if not with_faults and loaded > LONGEST_P99 * unloaded else []
    return {
        "peak": round(done.peak, 1), "rate": round(done.soaked.requests / done.seconds, 1),
        "requests": done.soaked.requests, "broken_on_purpose": done.faults, "errors": errors,
        "troubles": {name: count for name, count in troubles.items() if count},
        "first_error": done.soaked.first_error,
        "p99": round(loaded, 1), "unloaded_p99": round(unloaded, 1),
        "memory": {name: [round(one, 1) for one in pair] for name, pair in memory.items()},
        "descriptors": descriptors, "connections": connections, "broken": broken,
    }  # fmt: skip


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="bench.soak")
    parser.add_argument("minutes", type=float, metavar="MINUTES")
    parser.add_argument("--share", type=float, default=0.8, help="of the peak")
    parser.add_argument("--faults", action="store_true", help="break one request of a hundred")
    chosen = parser.parse_args()
    with temporary_folder() as folder, installation(folder) as running:
        started = running.groups()
        work = soak(running, 60 * chosen.minutes, chosen.share, with_faults=chosen.faults)
        done = uvloop.run(work)
        said = report(done, troubles(running, started), with_faults=chosen.faults)
    print(json.dumps({"name": "soak", "minutes": chosen.minutes, "share": chosen.share, **said}))
    return 1 if said["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
