"""Off it is nothing; on, what is carried and who decides. The spans themselves: tests/journeys/test_tracing.py."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from core_service import tracing
from core_service.outbound_http import ProviderClient
from core_service.tracing import ENDPOINT_SETTING, NO_SPAN, Span
from tests.collector import Collector
from tests.core_service.raw_server import raw_server

TRACE = "0af7651916cd43dd8448eb211c80319c"
SAMPLED = f"00-{TRACE}-b7ad6b7169203331-01".encode()

STARTED = """
import sys, threading
import core_service.bootstrap, rest_edge.front
from core_service import tracing
tracing.start("novapay-edge")
span = tracing.serving("GET", lambda: 1 / 0)
assert span is tracing.NO_SPAN and span.traceparent is None and span.trace_id is None
with span:
    assert tracing.current() is span
print([thread.name for thread in threading.enumerate()])
print([name for name in sys.modules if name.startswith("opentelemetry.")])
tracing.stop()
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_without_a_collector_nothing_is_imported_and_no_thread_runs() -> None:
    done = run(STARTED)
    assert done.stdout.splitlines() == ["['MainThread']", "[]"]
    assert done.stderr == ""


def test_without_the_extra_a_line_says_so_and_nothing_else_changes() -> None:
    done = run(
        f"import sys; sys.modules['opentelemetry'] = None\n{STARTED}",
        **{ENDPOINT_SETTING: "http://127.0.0.1:9"},
    )
    assert done.stdout.splitlines() == ["['MainThread']", "[]"]
    assert done.stderr.splitlines() == ["tracing is off: install the extra novapay[tracing]"]


def ok(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to tell; whoever starts is stopped."""
    with Collector() as running:
        monkeypatch.setenv(ENDPOINT_SETTING, f"http://127.0.0.1:{running.port}")
        yield running
        tracing.stop()
        assert tracing.current() is NO_SPAN


def test_what_is_left_is_told_at_the_end(collector: Collector) -> None:
    tracing.start("test")
    with tracing.working("work") as span:
        assert tracing.current().trace_id == span.trace_id
    assert tracing.current().trace_id is None
    assert collector.spans() == []
    tracing.stop()
    assert [one.span.name for one in collector.spans()] == ["work"]
    assert "OtelBatchSpanRecordProcessor" not in {one.name for one in threading.enumerate()}


def test_a_provider_does_not_hear_of_the_trace(collector: Collector) -> None:
    tracing.start("test")
    with raw_server(ok) as provider, ProviderClient() as client, tracing.working("work") as span:
        url = f"http://127.0.0.1:{provider.port}/"
        client.request("POST", url, headers={}, body=b"{}", timeout_seconds=5)
    (head,) = provider.heads
    assert span.trace_id is not None
    assert span.trace_id.encode() not in head
    assert b"traceparent" not in head.lower()


@pytest.mark.parametrize(
    ("heeds_sampling", "flags"), [(True, "01"), (False, "00")], ids=["core", "edge"]
)
def test_a_stranger_does_not_decide_whether_a_request_is_traced(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, *, heeds_sampling: bool, flags: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracing.start("test", heeds_sampling=heeds_sampling)
    span: Span = tracing.serving("GET", lambda: SAMPLED)
    span.end()
    assert span.trace_id == TRACE
    assert span.traceparent is not None
    assert span.traceparent.endswith(f"-{flags}")


def test_a_span_that_fails_says_nothing_of_the_exception(collector: Collector) -> None:
    tracing.start("test")
    with pytest.raises(ValueError, match="canary"), tracing.working("work"):
        raise ValueError("canary")
    assert tracing.current().trace_id is None
    tracing.stop()
    assert len(collector.spans()) == 1
    assert b"canary" not in b"".join(collector.bodies)
