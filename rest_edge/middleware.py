"""The outermost layer of the edge: what happens to every request before Falcon and to every answer after it.

In this order: request id, path sanity, admission, the body read once and whole, admission again (with a short wait),
the application; then security headers, the request id and one access line. A body is read before a place is taken, so
that slow senders hold no place; a long queue turns new requests away before their body is read.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from core_service import metadata, metrics, tracing
from core_service.errors import CoreError
from rest_edge.admission import Admission, TooMany
from rest_edge.client_address import Networks, client_address
from rest_edge.errors import (
    EdgeRefusal,
    body_too_large,
    invalid_field,
    unsupported_transfer_coding,
)
from rest_edge.logs import write_access_line

MAX_BODY_BYTES = 64 * 1024
MAX_CALLBACK_BODY_BYTES = 256 * 1024
"""Provider notifications are not signed by merchants and may be larger."""

BODY_TIMEOUT_SECONDS = 10.0
CALLBACK_PREFIX = "/api/payments/callback/"

REQUEST_KEY = "novapay.request"
"""Where the application finds the `EdgeRequest` in the ASGI scope."""

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Scope, CoreError | EdgeRefusal], tuple[int, list[tuple[bytes, bytes]], bytes]]
"""Status, headers and body of a refusal."""


class EdgeRequest:
    """What the edge knows about a request beside its path.

    `headers` are lower-case names and raw values. `client_address` is empty when unknown. `route` is set by whoever
    serves the request; the access log shows it instead of the path.
    """

    __slots__ = (
        "body",
        "client_address",
        "headers",
        "request_id",
        "route",
        "sent_bytes",
        "span",
        "status",
    )

    def __init__(self, request_id: str, headers: list[tuple[bytes, bytes]], client: str) -> None:
        self.request_id = request_id
        self.headers = headers
        self.client_address = client
        self.body = b""
        self.route = "-"
        self.status = 0
        self.sent_bytes = 0
        self.span = tracing.NO_SPAN

    def call_metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call to the core carries."""
        traceparent = self.span.traceparent
        if traceparent is None:
            return ((metadata.REQUEST_ID, self.request_id),)
        return ((metadata.REQUEST_ID, self.request_id), (metadata.TRACEPARENT, traceparent))

    def log_names(self) -> dict[str, str]:
        """By what a log line is found again."""
        trace_id = self.span.trace_id
        if trace_id is None:
            return {"request_id": self.request_id}
        return {"request_id": self.request_id, "trace_id": trace_id}

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that is there exactly once."""
        values = [value for key, value in self.headers if key == name]
        return values[0] if len(values) == 1 else None


class ClientGone(Exception):
    """The client went away before its body was whole; there is nobody to answer."""


class EdgeMiddleware:
    """Wraps the Falcon application."""

    def __init__(
        self,
        application: Application,
        *,
        admission: Admission,
        trusted_proxies: Networks,
        is_https: bool,
        on_drain: Callable[[], None],
        refuse: Refuse,
    ) -> None:
        self._application = application
        self._refuse = refuse
        self._on_drain = on_drain
        self._admission = admission
        self._trusted_proxies = trusted_proxies
        self._security_headers = _SECURITY_HEADERS + (_HTTPS_ONLY if is_https else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started = time.monotonic()
        request = self._request(scope)
        method: str = scope["method"] if scope["method"] in _METHODS else "-"
        request.span = tracing.serving(method, lambda: request.header(_TRACEPARENT))
        scope[REQUEST_KEY] = request

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message["headers"] = self._dress(message.get("headers", ()), request)
            else:
                request.sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._serve(scope, receive, send_dressed, request, started)
        except ClientGone:
            request.status = 499
        finally:
            seconds = time.monotonic() - started
            metrics.http(request.route, request.status, seconds)
            write_access_line(
                "request",
                method=method,
                route=request.route,
                status=request.status,
                duration_ms=round(seconds * 1000, 2),
                bytes=request.sent_bytes,
                **request.log_names(),
            )
            request.span.say(
                name=f"{method} {request.route}",
                failed=request.status >= 500,
                method=method,
                route=request.route,
                status=request.status,
                request_id=request.request_id,
            )
            request.span.end()

    def drain(self) -> None:
        """The process is about to stop: answers that would go on for long end."""
        self._on_drain()

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, request: EdgeRequest, came: float
    ) -> None:
        path: str = scope["path"]
        gate = self._admission.gate_for(path)
        body_is_whole = False
        try:
            _refuse_odd_path(scope.get("raw_path", b""))
            if gate.is_long:
                raise TooMany
            limit = MAX_CALLBACK_BODY_BYTES if path.startswith(CALLBACK_PREFIX) else MAX_BODY_BYTES
            request.body = await _read_body(receive, request, limit)
            body_is_whole = True
            async with gate:
                await self._application(scope, _after_the_body(receive), send)
        except (CoreError, EdgeRefusal) as error:
            if isinstance(error, TooMany):
                body_is_whole = await self._hold_back(came, receive, body_is_whole=body_is_whole)
            await _answer_error(send, self._refuse(scope, error), close=not body_is_whole)
            if not body_is_whole:
                await _discard_some(receive)

    async def _hold_back(self, came: float, receive: Receive, *, body_is_whole: bool) -> bool:
        """Let a refusal wait, and throw the body away meanwhile; whether that is over, so the connection may stay."""
        with self._admission.holding() as seconds:
            if seconds and not body_is_whole:
                body_is_whole = await _discard_some(receive)
            await asyncio.sleep(max(0.0, came + seconds - time.monotonic()))
            return body_is_whole

    def _request(self, scope: Scope) -> EdgeRequest:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        request_id = forwarded_for = None
        for name, value in headers:
            if name == b"x-request-id":
                request_id = b"" if request_id is not None else value  # two of them: neither
            elif name == b"x-forwarded-for":
                forwarded_for = [*(forwarded_for or ()), value]
        client = scope.get("client")
        return EdgeRequest(
            request_id.decode("ascii")
            if request_id and _SANE_REQUEST_ID.fullmatch(request_id)
            else new_request_id(),
            headers,
            client_address(
                client[0] if client else None, forwarded_for or [], self._trusted_proxies
            ),
        )

    def _dress(self, headers: Any, request: EdgeRequest) -> list[tuple[bytes, bytes]]:
        dressed = list(headers)
        present = {name for name, _ in dressed}
        dressed.extend(item for item in self._security_headers if item[0] not in present)
        dressed.append((b"x-request-id", request.request_id.encode("ascii")))
        return dressed


def new_request_id() -> str:
    """A fresh request id."""
    return secrets.token_hex(16)


_TRACEPARENT = metadata.TRACEPARENT.encode("ascii")
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Defaults for JSON; a page that needs others sets its own."""

_HTTPS_ONLY = ((b"strict-transport-security", b"max-age=31536000"),)

_ODD_IN_PATH = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")


def _refuse_odd_path(raw_path: bytes) -> None:
    """404 for what no path of ours has: empty and dot segments, escaped slashes and controls, bytes beyond UTF-8."""
    if b"//" in raw_path or raw_path.endswith(b"/"):
        raise CoreError("NOT_FOUND")
    if b"%" not in raw_path and b"/." not in raw_path:
        return
    for segment in raw_path.split(b"/"):
        try:
            text = unquote_to_bytes(segment).decode("utf-8")
        except UnicodeDecodeError:
            raise CoreError("NOT_FOUND") from None
        if text in (".", "..") or _ODD_IN_PATH.search(text):
            raise CoreError("NOT_FOUND")


async def _read_body(receive: Receive, request: EdgeRequest, limit: int) -> bytes:
    """Exactly the body that was announced; 413 as soon as it is known to be too large.

    The server takes `gzip, chunked` and undoes only the chunks; what we do not read ourselves is refused.
    """
    codings = [value for name, value in request.headers if name == b"transfer-encoding"]
    if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
        raise unsupported_transfer_coding()
    declared = request.header(b"content-length")
    if declared is not None and int(declared) > limit:
        raise body_too_large(limit)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body: bytes = await _receive_all(receive, limit)
    except TimeoutError:
        raise invalid_field("body", "did not arrive in time") from None
    if declared is not None and len(body) != int(declared):
        raise invalid_field("body", "is shorter than Content-Length says")
    return body


async def _receive_all(receive: Receive, limit: int) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise body_too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _after_the_body(receive: Receive) -> Receive:
    """What the application may receive: that the body is over, then that the client has gone."""
    ending = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive_rest() -> Mapping[str, Any]:
        return ending.pop() if ending else await receive()

    return receive_rest


async def _answer_error(
    send: Send, refusal: tuple[int, list[tuple[bytes, bytes]], bytes], *, close: bool
) -> None:
    status, headers, body = refusal
    headers = [*headers, (b"content-length", str(len(body)).encode("ascii"))]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


DISCARD_BYTES = 1024 * 1024
DISCARD_SECONDS = 1.0


async def _discard_some(receive: Receive) -> bool:
    """Take a little more of a refused body: closing on unread bytes would reset the connection under the answer.

    Whether the body is over.
    """
    left = DISCARD_BYTES
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request":
                    return False
                if not message.get("more_body", False):
                    return True
                left -= len(message.get("body", b""))
    except TimeoutError:
        return False
    return False
