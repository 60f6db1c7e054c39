"""Requests become calls, answers become JSON."""

import json

import pytest
from novapay.payments.v1 import payment_service_pb2 as payments

from tests.rest_edge.conftest import Edge, RecordingCore

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
            order=payments.PaymentOrder(id="po_1", amount="88.10", status=payments.ORDER_STATUS_PROCESSING),
        ),
    )
    body = json.dumps(ORDER).encode()
    answer = edge.request(
        "POST", "/api/payment-orders", body, {"x-novapay-key": "npk_1", "x-novapay-signature": "ab", "x-request-id": "r-1"}
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
