"""Orders as their merchants live them, told to the edge: created, asked about, paid, asked about again.

Unlike `load.c`, which repeats one kind of request as fast as it can, this sends what follows from the answer before it,
at a pace, and breaks some requests on purpose.
"""

import asyncio
import itertools
import json
import re
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from bench.installation import Shop
from bench.scenarios import AMOUNT_FEN, paid_notification, signed_create, signed_query

QUERIES = 2
"""Before the payment, and as many after it."""
REQUESTS = 2 + 2 * QUERIES
"""Of one story: with its delivery they cost about as much as creating six orders."""
STORIES_PER_FAULT = 16
"""A broken request after so many stories: a little more than one of a hundred."""
BROKEN = "broken-"
"""How the merchant's own number of an order begins that must never come to be."""
PROVIDER_FAULT_AMOUNTS = ("15.73", "15.74", "15.76", "15.79", "15.81", "15.82", "15.83")
"""Of WeChat orders: the sandbox answers with an error, a reset, no or a wrong signature, HTML, half an answer."""
PATIENCE_SECONDS = 20.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Keep-alive connections to the edge. Every answer is checked; the time of a right one is kept, in milliseconds."""

    def __init__(self, port: int) -> None:
        self.requests = self.wrong = 0
        self.first_error = ""
        self.milliseconds: list[float] = []
        self._port = port
        self._free: asyncio.Queue[_Streams] = asyncio.Queue()

    async def ask(self, request: bytes, status: int, expected: bytes) -> bytes:
        """The body of the answer, empty unless it is `status` and contains `expected`."""
        self.requests += 1
        began = time.perf_counter()
        streams = await self._free.get()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                head, body = await _exchange(streams, request)
        except (OSError, EOFError, TimeoutError) as failure:
            self._note(request, repr(failure))
            head, body = b"", b""
        if not head or _CLOSES.search(head):
            streams[1].close()
            streams = await self._connect()
        self._free.put_nowait(streams)
        if not head:
            return b""
        if not _is_right(head, body, status, expected):
            self._note(request, (head + body).decode(errors="replace"))
            return b""
        self.milliseconds.append(1000 * (time.perf_counter() - began))
        return body

    async def cut(self, request: bytes, end: str) -> None:
        """Send half of the body, then `reset`, `close` or `half-close`; who still listens gets a 400."""
        self.requests += 1
        body = request.partition(b"\r\n\r\n")[2]
        reader, writer = await self._connect()
        writer.write(request[: -len(body) // 2])
        await asyncio.sleep(0.05)  # what is read is what was sent before the end
        if end == "half-close":
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await reader.read()
            if not _is_right(answer, answer, 400, b"INVALID_REQUEST"):
                self._note(request, answer.decode(errors="replace"))
        elif end == "reset":
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        writer.close()

    async def open(self, connections: int) -> None:
        for _ in range(connections):
            self._free.put_nowait(await self._connect())

    def close(self) -> None:
        while not self._free.empty():
            self._free.get_nowait()[1].close()

    async def _connect(self) -> _Streams:
        return await asyncio.open_connection("127.0.0.1", self._port)

    def _note(self, request: bytes, what: str) -> None:
        self.wrong += 1
        line = request.partition(b"\r\n")[0].decode()
        self.first_error = self.first_error or f"{line}: {what}"[:600]


@asynccontextmanager
async def client(port: int, connections: int) -> AsyncIterator[Client]:
    """One with so many connections, used in turn."""
    made = Client(port)
    await made.open(connections)
    try:
        yield made
    finally:
        made.close()


class Stories:
    """Tells one after another, of all shops in turn."""

    def __init__(self, shops: Sequence[Shop], *, with_faults: bool) -> None:
        self.faults = 0
        """Requests that were broken so far."""
        self._shops = itertools.cycle(shops)
        self._numbers = itertools.count(1)
        self._with_faults = with_faults
        self._kinds: itertools.cycle[Fault] = itertools.cycle(
            (_wrong_signature, _forged_notification, _provider_fault, _cut)
        )

    async def tell(self, client: Client) -> None:
        """One, to its end or to the first wrong answer."""
        shop = next(self._shops)
        made = await client.ask(signed_create(shop, "alipay.page"), 200, b'"created":true')
        if not made:
            return
        order_id = json.loads(made)["order"]["id"]
        await _ask(client, shop, order_id, b'"status":"PENDING"')
        if self._with_faults and next(self._numbers) % STORIES_PER_FAULT == 0:
            self.faults += 1
            await next(self._kinds)(client, shop, order_id)
        paid = paid_notification(shop.notification_path, order_id, AMOUNT_FEN)
        if await client.ask(paid, 200, b"success"):
            await _ask(client, shop, order_id, b'"status":"SUCCEEDED"')


async def in_turn(client: Client, stories: Stories, *, at_once: int, seconds: float) -> float:
    """Each as soon as the one before it is over; right answers a second."""
    began = time.monotonic()

    async def go_on() -> None:
        while time.monotonic() - began < seconds:
            await stories.tell(client)

    await asyncio.gather(*(go_on() for _ in range(at_once)))
    return len(client.milliseconds) / (time.monotonic() - began)


async def paced(client: Client, stories: Stories, *, rate: float, seconds: float) -> None:
    """Each at its time, however long those before it take: `rate` requests a second."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as running:
        for number in range(round(seconds * rate / REQUESTS)):
            await asyncio.sleep(max(0.0, began + number * REQUESTS / rate - time.monotonic()))
            running.create_task(stories.tell(client))


Fault = Callable[[Client, Shop, str], Awaitable[object]]


async def _wrong_signature(client: Client, shop: Shop, _order_id: str) -> None:
    stranger = replace(shop, merchant=replace(shop.merchant, secret="of somebody else"))  # noqa: S106 (nobody's)
    request = signed_create(stranger, "alipay.page", name=_broken_name())
    await client.ask(request, 401, b'"INVALID_SIGNATURE"')


async def _forged_notification(client: Client, shop: Shop, order_id: str) -> None:
    genuine = paid_notification(shop.notification_path, order_id, AMOUNT_FEN)
    forged = genuine.replace(f"{AMOUNT_FEN / 100:.2f}".encode(), b"88.11")
    await client.ask(forged, 400, b"")
    await _ask(client, shop, order_id, b'"status":"PENDING"')


_amounts = itertools.cycle(PROVIDER_FAULT_AMOUNTS)


async def _provider_fault(client: Client, shop: Shop, _order_id: str) -> None:
    request = signed_create(shop, "wxpay.native", amount=next(_amounts))
    await client.ask(request, 500, b'"PROVIDER_TIMEOUT"')


_ends = itertools.cycle(("reset", "close", "half-close"))


async def _cut(client: Client, shop: Shop, _order_id: str) -> None:
    await client.cut(signed_create(shop, "alipay.page", name=_broken_name()), next(_ends))


def _broken_name() -> str:
    return f"{BROKEN}{secrets.token_hex(10)}"


async def _ask(client: Client, shop: Shop, order_id: str, expected: bytes) -> None:
    for _ in range(QUERIES):
        await client.ask(signed_query(shop, order_id), 200, expected)


async def _exchange(streams: _Streams, request: bytes) -> tuple[bytes, bytes]:
    reader, writer = streams
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head, await reader.readexactly(int(length[1]) if length else 0)


def _is_right(head: bytes, body: bytes, status: int, expected: bytes) -> bool:
    return head.startswith(f"HTTP/1.1 {status} ".encode()) and expected in body
