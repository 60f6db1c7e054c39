"""gunicorn's asgi worker, with the refusals of the server itself in the shape of the contract.

gunicorn answers bad framing, long request lines and too many headers before any application sees them, as plain text,
and waits for ever for the end of a header block. `EdgeProtocol` changes these two things and what happens when a client
half-closes in the middle of a body; everything else is gunicorn's.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger
from gunicorn.workers import gasgi

from rest_edge.admission import is_stream
from rest_edge.errors import EdgeRefusal, error_body
from rest_edge.logs import write_access_line
from rest_edge.middleware import new_request_id

HEADER_TIMEOUT_SECONDS = 10.0

IDLE_GRACE_SECONDS = 2.0
"""How long a connection without a request stays when the edge is told to stop: a client that is just sending one is
still answered, and told to close; one that only keeps its connection does not hold up the stop."""

_REASONS = {
    400: "The request is not well-formed HTTP.",
    414: "The request line is too long.",
    431: "The header fields are too long or too many.",
    500: "Something went wrong here; quote the request id.",
    501: "The transfer coding is not supported.",
}

_PHRASES = {
    400: "Bad Request",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}


class EdgeProtocol(ASGIProtocol):  # type: ignore[misc]
    """One connection."""

    _header_timer: asyncio.TimerHandle | None = None
    _peer_is_done = False
    _is_idle = True
    """No request has begun, or the last one has been answered."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock for the first header block."""
        super().connection_made(transport)
        self._start_header_timer()
        self.worker.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Start the clock for a later header block with its first byte; until then the connection is idle."""
        if self._is_idle:
            self._is_idle = False
            if self._header_timer is None:
                self._start_header_timer()
        try:
            super().data_received(data)
        except ValueError:
            # A Content-Length of more digits than Python reads as a number.
            self._send_error_response(400, "")
            self._close_transport()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self.worker.connections.discard(self)
        self._stop_header_timer()
        super().connection_lost(exc)

    def close_if_idle(self) -> None:
        """Close unless a request has begun."""
        if self._is_idle:
            self._give_up_on_headers()

    def eof_received(self) -> bool:
        """A client that stops sending inside a body gets a 400; one that waits for its answer gets that.

        Who listened to a stream has gone: nobody waits for its end.
        """
        receiver = self._body_receiver
        if receiver is not None and not receiver._complete:  # noqa: SLF001 - a field of gunicorn's
            self._send_error_response(400, "")
            self._close_transport()
            return False
        self._peer_is_done = True
        request = self._current_request
        return request is not None and not is_stream(request.path)

    def _will_close(self, request: Any, response_requires_close: bool) -> Any:  # noqa: FBT001
        return self._peer_is_done or super()._will_close(request, response_requires_close)

    def _arm_keepalive_timer(self) -> None:
        """No further request can come from a peer that stopped sending."""
        if self._peer_is_done:
            self._close_transport()
            self._request_ready.set()
        else:
            self._is_idle = True
            super()._arm_keepalive_timer()

    def _on_headers_complete(self) -> Any:
        self._stop_header_timer()
        return super()._on_headers_complete()

    def _is_websocket_upgrade(self, _request: Any) -> bool:
        return False

    def _send_error_response(
        self, status: int, message: str, extra_headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """JSON instead of gunicorn's text, which can quote the request."""
        del message, extra_headers
        request_id = new_request_id()
        code = "INTERNAL" if status >= 500 and status != 501 else "INVALID_REQUEST"
        reason = _REASONS.get(status, _REASONS[400])
        details = [{"field": "request", "reason": reason}] if code == "INVALID_REQUEST" else None
        _, body = error_body(EdgeRefusal(status, code, reason, details), request_id)
        head = (
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n"
            "x-content-type-options: nosniff\r\n"
            "cache-control: no-store\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self._safe_write(head.encode("latin-1") + body)
        write_access_line("refused by the server", status=status, request_id=request_id)

    def _give_up_on_headers(self) -> None:
        self._close_transport()
        if self._request_ready is not None:
            self._request_ready.set()

    def _start_header_timer(self) -> None:
        self._header_timer = self.worker.loop.call_later(
            HEADER_TIMEOUT_SECONDS, self._give_up_on_headers
        )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class EdgeLogger(Logger):  # type: ignore[misc]
    """gunicorn's own access lines are off, but it would still gather what is in them for every request."""

    def access(self, *_: Any) -> None:
        """Nothing: the edge writes its own line."""


class EdgeWorker(gasgi.ASGIWorker):  # type: ignore[misc]
    """gunicorn has no setting for the protocol class: its module looks the name up when it starts to listen."""

    def init_process(self) -> None:
        """In the worker process, before it listens."""
        gasgi.ASGIProtocol = EdgeProtocol
        self.connections: set[EdgeProtocol] = set()
        super().init_process()

    def handle_exit_signal(self) -> None:
        """SIGTERM: requests in flight end; connections without one are closed after a moment."""
        super().handle_exit_signal()
        self.loop.call_later(IDLE_GRACE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            connection.close_if_idle()

    async def _shutdown(self) -> None:
        """Streams would be waited for in vain."""
        self.asgi.drain()
        await super()._shutdown()
