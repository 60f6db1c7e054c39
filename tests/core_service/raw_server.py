"""A real TCP server whose connections are handled by a function of the test, byte by byte."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Handler = Callable[[socket.socket, bytes], None]
"""Gets the connection and the head of each request that arrives on it."""


@dataclass
class RawServer:
    """`heads` are the request heads received so far."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0


def read_request(connection: socket.socket) -> bytes:
    """The head of one request, its body read too; empty at the end of the connection."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return b""
        head += piece
    head, _, body = head.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head


@contextlib.contextmanager
def raw_server(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """Serves until the block ends; every open connection is cut then."""
    listener = socket.create_server(("127.0.0.1", 0))
    state = RawServer(listener.getsockname()[1])
    open_connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            served = tls.wrap_socket(connection, server_side=True) if tls else connection
            open_connections.append(served)
            while head := read_request(served):
                state.heads.append(head)
                handler(served, head)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            state.connections += 1
            open_connections.append(connection)
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield state
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        acceptor.join()
        for thread in threads:
            thread.join()
        for connection in open_connections:
            connection.close()
