"""Requests become calls, answers become JSON."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.metadata import IDEMPOTENCY_STATUS
from novapay.payments.v1 import payment_service_pb2 as payments
from tests.rest_edge.conftest import (
    Call,
    Edge,
    RecordingCore,
    running_core,
    running_edge,
    wait_until,
)

ORDER = {
    "merchantCode": "acme",
    "channelCode": "alipay.page",
    "externalOrderId": "A-1",
    "amount": "88.10",
    "subject": "Tea",
}


def test_create_order_becomes_one_call(edge: Edge, core: RecordingCore) -> None:
    core.answer(
        "CreatePaymentOrder",
        payments.CreatePaymentOrderResponse(
            created=True,
            order=payments.PaymentOrder(
                id="po_1", amount="88.10", status=payments.ORDER_STATUS_PROCESSING
            ),
        ),
    )
    body = json.dumps(ORDER).encode()
    answer = edge.request(
        "POST",
        "/api/payment-orders",
        body,
        {"x-novapay-key": "npk_1", "x-novapay-signature": "ab", "x-request-id": "r-1"},
    )
    assert 200 == answer.status
    assert "r-1" == answer.headers["x-request-id"]
    assert "PROCESSING" == answer.json["order"]["status"]
    assert answer.json["order"]["paidAt"] is None
    call = core.only_call
    assert "88.10" == call.request.amount
    assert b"npk_1" == call.metadata["x-novapay-key-bin"]
    assert body == call.metadata["x-novapay-body-bin"]
    assert "r-1" == call.metadata["x-request-id"]
    assert [] == call.violations


@pytest.mark.parametrize("path", ["/api/payment-orders", "/api/payments/orders"])
def test_legacy_path_is_the_same_call(edge: Edge, core: RecordingCore, path: str) -> None:
    assert 200 == edge.request("POST", path, ORDER).status
    assert "CreatePaymentOrder" == core.only_call.method


def test_body_without_merchant_is_refused_before_the_core(edge: Edge, core: RecordingCore) -> None:
    for body in (
        {},
        {"merchantCode": None},
        {"merchantCode": ""},
        {"merchantCode": 5},
        {"merchantCode": ["a"]},
    ):
        answer = edge.request("POST", "/api/payment-orders", body)
        assert (400, "INVALID_REQUEST") == (answer.status, answer.json["code"])
        assert "merchantCode" == answer.json["details"][0]["field"]
    assert [] == core.calls


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'"x"', b"\xef\xbb\xbf{}", b'{"merchantCode":"a","a":NaN}',
     b'{"merchantCode":"a","merchantCode":"a"}',
     b'{"merchantCode":"\xff"}', b"[" * 60_000, '{"merchantCode":"a"}'.encode("utf-16")],
)  # fmt: skip
def test_i03_i04_i05_broken_json(edge: Edge, core: RecordingCore, raw: bytes) -> None:
    answer = edge.request("POST", "/api/payment-orders", raw)
    assert (400, "INVALID_JSON") == (answer.status, answer.json["code"])
    assert [] == core.calls


def test_i06_i08_violations_travel_with_the_call(edge: Edge, core: RecordingCore) -> None:
    body = b'{"merchantCode":"acme","subject":5,"currency":"a\\u0000","metadata":"x","\\ud800":1,"amount":true}'
    edge.request("POST", "/api/payment-orders", body)
    violations = core.only_call.violations
    assert ["currency", "\ufffd", "subject", "metadata"] == [field for field, _ in violations]
    assert "true" == core.only_call.request.amount


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({}, []),
        ({"amount": ""}, []),
        ({"amount": None}, []),
        ({"amount": ...}, [("amount", "is required")]),
        ({"amount": "\x07"}, []),
    ],
)
def test_a_missing_amount_is_named_and_an_empty_one_is_judged_by_the_core(
    edge: Edge, core: RecordingCore, change: dict[str, Any], missing: list[tuple[str, str]]
) -> None:
    body = {name: value for name, value in (ORDER | change).items() if value is not ...}
    edge.request("POST", "/api/payment-orders", body)
    assert missing == core.only_call.violations


def test_violations_of_the_core_are_shown_with_their_fields(
    edge: Edge, core: RecordingCore
) -> None:
    core.answer(
        "CreatePaymentOrder", invalid_request(FieldViolation("subject", "must be a string"))
    )
    answer = edge.request("POST", "/api/payment-orders", ORDER)
    assert 400 == answer.status
    assert [{"field": "subject", "reason": "must be a string"}] == answer.json["details"]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("INVALID_AMOUNT", 400),
        ("NONCE_REPLAYED", 401),
        ("MERCHANT_SUSPENDED", 403),
        ("ORDER_NOT_FOUND", 404),
        ("ORDER_AMOUNT_CONFLICT", 409),
        ("AMOUNT_TOO_LARGE", 422),
        ("RATE_LIMITED", 429),
        ("PROVIDER_TIMEOUT", 500),
        ("DATABASE_UNAVAILABLE", 503),
    ],
)
def test_reasons_pass_through_and_families_decide_the_status(
    edge: Edge, core: RecordingCore, reason: str, status: int
) -> None:
    core.answer(
        "CreatePaymentOrder", CoreError(reason, details={"a": ["é"]}, retry_after_seconds=7)
    )
    answer = edge.request("POST", "/api/payment-orders", ORDER)
    assert (status, reason) == (answer.status, answer.json["code"])
    assert {"a": ["é"]} == answer.json["details"]
    assert "7" == answer.headers["retry-after"]


def test_429_and_503_always_have_retry_after(edge: Edge, core: RecordingCore) -> None:
    for reason in ("RATE_LIMITED", "OVERLOADED"):
        core.answer("CreatePaymentOrder", CoreError(reason))
        assert int(edge.request("POST", "/api/payment-orders", ORDER).headers["retry-after"]) > 0


def test_s03_failures_of_the_core_show_nothing_but_the_request_id(
    edge: Edge, core: RecordingCore
) -> None:
    def crash(_call: Call, _context: Any) -> Any:
        raise RuntimeError("secret-canary /path/of/file SELECT")

    core.answer("CreatePaymentOrder", crash)
    answer = edge.request("POST", "/api/payment-orders", ORDER, {"x-request-id": "r-42"})
    assert (500, "INTERNAL") == (answer.status, answer.json["code"])
    assert b"canary" not in answer.body
    assert "r-42" in answer.json["error"]
    assert answer.json["details"] is None


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("QueryPaymentOrder", "/api/payment-orders/po_1", (503, "OVERLOADED")),
        # It may have been done all the same (V18).
        ("CreatePaymentOrder", "/api/payment-orders", (500, "PROVIDER_TIMEOUT")),
    ],
)
def test_deadline_goes_along_and_its_end_is_told(
    edge: Edge, core: RecordingCore, method: str, path: str, expected: tuple[int, str]
) -> None:
    core.answer(method, lambda _, context: context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late"))
    answer = edge.request("POST", path, ORDER)
    assert (answer.status, answer.json["code"]) == expected
    assert 9 < core.only_call.seconds_left < 11


@pytest.mark.parametrize("in_body", ["", None, "po_1"])
def test_path_reference_may_be_repeated(
    edge: Edge, core: RecordingCore, in_body: str | None
) -> None:
    edge.request(
        "POST", "/api/payment-orders/po_1", {"merchantCode": "acme", "orderReference": in_body}
    )
    assert ("po_1", []) == (core.only_call.request.order_reference, core.only_call.violations)


def test_path_reference_must_be_text_in_the_body(edge: Edge, core: RecordingCore) -> None:
    edge.request("POST", "/api/payment-orders/po_1", {"merchantCode": "a", "orderReference": 5})
    assert [("orderReference", "must be a string")] == core.only_call.violations


def test_another_reference_in_the_body_is_one_more_name_for_the_core(
    edge: Edge, core: RecordingCore
) -> None:
    """Which knows whether the merchant's number and ours are of one order."""
    body = {"merchantCode": "a", "orderReference": "E"}
    edge.request("POST", "/api/payment-orders/po_1", body)
    edge.request("POST", "/api/payment-orders/po_1", body | {"orderId": "po_1"})
    edge.request(
        "POST", "/api/payment-orders/po_1", body | {"orderId": "a", "externalOrderId": "b"}
    )
    first, second, third = core.calls
    assert ("po_1", "E", "") == names_of(first.request)
    assert ("po_1", "po_1", "E") == names_of(second.request)
    assert [("orderReference", "must be the one in the path")] == third.violations


def names_of(request: Any) -> tuple[str, str, str]:
    return request.order_reference, request.order_id, request.external_order_id


@pytest.mark.parametrize(
    ("path", "stranger"),
    [
        ("/api/payment-orders/po_1", "refundReference"),
        ("/api/payment-orders/po_1/close", "refundId"),
        ("/api/payment-orders/po_1/close", "externalRefundId"),
        ("/api/payment-orders/po_1/refunds", "refundReference"),
        ("/api/payment-refunds/rf_1", "orderReference"),
        ("/api/payment-refunds/rf_1", "externalOrderId"),
    ],
)
def test_a_body_signed_for_something_else_is_refused(
    edge: Edge, core: RecordingCore, path: str, stranger: str
) -> None:
    """The signature covers no path, so a body that names an order must not be turned against a refund."""
    edge.request("POST", path, {"merchantCode": "a", stranger: "x"})
    assert stranger in [field for field, _ in core.only_call.violations]
    edge.request("POST", path, {"merchantCode": "a", stranger: ""})
    assert stranger not in [field for field, _ in core.calls[-1].violations]


def test_on_legacy_routes_the_first_name_counts(edge: Edge, core: RecordingCore) -> None:
    body = {"merchantCode": "a", "orderReference": "", "orderId": "po_1", "externalOrderId": "E"}
    edge.request("POST", "/api/payments/orders/query", body)
    assert ("", "po_1", "") == names_of(core.only_call.request)
    names = {"refundReference": "rf_1", "refundId": "rf_2", "externalRefundId": "E"}
    edge.request("POST", "/api/payments/refunds/query", {"merchantCode": "a", **names})
    request = core.calls[-1].request
    assert ("rf_1", "", "") == (
        request.refund_reference,
        request.refund_id,
        request.external_refund_id,
    )
    refund = {"externalRefundId": "R", "amount": "1.00"}
    edge.request("POST", "/api/payments/refunds", body | refund)
    request = core.calls[-1].request
    assert ("", "po_1", "") == names_of(request)
    assert "R" == request.external_refund_id


def test_legacy_references_travel_as_they_are(edge: Edge, core: RecordingCore) -> None:
    edge.request(
        "POST",
        "/api/payments/orders/query",
        {"merchantCode": "a", "orderId": "", "externalOrderId": "E", "sync": False},
    )
    request = core.only_call.request
    assert ("", "", "E") == (request.order_reference, request.order_id, request.external_order_id)
    assert request.HasField("sync")


def test_references_are_decoded_once(edge: Edge, core: RecordingCore) -> None:
    edge.request(
        "POST", "/api/payment-orders/%E8%AE%A2%E5%8D%95%2541%20b", {"merchantCode": "acme"}
    )
    assert "订单%41 b" == core.only_call.request.order_reference


@pytest.mark.parametrize(
    "reference",
    [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fetc",
        "a%2Fclose",
        "%00",
        "a%0ab",
        "%ff",
        "%c0%af",
        "%7f",
        "a%5cb",
        "x/y/z",
        "",
        "%2e",
    ],
)
def test_i12_odd_references_are_json_404(edge: Edge, core: RecordingCore, reference: str) -> None:
    answer = edge.request("POST", f"/api/payment-orders/{reference}", {"merchantCode": "acme"})
    assert (404, "NOT_FOUND") == (answer.status, answer.json["code"])
    assert [] == core.calls


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nothing", 404, None),
        ("GET", "/", 404, None),
        ("POST", "//api/payment-orders", 404, None),
        ("POST", "/API/payment-orders", 404, None),
        ("GET", "/api/payment-orders", 405, {"POST", "OPTIONS"}),
        ("TRACE", "/api/payment-orders", 405, {"POST", "OPTIONS"}),
        ("DELETE", "/api/channels", 405, {"GET", "OPTIONS"}),
        ("PATCH", "/api/admin/merchants/1", 405, {"GET", "PUT", "OPTIONS"}),
    ],
)
def test_i11_unknown_paths_and_methods(
    edge: Edge, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    answer = edge.request(method, path)
    assert status == answer.status
    assert {"error", "code", "details"} == set(answer.json)
    assert answer.headers["x-request-id"]
    if allow:
        assert allow == set(answer.headers["allow"].split(", "))


def test_i11_unknown_method_word(edge: Edge) -> None:
    answer = edge.request("BREW", "/api/payment-orders")
    assert 405 == answer.status
    assert "INVALID_REQUEST" == answer.json["code"]


SIGNING = ("x-novapay-key", "x-novapay-timestamp", "x-novapay-nonce", "x-novapay-signature")


@pytest.mark.parametrize("name", SIGNING)
def test_i14_signing_header_given_twice_counts_as_absent(
    edge: Edge, core: RecordingCore, name: str
) -> None:
    body = b'{"merchantCode":"acme"}'
    lines = [f"{header}: good" for header in SIGNING] + [f"{name}: other", "Connection: close"]
    head = "\r\n".join(
        ["POST /api/payment-orders HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
    )
    edge.raw(head.encode() + b"\r\n\r\n" + body)
    expected = {f"{header}-bin" for header in SIGNING if header != name}
    assert expected == {
        key for key in core.only_call.metadata if key.removesuffix("-bin") in SIGNING
    }


def test_i14_names_with_underscores_do_not_count(edge: Edge, core: RecordingCore) -> None:
    edge.request(
        "POST", "/api/payment-orders", ORDER, {"x_novapay_key": "npk_1", "X-Novapay_Nonce": "n"}
    )
    assert not [key for key in core.only_call.metadata if "key" in key or "nonce" in key]


def test_a05_header_bytes_travel_as_they_are_and_trimmed(edge: Edge, core: RecordingCore) -> None:
    edge.request(
        "POST",
        "/api/payment-orders",
        ORDER,
        {"x-novapay-key": b"  \xff\xc3\xa9 ", "x-novapay-nonce": "   "},
    )
    assert b"\xff\xc3\xa9" == core.only_call.metadata["x-novapay-key-bin"]
    assert "x-novapay-nonce-bin" not in core.only_call.metadata


def test_a06_signed_bytes_are_the_bytes_received(edge: Edge, core: RecordingCore) -> None:
    raw = b'{ "merchantCode" : "acme",\r\n\t"subject":"\xe8\x8c\xb6" }\n'
    edge.request("POST", "/api/payment-orders", raw, {"content-type": "text/plain; charset=gbk"})
    assert raw == core.only_call.metadata["x-novapay-body-bin"]


def test_idempotency_key_and_status_are_passed_both_ways(edge: Edge, core: RecordingCore) -> None:
    core.answer(
        "CreatePaymentOrder",
        payments.CreatePaymentOrderResponse(),
        trailing=((IDEMPOTENCY_STATUS, "replayed"),),
    )
    answer = edge.request("POST", "/api/payment-orders", ORDER, {"idempotency-key": "k-1"})
    assert b"k-1" == core.only_call.metadata["idempotency-key-bin"]
    assert ("k-1", "replayed") == (
        answer.headers["idempotency-key"],
        answer.headers["x-novapay-idempotency-status"],
    )


def test_idempotency_status_comes_with_errors_too(edge: Edge, core: RecordingCore) -> None:
    core.answer(
        "CreatePaymentOrder",
        CoreError("IDEMPOTENCY_CONFLICT"),
        trailing=((IDEMPOTENCY_STATUS, "conflict"),),
    )
    answer = edge.request("POST", "/api/payment-orders", ORDER, {"idempotency-key": "k-1"})
    assert (409, "conflict") == (answer.status, answer.headers["x-novapay-idempotency-status"])
    assert "k-1" == answer.headers["idempotency-key"]


@pytest.mark.parametrize("key", [b"", b"   ", b"a b", b"\xe9", b"k" * 256])
def test_i15_odd_idempotency_keys_are_the_cores_to_refuse(
    edge: Edge, core: RecordingCore, key: bytes
) -> None:
    answer = edge.request("POST", "/api/payment-orders", ORDER, {"idempotency-key": key})
    assert key.strip() == core.only_call.metadata["idempotency-key-bin"]
    assert "idempotency-key" not in answer.headers


def test_queries_take_no_idempotency_key(edge: Edge, core: RecordingCore) -> None:
    answer = edge.request(
        "POST", "/api/payment-orders/po_1", {"merchantCode": "a"}, {"idempotency-key": "k"}
    )
    assert "idempotency-key-bin" not in core.only_call.metadata
    assert "idempotency-key" not in answer.headers


def test_equal_answers_are_equal_bytes(edge: Edge, core: RecordingCore) -> None:
    core.answer(
        "ListChannels",
        payments.ListChannelsResponse(
            channels=[payments.Channel(code="alipay.page", configured=True)]
        ),
    )
    first, second = (edge.request("GET", "/api/channels") for _ in range(2))
    assert first.body == second.body
    assert "alipay.page" == first.json["channels"][0]["code"]


def test_n06_core_unreachable_is_503_and_the_edge_finds_it_again(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    with running_edge(tmp_path, NOVAPAY_GRPC_BIND=f"127.0.0.1:{port}") as edge:
        answer = edge.request("POST", "/api/payment-orders", ORDER)
        assert (503, "OVERLOADED") == (answer.status, answer.json["code"])
        assert answer.headers["retry-after"]
        health = edge.request("GET", "/api/health")
        assert (503, {"ok": False, "database": "unavailable"}) == (health.status, health.json)
        with running_core(port) as core:
            wait_until(lambda: edge.request("GET", "/api/health").status == 200)
            assert 200 == edge.request("POST", "/api/payment-orders", ORDER).status
            assert "CreatePaymentOrder" == core.only_call.method


@pytest.mark.usefixtures("core")
def test_s02_i16_log_lines_hold_no_bodies_headers_or_queries(edge: Edge) -> None:
    request_id = f"log-{os.getpid()}-{time.monotonic_ns()}"
    edge.request(
        "POST",
        "/api/payment-orders/canary-reference?canary=query",
        b'{"merchantCode":"canary-body"}',
        {"x-novapay-key": "canary-key", "cookie": "canary=1", "x-request-id": request_id},
    )
    wait_until(lambda: request_id in edge.log.read_text())  # it is written after the answer
    lines = [json.loads(line) for line in edge.log.read_text().splitlines()]
    line = next(line for line in lines if line.get("request_id") == request_id)
    assert ("POST", "/api/payment-orders/{order_reference}", 200) == (
        line["method"],
        line["route"],
        line["status"],
    )
    assert {
        "event",
        "level",
        "timestamp",
        "log",
        "method",
        "route",
        "status",
        "duration_ms",
        "request_id",
        "bytes",
    } == set(line)
    assert "canary" not in edge.log.read_text()
