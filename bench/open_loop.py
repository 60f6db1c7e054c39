"""Arrivals that do not wait for answers: `python -m bench.open_loop [FACTOR=2] [SECONDS=60]`.

New orders come at FACTOR times the peak's rate, each on an idle connection or a new one, whatever became of those
before (O01). Prints one JSON object, and exits with 1 when fewer than 0.8 of the peak's good answers came a second, or
an answer was neither good nor a refusal with `Retry-After`. The arrivals are made on this machine too, by Python, and
take their part of it; `arrived` says how many a second it managed.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.installation import Installation, installation, temporary_folder
from bench.overload import CREATE, PEAK_CONNECTIONS, Measured, measured

FACTOR = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
LEAST_GOODPUT = 0.8
LOOK_SECONDS = 0.002
PATIENCE_SECONDS = 15.0
REFUSALS = ("429", "503")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Arrivals:
    """What became of them."""

    port: int
    outcomes: Counter[str] = field(default_factory=Counter)
    """Status, or the name of what went wrong."""
    seconds: list[float] = field(default_factory=list)
    """Of the good answers, connecting included."""
    idle: list[Connection] = field(default_factory=list)

    async def arrive(self, request: bytes) -> None:
        """One of them."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                outcome = await self._ask(request)
        except (OSError, EOFError, TimeoutError) as failure:
            outcome = type(failure).__name__
        self.outcomes[outcome] += 1
        if outcome == "200":
            self.seconds.append(time.monotonic() - began)

    async def _ask(self, request: bytes) -> str:
        if self.idle:
            connection = self.idle.pop()
        else:
            connection = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = connection
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        lines = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        await reader.readexactly(int(lines["content-length"]))
        if lines.get("connection") == "close":
            writer.close()
        else:
            self.idle.append(connection)
        status = head.split(" ", 2)[1]
        return status if status == "200" or "retry-after" in lines else f"{status} and no more"


async def arriving(port: int, requests: list[bytes], rate: float) -> tuple[Arrivals, float, float]:
    """All of them at this rate; with the good answers a second while they came, and how many a second came."""
    arrivals, tasks, sent = Arrivals(port), set[asyncio.Task[None]](), 0
    began = time.monotonic()
    while sent < len(requests) and time.monotonic() - began < SECONDS:
        due = min(len(requests), int((time.monotonic() - began) * rate))
        for request in requests[sent:due]:
            task = asyncio.create_task(arrivals.arrive(request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        sent = max(sent, due)
        await asyncio.sleep(LOOK_SECONDS)
    took = time.monotonic() - began
    good = arrivals.outcomes["200"] / took
    if tasks:
        await asyncio.wait(tasks)
    return arrivals, good, sent / took


def flooded(running: Installation, peak: Measured) -> dict[str, Any]:
    """What is printed of the flood."""
    requests = CREATE.prepare(running, int(FACTOR * peak.good * SECONDS))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        arrivals, good, arrived = runner.run(
            arriving(running.stack.http_port, requests, FACTOR * peak.good)
        )
    times = sorted(arrivals.seconds)
    return {
        "good": round(good, 1), "arrived": round(arrived, 1), "outcomes": dict(arrivals.outcomes),
        "p99": round(1000 * times[int(len(times) * 0.99)], 1) if times else None,
    }  # fmt: skip


def main() -> int:
    """The exit status."""
    with temporary_folder() as folder, installation(folder) as running:
        running.pause_workers()
        measured(running, PEAK_CONNECTIONS, 2)  # caches, connections, prepared statements
        peak = measured(running, PEAK_CONNECTIONS, 10)
        flood = flooded(running, peak)
        after = measured(running, PEAK_CONNECTIONS, 5)
    said = {
        "name": "open loop", "factor": FACTOR, "peak": vars(peak), "flood": flood, "afterwards": vars(after)
    }  # fmt: skip
    print(json.dumps(said))
    is_good = flood["good"] >= LEAST_GOODPUT * peak.good
    return 0 if is_good and flood["outcomes"].keys() <= {"200", *REFUSALS} else 1


if __name__ == "__main__":
    sys.exit(main())
