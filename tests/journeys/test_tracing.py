"""What an OpenTelemetry collector gets to see: one trace from the edge to the provider, and no secret."""

import json
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.collector import Collector, Seen
from tests.journeys.canaries import canaries_of, parts_of
from tests.journeys.conftest import NOTIFY_SECRET
from tests.payer import Payer, sandbox_accounts
from tests.stack import Answer, Merchant, Receiver, Stack, wait_until
from tests.stack_fixtures import open_shop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

COLLECTOR_TOKEN = "canary-of-the-collector"
NAMES = {
    "http.request.method", "http.route", "http.response.status_code", "rpc.method", "server.address",
    "novapay.reason", "novapay.outcome", "novapay.merchant", "novapay.order_id", "novapay.refund_id",
    "novapay.delivery_id", "novapay.request_id",
}  # fmt: skip
"""What a span may say anything under."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Stack]:
    """A stack that tells the collector; the last test ends it."""
    with tempfile.TemporaryDirectory(prefix="novapay-traced-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # the account that runs PostgreSQL for root must get through
        stack = Stack(
            Path(name),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
            OTEL_EXPORTER_OTLP_HEADERS=f"authorization={COLLECTOR_TOKEN}",
            OTEL_BSP_SCHEDULE_DELAY="100",
            NOVAPAY_CORE_PROCESSES="1",
            NOVAPAY_EDGE_PROCESSES="1",
            CALLBACK_RETRY_INTERVAL_SECONDS="1",
        ).start()
        try:
            yield stack
        finally:
            assert stack.stop() == 0, stack.log.read_text()[-4000:]
            assert stack.internal_errors() == []


@pytest.fixture(scope="module")
def configurations(traced: Stack) -> dict[str, Any]:
    return sandbox_accounts(traced)


@pytest.fixture(scope="module")
def shop(traced: Stack, configurations: dict[str, Any]) -> Merchant:
    merchant = open_shop(traced, configurations)[0]
    traced.cli("merchants", "set", "--code", merchant.code, "--notify-secret", stdin=NOTIFY_SECRET)
    return merchant


def create(shop: Merchant, channel: str = "wxpay.native", **headers: str) -> Answer:
    body = {
        "channelCode": channel,
        "externalOrderId": f"traced-{secrets.token_hex(8)}",
        "amount": "3.00",
        "subject": "一年会员",
    }
    return shop.post("/api/payment-orders", body, headers=headers)


def attempts_about(collector: Collector, order_id: str) -> list[Seen]:
    return [
        one
        for one in collector.spans()
        if one.span.name == "callback attempt" and one.says["novapay.order_id"] == order_id
    ]


def test_one_request_is_one_trace_from_the_edge_to_the_provider(
    traced: Stack, collector: Collector, shop: Merchant
) -> None:
    answer = create(shop)
    assert answer.status == 200, answer.raw
    order_id = answer.json["order"]["id"]
    edge, core, provider = sorted(
        collector.trace_of(answer, 3), key=lambda one: one.span.start_time_unix_nano
    )
    assert (edge.service, core.service, provider.service) == (
        "novapay-edge", "novapay-core", "novapay-core",
    )  # fmt: skip
    assert (edge.span.kind, core.span.kind, provider.span.kind) == (
        Span.SPAN_KIND_SERVER, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT,
    )  # fmt: skip
    assert edge.span.parent_span_id == b""
    assert core.span.parent_span_id == edge.span.span_id
    assert provider.span.parent_span_id == core.span.span_id
    request_id = answer.headers["x-request-id"]
    assert edge.span.name == "POST /api/payment-orders"
    assert edge.says == {
        "http.request.method": "POST",
        "http.route": "/api/payment-orders",
        "http.response.status_code": 200,
        "novapay.request_id": request_id,
    }
    assert core.span.name == "CreatePaymentOrder"
    assert core.says == {
        "rpc.method": "novapay.payments.v1.PaymentService/CreatePaymentOrder",
        "novapay.reason": "OK",
        "novapay.merchant": shop.code,
        "novapay.order_id": order_id,
        "novapay.request_id": request_id,
    }
    assert provider.says == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "novapay.outcome": "200",
    }
    lines = [one for one in traced.log_records() if one.get("request_id") == request_id]
    assert {one["event"] for one in lines} >= {"request", "rpc"}
    assert {one["trace_id"] for one in lines} == {edge.span.trace_id.hex()}


def test_a_callers_trace_goes_on_if_it_is_well_formed(collector: Collector, shop: Merchant) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    # Not sampled by the caller: that is for us to decide.
    answer = create(shop, "alipay.page", traceparent=f"00-{trace_id}-{span_id}-00")
    edge, core = sorted(
        collector.trace_of(answer, 2), key=lambda one: one.span.start_time_unix_nano
    )
    assert edge.span.trace_id == core.span.trace_id == bytes.fromhex(trace_id)
    assert edge.span.parent_span_id == bytes.fromhex(span_id)
    assert core.span.parent_span_id == edge.span.span_id


@pytest.mark.parametrize(
    "header",
    [f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'A' * 32}-{'1' * 16}-01", "00-1-1-01", "x" * 4000],
)
def test_a_callers_trace_that_is_not_well_formed_is_none(
    collector: Collector, shop: Merchant, header: str
) -> None:
    answer = create(shop, "alipay.page", traceparent=header, tracestate="stranger=1")
    assert answer.status == 200, answer.raw
    edge = next(one for one in collector.trace_of(answer, 2) if one.service == "novapay-edge")
    assert edge.span.parent_span_id == b""
    assert edge.span.trace_state == ""


def test_a_refusal_says_its_reason_and_only_our_faults_are_errors(
    collector: Collector, shop: Merchant
) -> None:
    answer = shop.post("/api/payment-orders/po_none", {})
    assert answer.status == 404
    edge, core = sorted(
        collector.trace_of(answer, 2), key=lambda one: one.span.start_time_unix_nano
    )
    assert edge.says["http.route"] == "/api/payment-orders/{order_reference}"
    assert core.says["novapay.reason"] == "ORDER_NOT_FOUND"
    assert {one.span.status.code for one in (edge, core)} == {Status.STATUS_CODE_UNSET}


def test_s04_spans_hold_no_secret_body_or_payer(
    traced: Stack, collector: Collector, shop: Merchant, receiver: Receiver,
    configurations: Mapping[str, Any],
) -> None:  # fmt: skip
    """Everything that the paths of money tell, at last with a callback that is a trace of its own."""
    payer = Payer(traced, traced.accounts_of[shop.code])
    canaries = {shop.secret, shop.key_id, NOTIFY_SECRET, traced.service_token, COLLECTOR_TOKEN}
    canaries |= {"一年会员", receiver.url, "canary-of-a-query"}
    for channel, config in configurations.items():
        canaries |= canaries_of(config)
        canaries.add(traced.accounts_of[shop.code][channel]["callbackToken"])
        order = shop.create_order(channel, callbackUrl=receiver.url).json["order"]
        payer.pay(order)
        wait_until(partial(receiver.about, order["id"]), what="the callback")
        assert shop.refund(order["id"], "1.00").status == 200
        traced.http.request("GET", f"/pay/{order['id']}?q=canary-of-a-query")
        attempts: list[Seen] = wait_until(
            partial(attempts_about, collector, order["id"]), what="the span of the callback"
        )
        assert attempts[0].service == "novapay-worker"
        assert attempts[0].span.parent_span_id == b""
        assert attempts[0].says["novapay.outcome"] == "delivered"
    seen = collector.spans()
    assert not [one for one in seen if one.span.events or one.span.links]
    assert not [one for one in seen if one.span.status.message or one.span.trace_state]
    assert {key for one in seen for key in one.says} <= NAMES
    told = b"".join(collector.bodies)
    for canary in canaries:
        for part in parts_of(canary) if "\n" in canary else [canary]:
            assert part.encode() not in told
            assert part != COLLECTOR_TOKEN or part not in traced.log.read_text()
    # Nobody outside hears of our traces.
    assert receiver.received
    assert not [1 for headers, _ in receiver.received if "traceparent" in headers]
    assert collector.authorizations == {COLLECTOR_TOKEN}


def test_a_collector_that_goes_away_disturbs_nothing(
    traced: Stack, collector: Collector, shop: Merchant
) -> None:
    """It refuses connections, comes back, and at last takes them and never answers while everything ends."""

    def said(words: str) -> bool:
        return any(one["event"] == words for one in traced.log_records())

    collector.__exit__()
    for _ in range(5):
        assert create(shop).status == 200
    wait_until(lambda: said("spans are not taken"), what="the line about it")
    with collector:
        assert create(shop).status == 200
        wait_until(lambda: said("spans are taken again"), what="the line about that")
    with socket.create_server(("127.0.0.1", collector.port)):
        assert create(shop).status == 200
        assert traced.stop() == 0
    collector.__enter__()
    records = traced.log_records()
    assert not [one for one in records if one["event"] == "program_killed"]
    assert not [one for one in records if "opentelemetry" in json.dumps(one)]
