"""What happens around every handler, in the order in which `STEPS` lists it.

Each step gets the exchange and what comes after it. Health and reflection stay outside: they hold
nothing that is anybody's.
"""

import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import BoundedSemaphore
from typing import Any

import grpc
import structlog
from google.protobuf.message import Message

from core_service import logs, metadata, metrics, tracing, turns
from core_service.application import access, idempotency, provider_places, request_log
from core_service.application.request_log import Noted
from core_service.calls import Call, Principal, set_current_call
from core_service.client import STATUS_DETAILS
from core_service.domain.ids import new_id
from core_service.errors import REASONS, CoreError, Family
from core_service.rpc import field_rules
from core_service.rpc.callers import (
    Callers,
    Peer,
    Values,
    client_address,
    metadata_values,
    peer_of,
)
from core_service.rpc.error_details import status_of
from core_service.schema import Method, methods_by_path
from core_service.storage.database import connection_scope

ANSWER_MARGIN_SECONDS = 0.05
"""Taken off the caller's deadline: the answer must still arrive."""
LEAST_SECONDS = 0.1
DEFAULT_SECONDS = 10.0
LONGEST_SECONDS = 60.0
SHARE_WAIT_SECONDS = 0.25
LONGEST_REASON = 500

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_OUR_FAULT = (Family.INTERNAL, Family.UNAVAILABLE)
_PROCESS = secrets.token_hex(4)
_CODES = {code.value[0]: code for code in grpc.StatusCode}

_log = structlog.get_logger("core_service.rpc")


@dataclass
class Exchange:
    """One RPC on its way through the steps; belongs to one thread."""

    method: Method
    request: Any = field(repr=False)
    context: grpc.ServicerContext = field(repr=False)
    values: Values = field(repr=False)
    peer: Peer
    call: Call
    reason: str = "OK"
    detail: str | None = None
    """What was wrong, for the merchant's own log."""
    status_details: bytes | None = field(default=None, repr=False)


Proceed = Callable[[Exchange], Message]
Step = Callable[[Exchange, Proceed], Message]


def call_of(context: grpc.ServicerContext) -> Call:
    """Find the call that a handler works on."""
    call: Call = context.novapay_call  # type: ignore[attr-defined]
    return call


class Interceptors(grpc.ServerInterceptor):
    """Wraps every handler of ours into the steps."""

    def __init__(
        self,
        callers: Callers,
        *,
        threads: int,
        database_is_up: Callable[[], bool] = lambda: True,
    ) -> None:
        self._callers = callers
        self._database_is_up = database_is_up
        # Merchants' calls take what there is; nobody else may. The public is mostly providers that notify.
        self._shares = {
            Principal.OPERATOR: BoundedSemaphore(max(1, threads // 8)),
            Principal.STAFF: BoundedSemaphore(max(1, threads // 8)),
            Principal.PUBLIC: BoundedSemaphore(max(1, threads // 2)),
        }
        self.steps: tuple[Step, ...] = (
            self.trace,
            self.name_request,
            self.answer_errors,
            self.keep_deadline,
            self.limit_work,
            self.open_connection,
            self.identify_caller,
            self.spend_nonce_at_last,
            self.check_fields,
        )
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Find the handler and wrap it, once for each method."""
        path: str = handler_call_details.method
        wrapped = self._wrapped.get(path)
        if wrapped is not None:
            return wrapped
        handler = continuation(handler_call_details)
        method = methods_by_path().get(path)
        if handler is None or method is None:
            return handler
        wrapped = grpc.unary_unary_rpc_method_handler(
            self._around(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        self._wrapped[path] = wrapped
        return wrapped

    def _around(self, method: Method, handler: Any) -> Callable[[Any, Any], Message]:
        def run(exchange: Exchange) -> Message:
            answer: Message = handler(exchange.request, exchange.context)
            return answer

        proceed: Proceed = run
        for step in reversed(self.steps):
            proceed = _before(proceed, step)

        def behave(request: Any, context: grpc.ServicerContext) -> Message:
            values = metadata_values(context.invocation_metadata())
            peer = peer_of(context)
            call = Call(
                request_id="",
                principal=Principal.PUBLIC,
                deadline=0.0,
                client_address=client_address(peer, values),
                idempotency_key=_idempotency_key(values),
                reason=_reason(values),
                is_active=context.is_active,
            )
            context.novapay_call = call  # type: ignore[attr-defined]
            return proceed(Exchange(method, request, context, values, peer, call))

        return behave

    def trace(self, exchange: Exchange, proceed: Proceed) -> Message:
        """A span, child of the caller's; what is called from here becomes its child."""
        call = exchange.call
        with tracing.serving(
            exchange.method.name, lambda: exchange.values.get(metadata.TRACEPARENT)
        ) as span:
            try:
                return proceed(exchange)
            finally:
                span.say(
                    failed=exchange.reason != "OK" and REASONS[exchange.reason][0] in _OUR_FAULT,
                    rpc=exchange.method.path.removeprefix("/"),
                    reason=exchange.reason,
                    merchant=None if call.merchant is None else call.merchant.facts.code,
                    request_id=call.request_id,
                )

    def name_request(self, exchange: Exchange, proceed: Proceed) -> Message:
        """The caller's request id if it is sane, else a new one; goes back, and into every log line."""
        call = exchange.call
        given = exchange.values.get(metadata.REQUEST_ID, b"")
        call.request_id = (
            given.decode("ascii") if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        )
        set_current_call(call)
        logs.set_request_id(call.request_id)
        started = time.monotonic()
        try:
            return proceed(exchange)
        finally:
            trailing: list[tuple[str, str | bytes]] = [*call.trailing.items()]
            trailing.append((metadata.REQUEST_ID, call.request_id))
            trailing.append((metadata.PROCESS, _PROCESS))
            if exchange.status_details is not None:
                trailing.append((STATUS_DETAILS, exchange.status_details))
            exchange.context.set_trailing_metadata(tuple(trailing))
            seconds = time.monotonic() - started
            _log_exchange(exchange, seconds)
            metrics.rpc(exchange.method.name, exchange.reason, seconds)
            _note_signed_request(exchange, seconds)
            logs.set_request_id(None)
            set_current_call(None)

    def answer_errors(self, exchange: Exchange, proceed: Proceed) -> Message:
        """Every failure as google.rpc.Status; what is not a CoreError tells the caller nothing."""
        try:
            return proceed(exchange)
        except CoreError as refusal:
            error = refusal
        except Exception as failure:  # noqa: BLE001 (this is the last one to catch)
            _log.error(
                "unexpected failure",
                method=exchange.method.path,
                request_id=exchange.call.request_id,
                exc_info=failure,
            )
            error = CoreError("INTERNAL")
        idempotency.forget_unstored(exchange.call, error)
        status = status_of(error)
        exchange.reason = error.reason
        exchange.detail = "; ".join(
            [error.message, *(f"{item.field} {item.reason}" for item in error.violations)]
        )
        exchange.status_details = status.SerializeToString(deterministic=True)
        exchange.context.abort(_CODES[status.code], status.message)
        raise AssertionError("abort always raises")

    def keep_deadline(self, exchange: Exchange, proceed: Proceed) -> Message:
        """The caller's deadline less the margin; refuses what would end too late anyway."""
        remaining = exchange.context.time_remaining()
        if remaining is None or remaining > LONGEST_SECONDS:
            remaining = DEFAULT_SECONDS
        exchange.call.deadline = time.monotonic() + remaining - ANSWER_MARGIN_SECONDS
        exchange.call.ensure_alive(LEAST_SECONDS)
        return proceed(exchange)

    def limit_work(self, exchange: Exchange, proceed: Proceed) -> Message:
        """Operators, merchants' staff and the public share a part of the threads each."""
        principal = self._callers.principal_of(exchange.method, exchange.peer, exchange.values)
        share = self._shares.get(principal)
        if share is None:
            return proceed(exchange)
        if not share.acquire(blocking=False):
            with turns.elsewhere():
                if not share.acquire(timeout=SHARE_WAIT_SECONDS):
                    raise CoreError("OVERLOADED", retry_after_seconds=1)
        try:
            return proceed(exchange)
        finally:
            share.release()

    def open_connection(self, exchange: Exchange, proceed: Proceed) -> Message:
        """A database connection for this thread; at once 503 while the database is known to be away."""
        if not self._database_is_up():
            raise CoreError("DATABASE_UNAVAILABLE", retry_after_seconds=1)
        with connection_scope(), provider_places.Scope():
            return proceed(exchange)

    def identify_caller(self, exchange: Exchange, proceed: Proceed) -> Message:
        """Who is calling and whether they may; once more when a merchant just changed."""
        call = exchange.call
        for _ in range(2):
            self._callers.identify(
                call, exchange.method, exchange.peer, exchange.values, exchange.request
            )
            try:
                return proceed(exchange)
            except access.StaleSnapshot:
                access.refresh(call)
        raise CoreError("OVERLOADED", retry_after_seconds=1)

    def spend_nonce_at_last(self, exchange: Exchange, proceed: Proceed) -> Message:
        """A nonce that the handler did not spend is spent behind it; a replay wins over any answer.

        Not behind a 503: that was no answer to what was asked, and the caller sends it again.
        """
        try:
            answer = proceed(exchange)
        except CoreError as refusal:
            if refusal.family is not Family.UNAVAILABLE:
                access.spend_nonce(exchange.call)
            raise
        except access.StaleSnapshot:
            raise
        except Exception:
            with suppress(CoreError, access.StaleSnapshot):
                access.spend_nonce(exchange.call)
            raise
        access.spend_nonce(exchange.call)
        return answer

    def check_fields(self, exchange: Exchange, proceed: Proceed) -> Message:
        """Field rules of the proto file, and what the edge could not put into the message."""
        field_rules.check(exchange.request, exchange.values.get(metadata.FIELD_VIOLATIONS))
        return proceed(exchange)


def _before(proceed: Proceed, step: Step) -> Proceed:
    return lambda exchange: step(exchange, proceed)


def _idempotency_key(values: Values) -> str | None:
    """As text of one character a byte; its form is checked where it is used."""
    key = values.get(metadata.IDEMPOTENCY_KEY)
    return None if key is None else key.decode("latin-1")


def _reason(values: Values) -> str | None:
    """One line of printable text, cut to its longest: it is a note, and no reason to refuse anything.

    Documented calls work without it. Where money is overridden the core insists on a field of the request instead: the
    reason of an operator's refund, the note that puts an anomaly away.
    """
    text = values.get(metadata.REASON, b"").decode("utf-8", "replace")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line[:LONGEST_REASON] or None


def _note_signed_request(exchange: Exchange, seconds: float) -> None:
    """For the merchant's own log; a request without a key id is nobody's."""
    if Principal.MERCHANT not in exchange.method.principals:
        return
    key_id = exchange.values.get(metadata.API_KEY)
    if key_id is None:
        return
    request_log.note(
        Noted(
            id=new_id("req"),
            at=datetime.now(UTC),
            operation=exchange.method.name,
            outcome=exchange.reason,
            detail=exchange.detail,
            key_id=key_id,
            client_address=exchange.call.client_address,
            request_id=exchange.call.request_id,
            duration_ms=round(seconds * 1000),
        )
    )


def _log_exchange(exchange: Exchange, seconds: float) -> None:
    call = exchange.call
    merchant = call.merchant
    logs.write_line(
        "rpc",
        method=exchange.method.path,
        request_id=call.request_id,
        reason=exchange.reason,
        principal=str(call.principal),
        merchant=None if merchant is None else merchant.facts.code,
        operator=None if call.operator is None else call.operator.id,
        staff=None if call.staff is None else call.staff.id,
        duration_ms=round(seconds * 1000, 1),
        request_bytes=exchange.request.ByteSize(),
    )
