"""How many requests the edge works on at once; the rest wait briefly and are then turned away.

Merchants, provider notifications, people (consoles and hosted pages) and payers' waiting pages have separate shares, so
that none of them can starve the others. A short wait keeps more useful work going than refusing at once. Who waits in a
long line is overtaken: otherwise everybody would wait as long as anybody can, and most in vain. And a refusal is held
back: whoever sends again at once would keep the edge busy with refusing.
"""

import asyncio
import random
import resource
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from core_service.errors import CoreError

WAIT_SECONDS = 0.25
RETRY_AFTER_SECONDS = 1
HELD_SECONDS = (1.0, 2.0)
"""From its coming until a request is refused, in place of the pause that Retry-After asks for; at random between these,
so that those who came together do not come back together."""
HELD_PART = 0.5
"""Of the descriptors that a process may have; refusals beyond that are not held back."""
STREAMS_AT_ONCE = 400
"""Payers' pages that wait for news; below what a process may have open by default. A page beyond it asks by itself."""
IN_TURN_PER_PLACE = 1
"""So many of the newest in line are served in their order; who is behind them is overtaken."""
WAITING_PER_PLACE = 4
"""Beyond this many waiting requests per place, new ones are refused without their body being read."""


class TooMany(CoreError):
    """The edge turns the request away. OVERLOADED."""

    def __init__(self) -> None:
        super().__init__("OVERLOADED", retry_after_seconds=RETRY_AFTER_SECONDS)


class Gate:
    """A bounded number of places: `async with gate` raises TooMany when none comes free in time."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._line: deque[asyncio.Future[None]] = deque()
        self._in_turn = places * IN_TURN_PER_PLACE
        self._longest_line = places * WAITING_PER_PLACE

    @property
    def is_long(self) -> bool:
        """Whether so many wait already that waiting makes no sense."""
        return len(self._line) >= self._longest_line

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as failure:
            if turn in self._line:
                self._line.remove(turn)
            elif not turn.cancelled():
                self._pass_on()  # it came in the very moment in which the wait ended
            if isinstance(failure, TimeoutError):
                raise TooMany from None
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        """A place has come free."""
        while self._line:
            index = max(0, len(self._line) - self._in_turn)
            turn = self._line[index]
            del self._line[index]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class OpenGate(Gate):
    """For health checks: never refuses, so that overload does not look like death."""

    is_long = False

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Admission:
    """The shares, chosen by path."""

    def __init__(self, calls_at_once: int) -> None:
        half, quarter = max(4, calls_at_once // 2), max(4, calls_at_once // 4)
        self._merchants = Gate(calls_at_once)
        self._callbacks = Gate(half)
        self._people = Gate(quarter)
        self._streams = Gate(STREAMS_AT_ONCE)
        self._health = OpenGate(1)
        self._held = 0
        self._most_held = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * HELD_PART)

    @contextmanager
    def holding(self) -> Iterator[float]:
        """How many seconds a refusal is held back, from the coming of its request; counts it meanwhile."""
        seconds = random.uniform(*HELD_SECONDS) if self._held < self._most_held else 0.0  # noqa: S311 (jitter)
        self._held += 1
        try:
            yield seconds
        finally:
            self._held -= 1

    def gate_for(self, path: str) -> Gate:
        """The gate that a request with this path goes through."""
        if path.startswith(("/api/payment", "/api/channels")):
            return (
                self._callbacks if path.startswith("/api/payments/callback/") else self._merchants
            )
        if is_stream(path):
            return self._streams
        return self._health if path == "/api/health" else self._people


def is_stream(path: str) -> bool:
    """Whether the answer goes on for as long as somebody listens."""
    return path.startswith("/pay/") and path.endswith("/events")
