"""Live state of the payer's pages: shared questions, ends, limits."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from core_service import metadata
from core_service.errors import CoreError
from novapay.payments.v1 import payment_service_pb2 as payments
from rest_edge.admission import STREAMS_AT_ONCE
from tests.rest_edge.conftest import Call, Edge, RecordingCore, running_edge, wait_until


def checkout(state: str, *, may_change: bool) -> payments.GetCheckoutResponse:
    return payments.GetCheckoutResponse(
        order_id="po_1",
        state=payments.CheckoutState.Value(f"CHECKOUT_STATE_{state}"),
        refunded_amount="0.00",
        may_change=may_change,
    )


class Stream:
    """One page that listens."""

    def __init__(self, edge: Edge, order_id: str = "po_1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", edge.port), timeout=30)
        self._socket.sendall(f"GET /pay/{order_id}/events HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        self.seen = b""

    def read_until(self, text: bytes) -> bytes:
        """Everything up to and with `text`; the end of the stream also ends it."""
        while text not in self.seen:
            chunk = self._socket.recv(65536)
            if not chunk:
                break
            self.seen += chunk
        return self.seen

    def close(self) -> None:
        self._socket.close()


@contextmanager
def streams(edge: Edge, number: int) -> Iterator[list[Stream]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(Stream(edge))
            stack.callback(opened[-1].close)
        yield opened


def polls(core: RecordingCore, order_id: str = "po_1") -> int:
    """Questions about an order that the edge asked on its own, for no page in particular."""
    return sum(
        call.method == "GetCheckout"
        and call.request.order_id == order_id
        and not call.metadata[metadata.CLIENT_ADDRESS]
        for call in core.calls
    )


def test_all_pages_of_an_order_share_the_questions(edge: Edge, core: RecordingCore) -> None:
    def answer(_call: Call, _context: Any) -> Any:
        # The second question that the edge asks by itself brings news.
        is_paid = polls(core) >= 2
        return checkout("PAID" if is_paid else "WAITING", may_change=not is_paid)

    core.answer("GetCheckout", answer)
    with streams(edge, 20) as opened:
        for stream in opened:
            head = stream.read_until(b"\n\n").decode()
            assert head.startswith("HTTP/1.1 200")
            assert "text/event-stream" in head
        for stream in opened:
            seen = stream.read_until(b"event: end").decode()
            states = [line for line in seen.splitlines() if line.startswith("data: ")]
            assert ["data: WAITING 0.00 -", "data: PAID 0.00 -", "data: end"] == states[:3]
    assert 2 == polls(core)


def test_a_settled_order_is_told_and_ended_without_a_question(
    edge: Edge, core: RecordingCore
) -> None:
    core.answer("GetCheckout", checkout("REFUNDED", may_change=False))
    with streams(edge, 1) as (stream,):
        assert b"data: REFUNDED 0.00 -" in stream.read_until(b"event: end")
    assert 0 == polls(core)


def test_a_failing_core_does_not_end_the_stream(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout("WAITING", may_change=True))
    with streams(edge, 1) as (stream,):
        stream.read_until(b"data: WAITING")
        core.answer("GetCheckout", CoreError("DATABASE_UNAVAILABLE"))
        wait_until(lambda: polls(core) > 0)
        core.answer("GetCheckout", checkout("PAID", may_change=False))
        assert b"data: PAID" in stream.read_until(b"event: end")


def test_nobody_is_asked_when_nobody_listens(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout("WAITING", may_change=True))
    ended = streams_ended(edge)
    with streams(edge, 3) as opened:
        for stream in opened:
            stream.read_until(b"data: WAITING")
    wait_until(lambda: streams_ended(edge) == ended + 3)
    before = polls(core)
    other = Stream(edge, "po_2")
    wait_until(lambda: polls(core, "po_2") == 2)
    other.close()
    assert before == polls(core)


def streams_ended(edge: Edge) -> int:
    """Access lines of streams."""
    return edge.log.read_text().count('"route": "/pay/{order_id}/events"')


@pytest.mark.parametrize(
    ("reason", "status"), [("ORDER_NOT_FOUND", 404), ("DATABASE_UNAVAILABLE", 503)]
)
def test_what_cannot_be_watched_is_an_error_before_any_event(
    edge: Edge, core: RecordingCore, reason: str, status: int
) -> None:
    core.answer("GetCheckout", CoreError(reason))
    answer = edge.request("GET", "/pay/po_1/events")
    assert (status, reason) == (answer.status, answer.json["code"])


def test_waiting_pages_take_no_place_of_the_api(core: RecordingCore, tmp_path: Path) -> None:
    core.answer("GetCheckout", checkout("WAITING", may_change=True))
    core.answer("CreatePaymentOrder", payments.CreatePaymentOrderResponse(created=True))
    with running_edge(tmp_path, NOVAPAY_GRPC_BIND=core.address) as edge:
        with streams(edge, STREAMS_AT_ONCE) as opened:
            for stream in opened:
                stream.read_until(b"data: WAITING")
            more = edge.request("GET", "/pay/po_1/events")
            assert (503, "OVERLOADED") == (more.status, more.json["code"])
            for _ in range(20):
                answer = edge.request("POST", "/api/payment-orders", {"merchantCode": "acme"})
                assert 200 == answer.status
            assert 200 == edge.request("GET", "/docs").status
        # Places come free again when pages go away.
        wait_until(lambda: gets_in(edge))


def gets_in(edge: Edge) -> bool:
    with streams(edge, 1) as (stream,):
        return stream.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_k07_sigterm_ends_streams_so_that_pages_go_elsewhere(
    core: RecordingCore, tmp_path: Path
) -> None:
    core.answer("GetCheckout", checkout("WAITING", may_change=True))
    with running_edge(tmp_path, NOVAPAY_GRPC_BIND=core.address) as edge:
        with streams(edge, 5) as opened:
            for stream in opened:
                stream.read_until(b"data: WAITING")
            edge.process.send_signal(signal.SIGTERM)
            for stream in opened:
                seen = stream.read_until(b"no such text")
                assert seen.endswith(
                    b"0\r\n\r\n"
                )  # whole, and without the event that says never again
                assert b"event: end" not in seen
            assert 0 == edge.process.wait(20)
        assert "Forcing close" not in edge.log.read_text()
