"""Provider faults P11 to P19, P21, P22: notifications lost, repeated, out of order, early, late, forged, stale."""

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests import notifications
from tests.journeys.database import anomalies_of, events_of, rows
from tests.payer import PROVIDERS, Payer
from tests.stack import Answer, Merchant, Receiver, Stack, wait_until
from tests.stack_fixtures import open_shop

CHANNELS = pytest.mark.parametrize("channel", list(PROVIDERS))
AtOnce = Callable[[Callable[[Any], Any], Any], list[Any]]
FIRST_PAYMENT = [(None, "PENDING"), ("PENDING", "SUCCEEDED")]


def new_order(merchant: Merchant, channel: str, amount: str = "12.00", **fields: Any) -> Any:
    answer = merchant.create_order(channel, amount, **fields)
    assert answer.status == 200, answer.raw
    return answer.json["order"]


def paid(merchant: Merchant, order: Any, *, seconds: float = 20) -> Any:
    """The order once it is SUCCEEDED, without asking the provider for it."""

    def look() -> Any:
        current = merchant.order(order["id"])
        return current if current["status"] == "SUCCEEDED" else None

    return wait_until(look, seconds=seconds, what="SUCCEEDED")


def accepted(answer: Answer, channel: str) -> bool:
    if channel == "wxpay.native":
        return answer.status == 204
    return (answer.status, answer.raw) == (200, b"success")


def refused(answer: Answer, channel: str) -> bool:
    """400 in the provider's words; Alipay reads the text only."""
    if channel == "wxpay.native":
        return answer.status == 400 and answer.json["code"] == "FAIL"
    return answer.status == 400 and answer.raw != b"success"


@pytest.mark.slow
def test_p11_lost_notification_is_found_by_asking(
    merchant: Merchant, payer: Payer, at_once: AtOnce, receiver: Receiver
) -> None:
    def lose(channel: str) -> Any:
        order = new_order(merchant, channel, "12.41", callbackUrl=receiver.url)
        payer.pay(order)
        found = paid(merchant, order, seconds=60)
        wait_until(lambda: receiver.about(order["id"]), what="callback")
        return found

    for order in at_once(lose, list(PROVIDERS)):
        (push,) = payer.trade(order["id"])["notifications"]
        assert (push["state"], push["attempts"]) == ("lost", [])


@CHANNELS
def test_p12_the_same_notification_a_hundred_times(
    stack: Stack,
    merchant: Merchant,
    payer: Payer,
    receiver: Receiver,
    at_once: AtOnce,
    channel: str,
) -> None:
    order = new_order(merchant, channel, callbackUrl=receiver.url)
    path = payer.callback_path(channel)
    if channel == "alipay.page":
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        body = notifications.alipay(order)
    else:
        headers, body = notifications.wxpay(order)

    def send(_: int) -> Answer:
        return stack.http.request("POST", path, body=body, headers=headers)

    answers = [answer for _ in range(10) for answer in at_once(send, range(8))]
    answers += [send(number) for number in range(20)]
    assert len(answers) == 100
    assert all(accepted(answer, channel) for answer in answers)
    assert events_of(stack, order["id"]) == FIRST_PAYMENT
    wait_until(
        lambda: merchant.order(order["id"])["callbackStatus"] == "DELIVERED", what="DELIVERED"
    )
    assert len(receiver.about(order["id"])) == 1
    journals = rows(stack, "SELECT 1 FROM journals WHERE order_id = %s", [order["id"]])
    assert len(journals) == 1


@pytest.mark.slow
@CHANNELS
@pytest.mark.parametrize("fen", ["42", "43", "46", "48"])
def test_p12_p13_p16_pushes_of_the_provider(
    stack: Stack, merchant: Merchant, payer: Payer, channel: str, fen: str
) -> None:
    """Duplicate, concurrent, out of order, first one badly signed: each is acknowledged in the end, one effect."""
    order = new_order(merchant, channel, f"12.{fen}")
    payer.control("clock", {"timeFactor": 0.02})
    payer.pay(order)
    paid(merchant, order)

    def all_accepted() -> bool:
        pushes = payer.trade(order["id"])["notifications"]
        return all(push["state"] == "accepted" for push in pushes)

    wait_until(all_accepted, seconds=30, what="every push to be acknowledged")
    if fen == "48":
        (push,) = payer.trade(order["id"])["notifications"]
        assert [attempt["accepted"] for attempt in push["attempts"]][:2] == [False, True]
        assert push["attempts"][0]["httpStatus"] == 400
    assert events_of(stack, order["id"]) == FIRST_PAYMENT
    assert merchant.order(order["id"], sync=True)["status"] == "SUCCEEDED"


def test_p13_closed_after_success_changes_nothing(
    stack: Stack, merchant: Merchant, payer: Payer
) -> None:
    order = new_order(merchant, "alipay.page")
    assert accepted(payer.notify(order), "alipay.page")
    for status in ("WAIT_BUYER_PAY", "TRADE_CLOSED"):
        assert accepted(payer.notify(order, trade_status=status), "alipay.page")
    assert merchant.order(order["id"])["status"] == "SUCCEEDED"
    assert events_of(stack, order["id"]) == FIRST_PAYMENT


@pytest.mark.slow
def test_p14_notification_before_the_create_call_returns(
    stack: Stack, merchant: Merchant, payer: Payer
) -> None:
    reference, answers = f"early-{secrets.token_hex(6)}", []
    with payer.scenario("wxpay.native", "slow_answer", delaySeconds=3):
        creation = threading.Thread(
            target=lambda: answers.append(
                merchant.create_order("wxpay.native", "13.37", externalOrderId=reference)
            )
        )
        creation.start()
        order_id = wait_until(lambda: known_id(merchant, reference), what="the order")
        wait_until(lambda: payer.trade(order_id), what="the trade")
        payer.control("pay", {"provider": "wxpay", "outTradeNo": order_id, "waitSeconds": 10})
        assert merchant.order(order_id)["status"] == "SUCCEEDED"
        creation.join()
    assert answers[0].status == 200, answers[0].raw
    assert answers[0].json["order"]["status"] == "SUCCEEDED"
    assert merchant.order(order_id)["status"] == "SUCCEEDED"
    assert events_of(stack, order_id) == FIRST_PAYMENT


def known_id(merchant: Merchant, reference: str) -> Any:
    answer = merchant.post(f"/api/payment-orders/{reference}", {"sync": False})
    return answer.json["order"]["id"] if answer.status == 200 else None


@CHANNELS
def test_p15_one_answer_for_everything_unknown(
    stack: Stack,
    merchant: Merchant,
    payer: Payer,
    configurations: dict[str, dict[str, object]],
    channel: str,
) -> None:
    order = new_order(merchant, channel)
    other_shop, other_accounts = open_shop(stack, configurations)
    strange = new_order(other_shop, channel)
    if channel == "alipay.page":
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        body, strange_body = notifications.alipay(order), notifications.alipay(strange)
        unknown_body = notifications.alipay({**order, "id": "po_unknown"})
        strange_headers = unknown_headers = headers
    else:
        headers, body = notifications.wxpay(order)
        strange_headers, strange_body = notifications.wxpay(strange)
        unknown_headers, unknown_body = notifications.wxpay({**order, "id": "po_unknown"})
    own = payer.callback_path(channel)

    def send(path: str, sent_headers: dict[str, str], sent: bytes) -> Answer:
        return stack.http.request("POST", path, body=sent, headers=sent_headers)

    answers = {
        "wrong token": send(payer.callback_path(channel, token="A" * 43), headers, body),
        "unknown account": send(payer.callback_path(channel, account="acc_x"), headers, body),
        "unknown order": send(own, unknown_headers, unknown_body),
        "order of another": send(own, strange_headers, strange_body),
    }
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(answers, 404)
    assert len({answer.raw for answer in answers.values()}) == 1
    assert merchant.order(order["id"])["status"] == "PENDING"
    assert other_shop.order(strange["id"])["status"] == "PENDING"
    assert other_accounts


@CHANNELS
def test_p16_bad_signature(stack: Stack, merchant: Merchant, payer: Payer, channel: str) -> None:
    order = new_order(merchant, channel)
    other_key = notifications.ALIPAY["app_private_key_pkcs8"]
    assert refused(payer.notify(order, key=other_key), channel)
    path = payer.callback_path(channel)
    if channel == "alipay.page":
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        body = notifications.alipay(order).replace(b"12.00", b"12.01")
    else:
        headers, body = notifications.wxpay(order)
        body = body.replace(b"TRANSACTION.SUCCESS", b"TRANSACTION.SUCCESs")
    assert refused(stack.http.request("POST", path, body=body, headers=headers), channel)
    assert merchant.order(order["id"])["status"] == "PENDING"
    assert events_of(stack, order["id"]) == [(None, "PENDING")]


@pytest.mark.parametrize("scenario", ["notify_bad_ciphertext", "notify_wrong_app"])
def test_p16_p18_pushes_that_are_refused_and_the_order_found_by_asking(
    merchant: Merchant, payer: Payer, scenario: str
) -> None:
    with payer.scenario("wxpay.native", scenario):
        order = new_order(merchant, "wxpay.native")
        pushes = payer.pay(order, waitSeconds=10)["notifications"]
    assert [push["attempts"][0]["httpStatus"] for push in pushes] == [400]
    assert merchant.order(order["id"])["status"] == "PENDING"
    assert merchant.order(order["id"], sync=True)["status"] == "SUCCEEDED"


@CHANNELS
def test_p17_another_amount(stack: Stack, merchant: Merchant, payer: Payer, channel: str) -> None:
    order = new_order(merchant, channel)
    change: dict[str, Any] = {"total_amount": "12.01"}
    if channel == "wxpay.native":
        change = {"amount": {"total": 1201, "payer_total": 1201, "currency": "CNY"}}
    assert refused(payer.notify(order, **change), channel)
    assert merchant.order(order["id"])["status"] == "PENDING"
    assert events_of(stack, order["id"]) == [(None, "PENDING")]
    assert anomalies_of(stack, order["id"]) == ["AMOUNT_MISMATCH"]


@pytest.mark.parametrize(
    ("channel", "changes"),
    [
        ("alipay.page", {"app_id": "2021000000000000"}),
        ("alipay.page", {"app_id": ""}),
        ("alipay.page", {"seller_id": "2088000000000000"}),
        ("alipay.page", {"seller_id": ""}),
        ("alipay.page", {"total_amount": ""}),
        ("wxpay.native", {"appid": "wx0000000000000000"}),
        ("wxpay.native", {"appid": None}),
        ("wxpay.native", {"mchid": "1900000000"}),
        ("wxpay.native", {"mchid": None}),
        ("wxpay.native", {"amount": None}),
        ("wxpay.native", {"amount": {"total": 1200, "currency": "USD"}}),
    ],
)
def test_p18_another_recipient_or_none(
    stack: Stack, merchant: Merchant, payer: Payer, channel: str, changes: dict[str, Any]
) -> None:
    order = new_order(merchant, channel)
    assert refused(payer.notify(order, **changes), channel)
    assert merchant.order(order["id"])["status"] == "PENDING"
    assert events_of(stack, order["id"]) == [(None, "PENDING")]


@CHANNELS
def test_p19_late_payment(
    stack: Stack, merchant: Merchant, payer: Payer, receiver: Receiver, channel: str
) -> None:
    order = new_order(merchant, channel, "12.52", callbackUrl=receiver.url)
    assert payer.pay(order)["payments"] == []
    closed = merchant.post(f"/api/payment-orders/{order['id']}/close", {})
    assert closed.json["order"]["status"] == "CANCELLED"
    wait_until(lambda: statuses_told(receiver, order) == ["CANCELLED"], what="the first callback")
    late = paid(merchant, order, seconds=60)
    wait_until(
        lambda: statuses_told(receiver, order) == ["CANCELLED", "SUCCEEDED"],
        what="the second callback",
    )
    assert (
        len({headers["x-novapay-delivery-id"] for headers, _ in receiver.about(order["id"])}) == 2
    )
    assert anomalies_of(stack, order["id"]) == ["LATE_PAYMENT"]
    assert late["gatewayOrderId"] == payer.trade(order["id"])["payments"][0]["transactionNo"]
    assert stack.cli("books", "verify")["balanced"]
    # Late money is money: it can be given back.
    assert merchant.refund(order["id"], "12.00").status == 200


def test_p19_late_payment_of_a_failed_order(
    stack: Stack, merchant: Merchant, payer: Payer, receiver: Receiver
) -> None:
    reference = f"failed-{secrets.token_hex(6)}"
    merchant.create_order(
        "wxpay.native", "12.78", externalOrderId=reference, callbackUrl=receiver.url
    )
    order = merchant.order(reference)
    assert order["status"] == "FAILED"
    assert accepted(payer.notify(order), "wxpay.native")
    assert merchant.order(order["id"])["status"] == "SUCCEEDED"
    # Two events are two deliveries; when both are due at once they may overtake each other.
    wait_until(
        lambda: sorted(statuses_told(receiver, order)) == ["FAILED", "SUCCEEDED"],
        what="both callbacks",
    )
    assert anomalies_of(stack, order["id"]) == ["LATE_PAYMENT"]


def statuses_told(receiver: Receiver, order: Any) -> list[str]:
    return [body["order"]["status"] for _, body in receiver.about(order["id"])]


@CHANNELS
def test_paid_twice_is_kept_and_flagged(
    stack: Stack, merchant: Merchant, payer: Payer, receiver: Receiver, channel: str
) -> None:
    order = new_order(merchant, channel, "12.53", callbackUrl=receiver.url)
    payments = payer.pay(order, waitSeconds=10)["payments"]
    assert len(payments) == 2

    def both_known() -> Any:
        found = rows(
            stack,
            "SELECT gateway_order_id, duplicate FROM received_payments WHERE order_id = %s",
            [order["id"]],
        )
        return found if len(found) == 2 else None

    found = wait_until(both_known, seconds=60, what="both payments")
    assert {row["gateway_order_id"] for row in found} == {p["transactionNo"] for p in payments}
    assert sorted(row["duplicate"] for row in found) == [False, True]
    assert merchant.order(order["id"])["status"] == "SUCCEEDED"
    assert anomalies_of(stack, order["id"]) == ["DUPLICATE_PAYMENT"]
    wait_until(lambda: statuses_told(receiver, order) == ["SUCCEEDED"], what="one callback")
    assert stack.cli("books", "verify")["balanced"]


@pytest.mark.slow
def test_p21_rotation_of_certificates(stack: Stack, fresh_merchant: Merchant) -> None:
    made = stack.sandbox.post_json(
        "/control/accounts", {"provider": "wxpay", "mode": "platform_cert"}
    ).json
    known = stack.add_account(fresh_merchant, "wxpay.native", made["config"])
    payer = Payer(stack, {"wxpay.native": known})

    def sell() -> None:
        order = new_order(fresh_merchant, "wxpay.native")
        payer.pay(order)
        paid(fresh_merchant, order, seconds=60)

    def rotate(step: str) -> None:
        body = {"provider": "wxpay", "account": made["account"], "step": step}
        assert stack.sandbox.post_json("/control/rotate", body).status == 200

    sell()
    rotate("add")  # the new one is published, the old one signs
    sell()
    rotate("switch")
    wait_until(
        lambda: fresh_merchant.create_order("wxpay.native").status == 200,
        seconds=60,
        what="the new certificate to be known",
    )
    sell()
    rotate("drop")
    sell()


def test_p21_unknown_serial(stack: Stack, merchant: Merchant, payer: Payer) -> None:
    order = new_order(merchant, "wxpay.native")
    headers, body = notifications.wxpay(order)
    headers["wechatpay-serial"] = "5" * 40
    answer = stack.http.request(
        "POST", payer.callback_path("wxpay.native"), body=body, headers=headers
    )
    assert refused(answer, "wxpay.native")
    assert merchant.order(order["id"])["status"] == "PENDING"


@pytest.mark.parametrize("skew", [-600, 600])
def test_p22_stale_notification(merchant: Merchant, payer: Payer, skew: int) -> None:
    order = new_order(merchant, "wxpay.native")
    answer = payer.notify(order, at=int(time.time()) + skew)
    assert refused(answer, "wxpay.native")
    assert merchant.order(order["id"])["status"] == "PENDING"


@pytest.mark.parametrize("skew", [-600, 600])
def test_p22_answers_of_a_provider_with_a_wrong_clock(
    merchant: Merchant, payer: Payer, skew: int
) -> None:
    reference = f"skew-{secrets.token_hex(6)}"
    payer.control("clock", {"skewSeconds": skew})
    try:
        first = merchant.create_order("wxpay.native", externalOrderId=reference)
    finally:
        payer.control("clock", {"skewSeconds": 0})
    # By its clock our signature is stale: it has turned the request away.
    assert (first.status, first.code) == (500, "PROVIDER_UNAVAILABLE")
    assert merchant.order(reference)["status"] == "PENDING"
    again = merchant.create_order("wxpay.native", externalOrderId=reference)
    assert again.status == 200
    assert payer.trade(again.json["order"]["id"])["effectiveCreates"] == 1
