"""Contract section 6: what a merchant receives, verified with nothing but the contract's words."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.payer import Payer
from tests.stack import AdminSession, Merchant, Receiver, Stack, wait_until

SECRET = "whsec_" + base64.b64encode(b"a test secret of thirty-two byte").decode()  # a test secret


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def shop(stack: Stack, merchant: Merchant) -> Merchant:
    stack.cli("merchants", "set", "--code", merchant.code, "--notify-secret", stdin=SECRET)
    return merchant


def paid_order(shop: Merchant, payer: Payer, receiver: Receiver, **fields: Any) -> Any:
    created = shop.create_order("wxpay.native", "12.00", callbackUrl=receiver.url, **fields)
    assert created.status == 200, created.raw
    payer.pay(created.json["order"])
    return created.json["order"]


def test_order_event_and_both_signatures(shop: Merchant, payer: Payer, receiver: Receiver) -> None:
    order = paid_order(shop, payer, receiver, metadata={"cart": 12345678901234567890})
    wait_until(lambda: receiver.about(order["id"]), what="callback")
    headers, body = receiver.about(order["id"])[0]
    raw = next(raw for got, raw in receiver.received if got is headers or got == headers)

    assert headers["content-type"] == "application/json"
    assert headers["x-novapay-event"] == body["event"] == "payment.order.updated"
    assert headers["x-novapay-merchant-code"] == shop.code
    timestamp = headers["x-novapay-timestamp"]
    assert datetime.fromisoformat(timestamp).tzinfo is not None
    expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + raw, hashlib.sha256).hexdigest()
    assert headers["x-novapay-signature"] == expected

    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
    standard = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert f"v1,{standard}" in headers["webhook-signature"].split(" ")
    assert headers["webhook-id"] == headers["x-novapay-delivery-id"]

    assert list(body["order"]) == [
        "id", "merchantCode", "externalOrderId", "channelCode", "amount", "currency", "status",
        "gatewayOrderId", "providerStatus", "paidAt", "completedAt", "metadata",
    ]  # fmt: skip
    assert (body["order"]["status"], body["order"]["amount"]) == ("SUCCEEDED", "12.00")
    assert b"12345678901234567890" in raw
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["order"]["paidAt"])
    wait_until(lambda: shop.order(order["id"])["callbackStatus"] == "DELIVERED", what="DELIVERED")


def test_m03_m10_retry_with_the_same_id_and_body(
    shop: Merchant, payer: Payer, receiver: Receiver
) -> None:
    receiver.answers[:] = [(500, {}), (302, {"location": "http://127.0.0.1:1/"}), (410, {})]
    order = paid_order(shop, payer, receiver)
    wait_until(lambda: len(receiver.about(order["id"])) == 4, seconds=60, what="four attempts")
    assert (
        len({headers["x-novapay-delivery-id"] for headers, _ in receiver.about(order["id"])}) == 1
    )
    assert (
        len(
            {
                raw
                for headers, raw in receiver.received
                if headers["x-novapay-order-id"] == order["id"]
            }
        )
        == 1
    )
    wait_until(lambda: shop.order(order["id"])["callbackStatus"] == "DELIVERED", what="DELIVERED")


def test_refund_event(shop: Merchant, payer: Payer, receiver: Receiver) -> None:
    order = paid_order(shop, payer, receiver)
    wait_until(lambda: shop.order(order["id"])["status"] == "SUCCEEDED", what="payment")
    refund = shop.refund(order["id"], "2.00").json["refund"]
    events = wait_until(
        lambda: [
            e for e in receiver.about(order["id"]) if e[1]["event"] == "payment.refund.updated"
        ],
        seconds=40,
        what="refund event",
    )
    headers, body = events[0]
    assert headers["x-novapay-event"] == "payment.refund.updated"
    assert (body["refund"]["id"], body["refund"]["status"]) == (refund["id"], "SUCCEEDED")


def test_closed_order_is_told(shop: Merchant, receiver: Receiver) -> None:
    order = shop.create_order("wxpay.native", callbackUrl=receiver.url).json["order"]
    shop.post(f"/api/payment-orders/{order['id']}/close", {})
    wait_until(lambda: receiver.about(order["id"]), what="callback")
    assert receiver.about(order["id"])[0][1]["order"]["status"] == "CANCELLED"


def test_no_callback_wanted(fresh_shop: Merchant) -> None:
    order = fresh_shop.create_order().json["order"]
    assert order["callbackStatus"] == "NOT_REQUIRED"


def test_callback_base_is_the_default(
    stack: Stack, fresh_shop: Merchant, payer: Payer, receiver: Receiver
) -> None:
    stack.cli("merchants", "set", "--code", fresh_shop.code, "--callback-base", receiver.url)
    order = fresh_shop.create_order("alipay.page").json["order"]
    assert order["callbackStatus"] == "PENDING"
    payer.pay(order)
    wait_until(lambda: receiver.about(order["id"]), what="callback")


def test_retry_callback(
    shop: Merchant, payer: Payer, receiver: Receiver, admin: AdminSession
) -> None:
    order = paid_order(shop, payer, receiver)
    wait_until(lambda: shop.order(order["id"])["callbackStatus"] == "DELIVERED", what="DELIVERED")
    answer = admin.send("POST", f"/api/admin/payment-orders/{order['id']}/retry-callback", {})
    assert answer.status == 200
    assert answer.json == {
        "delivered": True,
        "skipped": False,
        "reason": None,
        "httpStatus": 200,
        "errorMessage": None,
    }
    deliveries = receiver.about(order["id"])
    assert len(deliveries) == 2
    assert deliveries[0][0]["x-novapay-delivery-id"] == deliveries[1][0]["x-novapay-delivery-id"]


def test_retry_callback_with_nothing_to_tell(
    shop: Merchant, receiver: Receiver, admin: AdminSession
) -> None:
    order = shop.create_order("alipay.page", callbackUrl=receiver.url).json["order"]
    answer = admin.send("POST", f"/api/admin/payment-orders/{order['id']}/retry-callback", {})
    assert answer.status == 200
    assert (answer.json["delivered"], answer.json["skipped"]) == (False, True)
    assert answer.json["reason"]
