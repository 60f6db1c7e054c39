"""Spans by OpenTelemetry's SDK, sent over OTLP/HTTP by a thread of its own. Imported only when tracing is on."""

import logging
import threading
from collections.abc import Mapping, Sequence
from contextvars import Token
from typing import Self, Unpack

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from core_service.metadata import TRACEPARENT
from core_service.tracing import Parent, Span, Words

_ATTRIBUTES: Mapping[str, str] = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "rpc": "rpc.method",
    "host": "server.address",
    "reason": "novapay.reason",
    "outcome": "novapay.outcome",
    "merchant": "novapay.merchant",
    "order_id": "novapay.order_id",
    "refund_id": "novapay.refund_id",
    "delivery_id": "novapay.delivery_id",
    "request_id": "novapay.request_id",
}
"""Our words by the names of OpenTelemetry's conventions, where those have one."""

_log = logging.getLogger("core_service.tracing")
_reader = TraceContextTextMapPropagator()


class OpenTelemetry:
    """The tracer of a process. Sampler, headers, certificates and limits are read from OpenTelemetry's own settings."""

    def __init__(self, service: str, *, heeds_sampling: bool) -> None:
        # The library's own lines quote its settings and what the collector answered; `_Exporter` says what matters.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        if not heeds_sampling:
            self._provider.sampler = _OwnChoice(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(_Exporter()))
        self._tracer = self._provider.get_tracer("novapay")

    def serving(self, name: str, parent: Parent) -> Span:
        """See `tracing.serving`. What vendors add in `tracestate` is not read."""
        given = parent()
        carrier = {} if given is None else {TRACEPARENT: given.decode("latin-1")}
        return self._begin(name, SpanKind.SERVER, _reader.extract(carrier, Context()))

    def calling(self, name: str) -> Span:
        """See `tracing.calling`."""
        return self._begin(name, SpanKind.CLIENT)

    def working(self, name: str) -> Span:
        """See `tracing.working`."""
        return self._begin(name, SpanKind.INTERNAL)

    def current(self) -> Span:
        """See `tracing.current`."""
        return _Span(trace.get_current_span())

    def stop(self, seconds: float) -> None:
        """The SDK would wait half a minute for a collector that does not answer."""
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(seconds)

    def _begin(self, name: str, kind: SpanKind, context: Context | None = None) -> Span:
        return _Span(self._tracer.start_span(name, context, kind))


class _Span(Span):
    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Token[Context] | None = None

    @property
    def trace_id(self) -> str | None:
        context = self._span.get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    @property
    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _reader.inject(carrier, trace.set_span_in_context(self._span, Context()))
        return carrier.get(TRACEPARENT)

    def say(self, *, name: str | None = None, failed: bool = False, **words: Unpack[Words]) -> None:
        if name is not None:
            self._span.update_name(name)
        if failed:
            self._span.set_status(StatusCode.ERROR)
        for word, value in words.items():
            if isinstance(value, str | int):
                self._span.set_attribute(_ATTRIBUTES[word], value)

    def end(self) -> None:
        self._span.end()

    def __enter__(self) -> Self:
        self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, *_: object) -> None:
        # An exception is not recorded: its words can quote what was asked.
        if self._token is not None:
            contexts.detach(self._token)
        self.end()


class _OwnChoice(Sampler):
    """A stranger says which trace a request belongs to, and not whether it costs us anything."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,  # noqa: ARG002 (the library's signature)
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,  # noqa: ARG002 (the library's signature)
    ) -> SamplingResult:
        return self._sampler.should_sample(Context(), trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        return f"OwnChoice({self._sampler.get_description()})"


class _Exporter(OTLPSpanExporter):
    """Says once when spans are not taken any more, and once when they are again; meanwhile they are dropped."""

    _are_taken = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        are_taken = result is SpanExportResult.SUCCESS
        if are_taken is not self._are_taken:
            self._are_taken = are_taken
            _log.warning("spans are %s", "taken again" if are_taken else "not taken")
        return result
