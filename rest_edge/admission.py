"""How many requests the edge works on at once; the rest wait briefly and are then turned away.

Merchants, provider notifications, people (consoles and hosted pages) and payers' waiting pages have separate shares, so
that none of them can starve the others. A short wait keeps more useful work going than refusing at once.
"""

import asyncio
from types import TracebackType

from core_service.errors import CoreError

WAIT_SECONDS = 0.25
RETRY_AFTER_SECONDS = 1
STREAMS_AT_ONCE = 400
"""Payers' pages that wait for news; below what a process may have open by default. A page beyond it asks by itself."""
WAITING_PER_PLACE = 4
"""Beyond this many waiting requests per place, new ones are refused before their body is read."""


class Gate:
    """A bounded number of places: `async with gate` raises OVERLOADED when none comes free in time."""

    def __init__(self, places: int) -> None:
        self._free = asyncio.Semaphore(places)
        self._waiting = 0
        self._longest_queue = places * WAITING_PER_PLACE

    def refuse_when_long(self) -> None:
        """Raise OVERLOADED when so many wait already that waiting makes no sense."""
        if self._waiting >= self._longest_queue:
            raise _overloaded()

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise _overloaded() from None
        finally:
            self._waiting -= 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._free.release()


class OpenGate(Gate):
    """For health checks: never refuses, so that overload does not look like death."""

    def refuse_when_long(self) -> None:
        """Nothing to refuse."""

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


def _overloaded() -> CoreError:
    return CoreError("OVERLOADED", retry_after_seconds=RETRY_AFTER_SECONDS)
