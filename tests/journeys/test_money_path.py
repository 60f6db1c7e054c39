"""The whole way of the money on each channel, through real processes, from the order to the last fen given back."""

from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from novapay.payments.v1 import payment_service_pb2 as payments
from novapay.payments.v1 import payment_service_pb2_grpc as payments_grpc
from novapay.refunds.v1 import refund_service_pb2 as refunds
from novapay.refunds.v1 import refund_service_pb2_grpc as refunds_grpc
from tests.journeys.signatures import callback_is_genuine
from tests.payer import PROVIDERS, Payer
from tests.stack import Merchant, Receiver, Stack, wait_until

CHANNELS = pytest.mark.parametrize("channel", list(PROVIDERS))


def events(receiver: Receiver, order_id: str, event: str) -> list[Any]:
    """The bodies of one kind of event about an order."""
    return [body for _, body in receiver.about(order_id) if body["event"] == event]


@CHANNELS
def test_pay_tell_refund(
    stack: Stack,
    merchant: Merchant,
    payer: Payer,
    receiver: Receiver,
    notify_secret: str,
    channel: str,
) -> None:
    order = merchant.create_order(channel, "30.00", callbackUrl=receiver.url).json["order"]
    assert (order["status"], order["callbackStatus"]) == ("PENDING", "PENDING")
    assert order["hostedCheckoutUrl"] == f"{stack.base}/pay/{order['id']}"

    payment = payer.pay(order, waitSeconds=10)
    (push,) = payment["notifications"]
    assert push["attempts"][0]["accepted"]
    assert push["attempts"][0]["httpStatus"] == (200 if channel == "alipay.page" else 204)
    paid = merchant.order(order["id"])
    assert paid["status"] == "SUCCEEDED"
    assert paid["gatewayOrderId"] == payment["payments"][0]["transactionNo"]
    assert (paid["feeAmount"], paid["netAmount"]) == ("0.18", "29.82")

    wait_until(lambda: receiver.about(order["id"]), what="callback")
    for headers, raw in receiver.received:
        assert callback_is_genuine(notify_secret, headers, raw)

    for number, amount in enumerate(("10.00", "19.99", "0.01"), start=1):
        made = merchant.refund(order["id"], amount)
        assert made.status == 200, made.raw
        refund_id = made.json["refund"]["id"]
        refund = wait_until(
            lambda refund_id=refund_id: succeeded_refund(merchant, refund_id), what="refund"
        )
        assert refund["amount"] == amount
        told = wait_until(
            lambda number=number: (
                found
                if len(found := events(receiver, order["id"], "payment.refund.updated")) == number
                else None
            ),
            what="refund callback",
        )
        assert refund_id in [body["refund"]["id"] for body in told]
    assert merchant.refund(order["id"], "0.01").code == "REFUND_AMOUNT_EXCEEDED"
    summary = merchant.order(order["id"])["refundSummary"]
    assert (summary["totalRefundedAmount"], summary["refundableAmount"]) == ("30.00", "0.00")
    for headers, raw in receiver.received:
        assert callback_is_genuine(notify_secret, headers, raw)

    trade = payer.trade(order["id"])
    assert [p["refundedFen"] for p in trade["payments"]] == [3000]
    assert all(r["executed"] for r in trade["refunds"])
    assert stack.cli("books", "verify")["balanced"]


def succeeded_refund(merchant: Merchant, refund_id: str) -> Any:
    answer = merchant.post(f"/api/payment-refunds/{refund_id}", {"sync": False})
    refund = answer.json["refund"]
    return refund if refund["status"] == "SUCCEEDED" else None


@CHANNELS
def test_cashier_page(stack: Stack, merchant: Merchant, payer: Payer, channel: str) -> None:
    order = merchant.create_order(channel, "7.70").json["order"]
    page = stack.http.request("GET", urlsplit(order["hostedCheckoutUrl"]).path)
    text = page.raw.decode()
    assert page.status == 200
    assert "7.70" in text
    if channel == "wxpay.native":
        assert "<svg" in text
    else:
        assert order["checkoutUrl"].replace("&", "&amp;") in text
    payer.pay(order, waitSeconds=10)
    after = stack.http.request("GET", f"/pay/{order['id']}?lang=en").raw.decode()
    assert "7.70" in after
    assert "<svg" not in after
    assert order["checkoutUrl"].replace("&", "&amp;") not in after


def test_return_page_believes_no_query_string(
    stack: Stack, merchant: Merchant, payer: Payer
) -> None:
    order = merchant.create_order("alipay.page", "7.80").json["order"]
    # As forged, and as a genuine return of another order would look: neither proves anything.
    other = merchant.create_order("alipay.page", "7.80").json["order"]
    genuine = urlsplit(payer.pay(other, waitSeconds=10)["returnUrl"]).query
    for query in (
        f"out_trade_no={order['id']}&trade_status=TRADE_SUCCESS&total_amount=7.80&sign=x",
        genuine.replace(other["id"], order["id"]),
        "status=SUCCEEDED&paid=true",
    ):
        shown = stack.http.request("GET", f"/pay/{order['id']}/return?{query}&lang=en")
        plain = stack.http.request("GET", f"/pay/{order['id']}/return?lang=en")
        assert shown.status == plain.status == 200
        assert shown.raw == plain.raw
        assert merchant.order(order["id"])["status"] == "PENDING"
    paid = stack.http.request("GET", f"/pay/{other['id']}/return?lang=en")
    assert paid.raw != plain.raw


@CHANNELS
def test_the_same_over_grpc_with_the_service_token(
    stack: Stack, merchant: Merchant, payer: Payer, channel: str
) -> None:
    token = (("authorization", f"Bearer {stack.service_token}"),)
    code = merchant.code
    with grpc.insecure_channel(stack.grpc_address) as connection:
        orders = payments_grpc.PaymentServiceStub(connection)
        returns = refunds_grpc.RefundServiceStub(connection)

        def create(external_id: str) -> Any:
            request = payments.CreatePaymentOrderRequest(
                merchant_code=code,
                channel_code=channel,
                external_order_id=external_id,
                amount="20.00",
                subject="internal",
            )
            return orders.CreatePaymentOrder(request, metadata=token, timeout=10)

        first = create(f"grpc-{channel}-1")
        assert first.created
        again = create(f"grpc-{channel}-1")
        assert (again.created, again.order.id) == (False, first.order.id)

        payer.control("pay", {"url": first.order.checkout_url, "waitSeconds": 10})
        query = payments.QueryPaymentOrderRequest(
            merchant_code=code, order_reference=f"grpc-{channel}-1"
        )
        paid = orders.QueryPaymentOrder(query, metadata=token, timeout=10).order
        assert paid.status == payments.ORDER_STATUS_SUCCEEDED

        request = refunds.CreateRefundRequest(
            merchant_code=code,
            order_reference=paid.id,
            external_refund_id=f"grpc-{channel}-r",
            amount="5.00",
        )
        refund = returns.CreateRefund(request, metadata=token, timeout=10).refund
        ask = refunds.QueryRefundRequest(merchant_code=code, refund_reference=refund.id)
        wait_until(
            lambda: (
                returns.QueryRefund(ask, metadata=token, timeout=10).refund.status
                == refunds.REFUND_STATUS_SUCCEEDED
            ),
            what="refund",
        )

        second = create(f"grpc-{channel}-2").order
        close = payments.ClosePaymentOrderRequest(merchant_code=code, order_reference=second.id)
        closed = orders.ClosePaymentOrder(close, metadata=token, timeout=10).order
        assert closed.status == payments.ORDER_STATUS_CANCELLED
        close = payments.ClosePaymentOrderRequest(merchant_code=code, order_reference=paid.id)
        with pytest.raises(grpc.RpcError) as refusal:
            orders.ClosePaymentOrder(close, metadata=token, timeout=10)
        assert refusal.value.code() is grpc.StatusCode.ABORTED
