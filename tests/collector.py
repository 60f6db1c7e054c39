"""A collector of OpenTelemetry spans over OTLP/HTTP."""

import http.server
import threading
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.stack import Answer, free_port, wait_until


class Collector:
    """Takes spans over OTLP/HTTP on a port that it keeps; may be ended and begun again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.bodies: list[bytes] = []
        self.authorizations: set[str | None] = set()
        self._server: http.server.ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                collector.authorizations.add(self.headers.get("authorization"))
                collector.bodies.append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list["Seen"]:
        return [
            Seen(service_of(batch.resource), span)
            for body in list(self.bodies)
            for batch in trace_service_pb2.ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in batch.scope_spans
            for span in scope.spans
        ]

    def trace_of(self, answer: Answer, spans: int) -> list["Seen"]:
        """All spans of the trace that this answer's request belongs to, when there are so many."""
        request_id = answer.headers["x-request-id"]

        def found() -> list[Seen]:
            seen = self.spans()
            ids = {
                one.span.trace_id
                for one in seen
                if one.says.get("novapay.request_id") == request_id
            }
            whole = [one for one in seen if one.span.trace_id in ids]
            return whole if len(whole) >= spans else []

        whole: list[Seen] = wait_until(found, what=f"{spans} spans")
        return whole


class Seen:
    """A span, the service that told it, and its attributes."""

    def __init__(self, service: str, span: Span) -> None:
        self.service = service
        self.span = span
        self.says = {
            item.key: item.value.string_value or item.value.int_value for item in span.attributes
        }


def service_of(resource: Any) -> str:
    return str(
        next(item.value.string_value for item in resource.attributes if item.key == "service.name")
    )
