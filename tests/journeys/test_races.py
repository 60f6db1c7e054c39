"""Races C01, C02, C03, C06, C07, C08, C10, C14 over HTTP, against several processes."""

import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.journeys.database import events_of, rows
from tests.payer import PROVIDERS, Payer
from tests.stack import Answer, Merchant, Receiver, Stack, wait_until

CHANNELS = pytest.mark.parametrize("channel", list(PROVIDERS))
AtOnce = Callable[[Callable[[Any], Any], Any], list[Any]]


def outcome(answer: Answer) -> tuple[int, str | None]:
    return (answer.status, answer.code if answer.status != 200 else None)


def paid_order(merchant: Merchant, payer: Payer, channel: str, amount: str = "30.00") -> Any:
    order = merchant.create_order(channel, amount).json["order"]
    payer.pay(order, waitSeconds=10)
    wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
    return order


@CHANNELS
def test_c01_one_key_many_callers(
    stack: Stack, merchant: Merchant, payer: Payer, at_once: AtOnce, channel: str
) -> None:
    key, body = secrets.token_hex(8), order_body(channel)

    def create(_: int) -> Answer:
        return merchant.post("/api/payment-orders", body, idempotency_key=key)

    answers = at_once(create, range(12))
    served = [answer for answer in answers if answer.status == 200]
    others = {outcome(answer) for answer in answers if answer.status != 200}
    assert others <= {(409, "IDEMPOTENCY_IN_PROGRESS")}
    assert len({answer.raw for answer in [*served, create(0)]}) == 1  # V15
    marks = Counter(answer.headers["x-novapay-idempotency-status"] for answer in served)
    assert marks["created"] == 1
    assert set(marks) <= {"created", "replayed"}
    order = served[0].json["order"]
    if channel == "wxpay.native":
        assert len(payer.calls(order["id"], "create")) == 1
    orders = rows(
        stack,
        "SELECT id FROM payment_orders WHERE external_order_id = %s",
        [body["externalOrderId"]],
    )
    assert [row["id"] for row in orders] == [order["id"]]


@CHANNELS
def test_c02_one_external_id_many_callers(
    merchant: Merchant, payer: Payer, at_once: AtOnce, channel: str
) -> None:
    body = order_body(channel)
    answers = at_once(lambda _: merchant.post("/api/payment-orders", body), range(12))
    assert {outcome(answer) for answer in answers} == {(200, None)}
    assert Counter(answer.json["created"] for answer in answers) == {True: 1, False: 11}
    (order_id,) = {answer.json["order"]["id"] for answer in answers}
    assert len({answer.json["order"]["checkoutUrl"] for answer in answers}) == 1
    if channel == "wxpay.native":
        assert payer.trade(order_id)["effectiveCreates"] == 1


def test_c03_one_external_id_other_amounts_and_channels(
    merchant: Merchant, at_once: AtOnce
) -> None:
    reference = f"c03-{secrets.token_hex(6)}"
    wanted = [
        order_body(channel, amount=amount, externalOrderId=reference)
        for channel in PROVIDERS
        for amount in ("8.00", "9.00")
    ]
    answers = at_once(lambda body: merchant.post("/api/payment-orders", body), wanted)
    winners = [i for i, answer in enumerate(answers) if answer.status == 200]
    assert len(winners) == 1
    order = merchant.order(reference)
    chosen = wanted[winners[0]]
    assert (order["channelCode"], order["amount"]) == (chosen["channelCode"], chosen["amount"])
    for body, answer in zip(wanted, answers, strict=True):
        if body is not chosen:
            same_channel = body["channelCode"] == chosen["channelCode"]
            conflict = "ORDER_AMOUNT_CONFLICT" if same_channel else "ORDER_CHANNEL_CONFLICT"
            assert outcome(answer) == (409, conflict)


@CHANNELS
def test_c06_refund_race(merchant: Merchant, payer: Payer, at_once: AtOnce, channel: str) -> None:
    order = paid_order(merchant, payer, channel)
    answers = at_once(lambda _: merchant.refund(order["id"], "10.00"), range(8))
    assert Counter(outcome(answer) for answer in answers) == {
        (200, None): 3,
        (422, "REFUND_AMOUNT_EXCEEDED"): 5,
    }
    wait_until(
        lambda: merchant.order(order["id"])["refundSummary"]["totalRefundedAmount"] == "30.00",
        what="three refunds",
    )
    assert [r["amountFen"] for r in payer.trade(order["id"])["refunds"]] == [1000] * 3


@CHANNELS
def test_c07_one_refund_many_callers(
    merchant: Merchant, payer: Payer, at_once: AtOnce, channel: str
) -> None:
    order = paid_order(merchant, payer, channel)
    reference = f"c07-{secrets.token_hex(6)}"
    answers = at_once(
        lambda _: merchant.refund(order["id"], "10.00", externalRefundId=reference), range(8)
    )
    assert {outcome(answer) for answer in answers} == {(200, None)}
    assert Counter(answer.json["created"] for answer in answers) == {True: 1, False: 7}
    assert len({answer.json["refund"]["id"] for answer in answers}) == 1
    refund_id = answers[0].json["refund"]["id"]
    assert len(payer.calls(order["id"], "refund")) == 1
    assert [r["outRefundNo"] for r in payer.trade(order["id"])["refunds"]] == [refund_id]


@pytest.mark.slow
@CHANNELS
@pytest.mark.parametrize(
    ("scenario", "paid_after"),
    [("slow_effect", 0.5), ("slow_answer", 0.5), ("slow_effect", 0.0), (None, 0.0)],
)
def test_c08_close_against_pay(
    stack: Stack,
    merchant: Merchant,
    payer: Payer,
    at_once: AtOnce,
    receiver: Receiver,
    channel: str,
    scenario: str | None,
    paid_after: float,
) -> None:
    order = merchant.create_order(channel, "30.00", callbackUrl=receiver.url).json["order"]
    payer.control("open", {"url": order["checkoutUrl"]})
    if scenario:
        rule = {
            "scenario": scenario,
            "match": {"operation": "close", "outTradeNo": order["id"]},
            "options": {"delaySeconds": 1.5},
        }
        payer.control("scenarios", rule)

    def act(who: str) -> Answer:
        if who == "merchant":
            return merchant.post(f"/api/payment-orders/{order['id']}/close", {})
        time.sleep(paid_after)
        return stack.sandbox.post_json(
            "/control/pay", {"provider": PROVIDERS[channel], "outTradeNo": order["id"]}
        )

    closed, _ = at_once(act, ["merchant", "payer"])
    money = bool(payer.trade(order["id"])["payments"])
    if money:
        wait_until(
            lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", seconds=60, what="payment"
        )
        assert outcome(closed) == (409, "ORDER_ALREADY_PAID")
        again = merchant.post(f"/api/payment-orders/{order['id']}/close", {})
        assert outcome(again) == (409, "ORDER_ALREADY_PAID")
    else:
        assert closed.status == 200, closed.raw
        assert merchant.order(order["id"])["status"] == "CANCELLED"
        assert payer.trade(order["id"])["status"] == "CLOSED"
    told = wait_until(lambda: receiver.about(order["id"]), what="callback")
    assert [body["order"]["status"] for _, body in told] == ["SUCCEEDED" if money else "CANCELLED"]


@CHANNELS
def test_c10_callback_and_query_at_once(
    stack: Stack,
    merchant: Merchant,
    payer: Payer,
    receiver: Receiver,
    at_once: AtOnce,
    channel: str,
) -> None:
    order = merchant.create_order(channel, "30.00", callbackUrl=receiver.url).json["order"]
    with payer.scenario(channel, "notify_lost"):
        trade = payer.pay(order)["trade"]
    number = trade["payments"][0]["transactionNo"]
    genuine = {"trade_no": number} if channel == "alipay.page" else {"transaction_id": number}

    def tell(i: int) -> Answer:
        if i % 2:
            return payer.notify(order, **genuine)
        return merchant.post(f"/api/payment-orders/{order['id']}", {"sync": True})

    answers = at_once(tell, range(8))
    assert {answer.status for answer in answers} <= {200, 204}
    assert merchant.order(order["id"])["status"] == "SUCCEEDED"
    assert events_of(stack, order["id"]) == [(None, "PENDING"), ("PENDING", "SUCCEEDED")]
    for table in ("journals", "received_payments", "deliveries"):
        found = rows(stack, f"SELECT 1 FROM {table} WHERE order_id = %s", [order["id"]])
        assert len(found) == 1, table
    wait_until(
        lambda: merchant.order(order["id"])["callbackStatus"] == "DELIVERED", what="DELIVERED"
    )
    assert len(receiver.about(order["id"])) == 1


@CHANNELS
def test_c14_refund_while_unpaid_and_the_notification_in_between(
    merchant: Merchant, payer: Payer, at_once: AtOnce, channel: str
) -> None:
    order = merchant.create_order(channel, "30.00").json["order"]
    refused = merchant.refund(order["id"], "10.00")
    assert outcome(refused) == (409, "ORDER_NOT_REFUNDABLE")

    def act(i: int) -> Answer | None:
        if i == 0:
            payer.pay(order, waitSeconds=10)
            return None
        return merchant.refund(order["id"], "10.00", externalRefundId=f"c14-{order['id']}-{i}")

    answers = [answer for answer in at_once(act, range(8)) if answer]
    seen = Counter(outcome(answer) for answer in answers)
    assert set(seen) <= {
        (200, None),
        (409, "ORDER_NOT_REFUNDABLE"),
        (422, "REFUND_AMOUNT_EXCEEDED"),
    }
    wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
    assert len(payer.trade(order["id"])["refunds"]) == seen[200, None] <= 3


def order_body(channel: str, **fields: Any) -> dict[str, Any]:
    return {
        "channelCode": channel,
        "externalOrderId": f"race-{secrets.token_hex(8)}",
        "amount": "12.00",
        "subject": "race",
        **fields,
    }
