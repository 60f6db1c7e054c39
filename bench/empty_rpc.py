"""The hop from edge to core with nothing behind it: the same kinds of server, client and channel options.

`serve PORT`; `call PORT CONCURRENCY SECONDS` prints calls, seconds, processor seconds of the client and the server.
"""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import uvloop

from core_service.client import CHANNEL_OPTIONS

PATH = "/bench.Empty/Call"
THREADS = 16
REQUEST = b"x" * 300
"""About what a create carries."""


def serve(port: int) -> None:
    """Until it is killed. Answers with the processor time that it has used."""

    def handle(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        return repr(time.process_time()).encode()

    server = grpc.server(ThreadPoolExecutor(THREADS))
    handlers: dict[str, Any] = {"Call": grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Empty", handlers),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


async def call(port: int, concurrency: int, seconds: float) -> None:
    """Calls one after another on each of `concurrency` tasks."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        empty: Any = channel.unary_unary(PATH)
        await empty(REQUEST)
        server_before = float(await empty(REQUEST))
        client_before, started = time.process_time(), time.monotonic()
        counts = await asyncio.gather(
            *(_loop(empty, started + seconds) for _ in range(concurrency))
        )
        elapsed, client = time.monotonic() - started, time.process_time() - client_before
        server = float(await empty(REQUEST)) - server_before
    print(sum(counts), elapsed, client, server)


async def _loop(empty: Any, ends_at: float) -> int:
    count = 0
    while time.monotonic() < ends_at:
        await empty(REQUEST)
        count += 1
    return count


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        uvloop.run(call(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
