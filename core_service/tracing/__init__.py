"""One trace from the edge to the provider, for an OpenTelemetry collector.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set and the extra `tracing` is installed. Off, nothing of OpenTelemetry is
imported, nothing is carried, and every span is `NO_SPAN`.

A span says only what logs and metrics may say: our own words from `Words`, never a body, an address with its query, a
secret or a payer. What a span is about is said with its end or on the way, never by passing objects to it.
"""

import logging
import os
from collections.abc import Callable
from typing import Protocol, Self, TypedDict, Unpack

ENDPOINT_SETTING = "OTEL_EXPORTER_OTLP_ENDPOINT"
FLUSH_SECONDS = 1.0
"""How long the end of a process waits for its last spans to be taken."""

_log = logging.getLogger("core_service.tracing")


class Words(TypedDict, total=False):
    """Everything that a span can say; None is left out."""

    method: str | None
    """HTTP verb."""
    route: str | None
    """The template, never the path."""
    status: int | None
    """HTTP status."""
    rpc: str | None
    reason: str | None
    """OK or a reason code."""
    host: str | None
    """A provider's, never a merchant's."""
    outcome: str | None
    merchant: str | None
    """Its code."""
    order_id: str | None
    refund_id: str | None
    delivery_id: str | None
    request_id: str | None


class Span:
    """Something that takes time. Inside `with` whatever begins in this thread is its child; it ends there.

    This one is nobody's; that of `open_telemetry` does something.
    """

    __slots__ = ()

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits."""
        return None

    @property
    def traceparent(self) -> str | None:
        """By what another process goes on with the trace."""
        return None

    def say(self, *, name: str | None = None, failed: bool = False, **words: Unpack[Words]) -> None:
        """Add what is known by now; `failed`: through us or the other side, not the caller."""

    def end(self) -> None:
        """Only for one that was not used with `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


NO_SPAN = Span()

Parent = Callable[[], bytes | None]
"""Finds the `traceparent` that came with a request; not asked when tracing is off."""


class Tracer(Protocol):
    """What makes spans."""

    def serving(self, name: str, parent: Parent) -> Span: ...
    def calling(self, name: str) -> Span: ...
    def working(self, name: str) -> Span: ...
    def current(self) -> Span: ...
    def stop(self, seconds: float) -> None: ...


_tracer: Tracer | None = None


def serving(name: str, parent: Parent) -> Span:
    """The span of a request that came in: child of the one that came along with it, if that is well-formed."""
    return NO_SPAN if _tracer is None else _tracer.serving(name, parent)


def calling(name: str) -> Span:
    """The span of a call to somebody else: child of the current one, else the first of its trace."""
    return NO_SPAN if _tracer is None else _tracer.calling(name)


def working(name: str) -> Span:
    """The span of work that nobody asked for: child of the current one, else the first of its trace."""
    return NO_SPAN if _tracer is None else _tracer.working(name)


def current() -> Span:
    """The innermost span of this thread."""
    return NO_SPAN if _tracer is None else _tracer.current()


def start(service: str, *, heeds_sampling: bool = True) -> None:
    """Begin to tell the collector, if there is one; in the very process that does the work, after any fork.

    `heeds_sampling`: whether the caller may decide that its request is, or is not, traced.
    """
    global _tracer  # noqa: PLW0603 (one for the process)
    if not os.environ.get(ENDPOINT_SETTING):
        return
    try:
        # Half a second, and a thread: for those who want it.
        from core_service.tracing.open_telemetry import OpenTelemetry  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        _log.warning("tracing is off: install the extra novapay[tracing]")
        return
    _tracer = OpenTelemetry(service, heeds_sampling=heeds_sampling)


def stop() -> None:
    """Tell what is left, for a moment; does nothing when tracing is off."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.stop(FLUSH_SECONDS)
