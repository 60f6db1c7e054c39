"""What operators see and do over `/api/admin`: lists, one order, deliveries, anomalies, the overview; and by whom."""

import secrets
from typing import Any

import pytest

from core_service.schema import methods
from tests.payer import Payer
from tests.stack import AdminSession, Merchant, Stack, wait_until

ORDERS = "/api/admin/payment-orders"
READ = {"SUPER_ADMIN", "OPS_ADMIN", "FINANCE_ADMIN", "VIEWER"}
ACT = {"SUPER_ADMIN", "OPS_ADMIN"}
MONEY = ACT | {"FINANCE_ADMIN"}


@pytest.fixture(scope="module")
def admin(stack: Stack) -> AdminSession:
    return stack.sign_in()


@pytest.fixture(scope="module")
def paid(merchant: Merchant, payer: Payer) -> Any:
    order = merchant.create_order("wxpay.native", "88.10").json["order"]
    payer.pay(order)
    wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
    return merchant.order(order["id"])


def test_orders_are_listed_and_found(admin: AdminSession, paid: Any, merchant: Merchant) -> None:
    listed = admin.get(f"{ORDERS}?merchantCode={merchant.code}&status=SUCCEEDED&page_size=5").json
    assert paid["id"] in [order["id"] for order in listed["orders"]]
    for number in (paid["externalOrderId"], paid["gatewayOrderId"]):
        found = admin.get(f"{ORDERS}?search={number}").json["orders"]
        assert [order["id"] for order in found] == [paid["id"]]
    wrong = admin.get(f"{ORDERS}?status=SOLD")
    assert (wrong.status, wrong.code) == (400, "INVALID_REQUEST")


def test_an_order_tells_its_story(admin: AdminSession, paid: Any) -> None:
    story = admin.get(f"{ORDERS}/{paid['id']}").json
    assert story["diagnosis"][0]["code"] == "PAID"
    kinds = [entry["kind"] for entry in story["timeline"]]
    assert {"event", "notification", "payment", "journal"} <= set(kinds)
    unknown = admin.get(f"{ORDERS}/po_nothing")
    assert (unknown.status, unknown.code) == (404, "ORDER_NOT_FOUND")


def test_everything_else_answers(admin: AdminSession, merchant: Merchant, paid: Any) -> None:
    assert merchant.refund(paid["id"], "1.00").status == 200
    refunds = admin.get(f"/api/admin/payment-refunds?merchantCode={merchant.code}").json["refunds"]
    assert refunds[0]["paymentOrderId"] == paid["id"]
    assert admin.get("/api/admin/deliveries").status == 200
    assert admin.get("/api/admin/anomalies").status == 200
    overview = admin.get("/api/admin/overview").json
    assert len(overview["money"]["hours"]) == 48
    for path, body in (
        ("/api/admin/deliveries/dlv_nothing/retry", {}),
        ("/api/admin/anomalies/an_nothing/resolve", {"note": "x"}),
    ):
        assert admin.send("POST", path, body).code == "NOT_FOUND"


def test_a_session_opens_no_merchants_route(
    admin: AdminSession, paid: Any, merchant: Merchant
) -> None:
    """Operators may call what merchants call, but not over the merchants' routes."""
    body = {"merchantCode": merchant.code}
    for path in (f"/api/payment-orders/{paid['id']}", f"/api/payment-orders/{paid['id']}/close"):
        answer = admin.send("POST", path, body)
        assert (answer.status, answer.code) == (401, "API_KEY_REQUIRED")
    refund = {**body, "externalRefundId": secrets.token_hex(8), "amount": "1.00"}
    answer = admin.send("POST", f"/api/payment-orders/{paid['id']}/refunds", refund)
    assert (answer.status, answer.code) == (401, "API_KEY_REQUIRED")


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        *((name, READ) for name in (
            "ListPaymentOrders", "GetPaymentOrder", "ListDeliveries", "GetDelivery", "ListAnomalies", "GetOverview",
            "ListRefunds",
        )),
        *((name, ACT) for name in ("ClosePaymentOrder", "RetryDelivery", "RetryCallback")),
        *((name, MONEY) for name in ("QueryPaymentOrder", "CreateRefund", "QueryRefund", "ResolveAnomaly")),
    ],
)  # fmt: skip
def test_a16_who_may(name: str, roles: set[str]) -> None:
    method = next(method for method in methods() if method.name == name)
    assert method.roles == roles
