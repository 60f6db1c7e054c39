"""Live state of the payer's pages: one question to the core per order, shared by all tabs of this process.

A page holds a stream of server-sent events open and is told when what it shows has changed; it then fetches itself
again. Asking slows down while nothing happens and never stops before the core says that no news can come.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import falcon.asgi
from falcon.asgi import SSEvent

from core_service.errors import CoreError
from core_service.schema import method_named
from novapay.payments.v1 import payment_service_pb2 as payments
from rest_edge.checkout_page import page_version
from rest_edge.core_connection import CoreConnection
from rest_edge.middleware import REQUEST_KEY, EdgeRequest, new_request_id

EVENTS_PATH = "/pay/{order_id}/events"

FIRST_PAUSE_SECONDS = 2.0
SLOWING = 1.1
LONGEST_PAUSE_SECONDS = 10.0
HEARTBEAT_SECONDS = 15.0
"""Proxies close what is silent for long, and a write is what tells that a payer has gone."""
RECONNECT_MS = 2000
POLLS_AT_ONCE = 4
"""However many orders are watched, the core keeps its threads for those who pay."""


class _Watch:
    """What is known of one order, and who waits for news."""

    def __init__(self) -> None:
        self.version = ""
        self.is_over = False
        self.pause_seconds = FIRST_PAUSE_SECONDS
        self.listeners = 0
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def tell(self, checkout: Any) -> None:
        """Take in an answer of the core and wake the listeners if the page would look otherwise."""
        version = page_version(checkout)
        if (version, checkout.may_change) == (self.version, not self.is_over):
            return
        self.version, self.is_over = version, not checkout.may_change
        self.wake()

    def wake(self) -> None:
        """Let everybody look again."""
        self.news.set()
        self.news = asyncio.Event()


class CheckoutWatches:
    """All watched orders of this process."""

    def __init__(self, core: CoreConnection) -> None:
        self._core = core
        self._watches: dict[str, _Watch] = {}
        self._polls = asyncio.Semaphore(POLLS_AT_ONCE)
        self.is_draining = False

    def drain(self) -> None:
        """End every stream; the pages connect again, to another process."""
        self.is_draining = True
        for watch in self._watches.values():
            watch.wake()

    async def look(self, order_id: str, request: EdgeRequest) -> Any:
        """The order as the payer may see it. Raises CoreError."""
        return await self._core.ask(
            method_named("PaymentService.GetCheckout"),
            payments.GetCheckoutRequest(order_id=order_id),
            request,
        )

    async def versions(self, order_id: str, checkout: Any) -> AsyncIterator[str | None]:
        """The version of `checkout` and each one after it; None as a sign of life. Ends when no news can come."""
        watch = self._watches.setdefault(order_id, _Watch())
        watch.listeners += 1
        watch.pause_seconds = FIRST_PAUSE_SECONDS
        watch.tell(checkout)
        if watch.task is None:
            watch.task = asyncio.create_task(self._poll(order_id, watch))
        try:
            seen = ""
            while not self.is_draining:
                news = watch.news
                if watch.version != seen:
                    seen = watch.version
                    yield seen
                elif watch.is_over:
                    return
                elif await _silence(news):
                    yield None
        finally:
            watch.listeners -= 1
            if not watch.listeners:
                watch.task.cancel()
                del self._watches[order_id]

    async def _poll(self, order_id: str, watch: _Watch) -> None:
        while not watch.is_over:
            await asyncio.sleep(watch.pause_seconds)
            watch.pause_seconds = min(watch.pause_seconds * SLOWING, LONGEST_PAUSE_SECONDS)
            with suppress(CoreError):  # the next question may fare better
                async with self._polls:
                    watch.tell(await self.look(order_id, EdgeRequest(new_request_id(), [], "")))


async def _silence(news: asyncio.Event) -> bool:
    """Wait for news; True when none came for long."""
    try:
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            await news.wait()
    except TimeoutError:
        return True
    return False


class CheckoutEvents:
    """GET /pay/{id}/events: `state` with the version of the page, `end` when it will not change any more."""

    def __init__(self, watches: CheckoutWatches) -> None:
        self._watches = watches

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, order_id: str
    ) -> None:
        """A stream; errors are JSON, as the page then asks in another way."""
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = EVENTS_PATH
        checkout = await self._watches.look(order_id, request)
        resp.set_header("x-accel-buffering", "no")
        resp.sse = self._events(order_id, checkout)

    async def _events(self, order_id: str, checkout: Any) -> AsyncIterator[SSEvent | None]:
        async for version in self._watches.versions(order_id, checkout):
            yield (
                None
                if version is None
                else SSEvent(event="state", text=version, retry=RECONNECT_MS)
            )
        if not self._watches.is_draining:
            yield SSEvent(event="end", text="end")
