"""A merchant's endpoint on loopback that keeps its own books and misbehaves as told."""

import contextlib
import hashlib
import hmac
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["_Handler"], None]


@dataclass(frozen=True)
class Received:
    """One request; header names are lower-case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def delivery_id(self) -> str:
        return self.headers["x-novapay-delivery-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        message = self.headers["x-novapay-timestamp"].encode() + b"." + self.body
        expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, self.headers["x-novapay-signature"])


class Receiver:
    """`behaviour` answers; it may be changed at any time."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.behaviour: Behaviour = answer(200)
        self.closing = threading.Event()
        self.arrived = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/callback"

    def wait_for(self, count: int, *, seconds: float = 20) -> list[Received]:
        """The requests so far, once there are `count`."""
        with self.arrived:
            enough = self.arrived.wait_for(lambda: len(self.received) >= count, seconds)
        assert enough, f"{len(self.received)} of {count} requests came"
        return list(self.received)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.close()


def answer(status: int, *, headers: dict[str, str] | None = None, body: bytes = b"ok") -> Behaviour:
    def behave(handler: "_Handler") -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def hang(handler: "_Handler") -> None:
    """Never answers while the receiver lives."""
    handler.server.receiver.closing.wait()


def hold(until: threading.Event) -> Behaviour:
    """Answers 200 once `until` is set."""

    def behave(handler: "_Handler") -> None:
        until.wait(30)
        answer(200)(handler)

    return behave


def reset(handler: "_Handler") -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang_up(handler: "_Handler") -> None:
    """Ends the connection without a byte."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def drip(handler: "_Handler") -> None:
    """A good head, then a byte now and then for ever."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.receiver.closing.wait(0.05):
        handler.wfile.write(b".")
        handler.wfile.flush()


def endless(handler: "_Handler") -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.receiver.closing.is_set():
        handler.wfile.write(b"x" * 65536)


class _Server(ThreadingHTTPServer):
    receiver: Receiver
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Peers that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        books = self.server.receiver
        with books.arrived:
            books.received.append(Received(self.path, headers, body))
            books.arrived.notify_all()
        books.behaviour(self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""
