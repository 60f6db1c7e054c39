"""Contract section 1: the five legacy routes answer like their REST twins."""

import secrets
from typing import Any

from tests.payer import Payer
from tests.stack import Merchant, wait_until

VOLATILE = {"updatedAt"}


def steady(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name not in VOLATILE}


def test_create(merchant: Merchant) -> None:
    request = {
        "channelCode": "alipay.page",
        "externalOrderId": secrets.token_hex(8),
        "amount": "3.00",
        "subject": "test",
    }
    created = merchant.post("/api/payments/orders", request)
    assert (created.status, created.json["created"]) == (200, True)
    twin = merchant.post("/api/payment-orders", request)
    assert (twin.status, twin.json["created"]) == (200, False)
    assert twin.json["order"] == created.json["order"]


def test_idempotency_key_is_shared_with_the_twin(merchant: Merchant) -> None:
    key = secrets.token_hex(8)
    request = {
        "channelCode": "alipay.page",
        "externalOrderId": key,
        "amount": "3.00",
        "subject": "test",
    }
    first = merchant.post("/api/payments/orders", request, idempotency_key=key)
    second = merchant.post("/api/payment-orders", request, idempotency_key=key)
    assert second.raw == first.raw


def test_query_takes_the_first_reference_that_is_not_empty(merchant: Merchant) -> None:
    order = merchant.create_order().json["order"]
    expected = merchant.post(f"/api/payment-orders/{order['id']}", {"sync": False})
    for names in (
        {"orderReference": order["id"]},
        {"orderReference": order["externalOrderId"]},
        {"orderId": order["id"]},
        {"externalOrderId": order["externalOrderId"]},
        {"orderReference": "", "orderId": "", "externalOrderId": order["externalOrderId"]},
        {"orderReference": None, "orderId": order["id"]},
    ):
        answer = merchant.post("/api/payments/orders/query", {"sync": False, **names})
        assert answer.raw == expected.raw, names
    missing = merchant.post("/api/payments/orders/query", {"sync": False})
    assert (missing.status, missing.code) == (400, "INVALID_REQUEST")
    unknown = merchant.post("/api/payments/orders/query", {"sync": False, "orderId": "po_nothing"})
    assert (unknown.status, unknown.code) == (404, "ORDER_NOT_FOUND")


def test_close(merchant: Merchant) -> None:
    order = merchant.create_order("wxpay.native").json["order"]
    closed = merchant.post("/api/payments/orders/close", {"orderId": order["id"]})
    assert (closed.status, closed.json["order"]["status"]) == (200, "CANCELLED")
    twin = merchant.post(f"/api/payment-orders/{order['id']}/close", {})
    assert steady(twin.json["order"]) == steady(closed.json["order"])


def test_refund_and_refund_query(merchant: Merchant, payer: Payer) -> None:
    order = merchant.create_order("wxpay.native", "9.00").json["order"]
    payer.pay(order)
    wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
    request = {"externalRefundId": secrets.token_hex(8), "amount": "2.00", "reason": "退货"}
    created = merchant.post("/api/payments/refunds", {"orderId": order["id"], **request})
    assert (created.status, created.json["created"]) == (200, True), created.raw
    twin = merchant.post(f"/api/payment-orders/{order['externalOrderId']}/refunds", request)
    assert (twin.status, twin.json["created"]) == (200, False)
    assert twin.json["refund"]["id"] == created.json["refund"]["id"]

    refund = created.json["refund"]
    wait_until(
        lambda: (
            merchant.post(f"/api/payment-refunds/{refund['id']}", {}).json["refund"]["status"]
            == "SUCCEEDED"
        ),
        what="refund",
    )
    expected = merchant.post(f"/api/payment-refunds/{refund['id']}", {"sync": False})
    for names in (
        {"refundReference": refund["id"]},
        {"refundId": refund["id"]},
        {"externalRefundId": refund["externalRefundId"]},
    ):
        answer = merchant.post("/api/payments/refunds/query", {"sync": False, **names})
        assert answer.raw == expected.raw, names
