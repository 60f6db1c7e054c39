"""Provider faults P01 to P09: what an answer that is missing, broken or a no does to orders and refunds.

The sandbox chooses its fault by the last two digits of the amount, so that all cases run at once: a provider call that
is never answered costs seven seconds. Each fault strikes once per number and operation; the repeat finds it healed.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.database import rows
from tests.payer import PROVIDERS, Payer
from tests.stack import Answer, Merchant, Stack, wait_until

pytestmark = pytest.mark.slow

FEN_OF_FAULT = {
    "timeout_after_success": 71,
    "timeout_without_effect": 72,
    "error_after_success": 73,
    "error_without_effect": 74,
    "reset_after_success": 76,
    "unsigned_answer": 79,
    "bad_signature_answer": 81,
    "html_answer": 82,
    "cut_answer": 83,
    "rate_limited": 84,
}
FEN_OF_CLOSE_FAULT = {
    "timeout_after_success": 54,
    "timeout_without_effect": 56,
    "error_after_success": 57,
    "error_without_effect": 58,
}
WITHOUT_EFFECT = {"timeout_without_effect", "error_without_effect", "rate_limited"}
AtOnce = Callable[[Callable[[Any], Any], Any], list[Any]]


def code_of(fault: str) -> str:
    """Turned away before anything was done, or: it may have been done."""
    return "PROVIDER_UNAVAILABLE" if fault == "rate_limited" else "PROVIDER_TIMEOUT"


@dataclass(frozen=True)
class Case:
    """What a request under a fault was answered, what was true then, and what its repeat was answered."""

    first: Answer
    between: Any
    again: Answer
    reference: str


@pytest.fixture(scope="module")
def creates(merchant: Merchant, at_once: AtOnce) -> dict[str, Case]:
    """Every fault at the creation of a WeChat order, then the same request again."""

    def create(fault: str) -> Case:
        reference, key = f"p-{secrets.token_hex(8)}", secrets.token_hex(8)
        body = {
            "channelCode": "wxpay.native",
            "externalOrderId": reference,
            "amount": f"15.{FEN_OF_FAULT[fault]}",
            "subject": fault,
        }
        first = merchant.post("/api/payment-orders", body, idempotency_key=key)
        between = merchant.order(reference)
        again = merchant.post("/api/payment-orders", body, idempotency_key=key)
        return Case(first, between, again, reference)

    return dict(zip(FEN_OF_FAULT, at_once(create, list(FEN_OF_FAULT)), strict=True))


@pytest.mark.parametrize("fault", list(FEN_OF_FAULT))
def test_p01_p02_p03_p05_p06_create_without_a_usable_answer(
    creates: dict[str, Case], merchant: Merchant, payer: Payer, fault: str
) -> None:
    case = creates[fault]
    assert (case.first.status, case.first.code) == (500, code_of(fault))
    assert case.between["status"] == "PENDING"
    assert case.between["checkoutUrl"] is None
    assert case.again.status == 200, case.again.raw
    order = case.again.json["order"]
    assert order["id"] == case.between["id"]
    assert order["status"] == "PENDING"
    payer.pay(order, waitSeconds=10)
    assert merchant.order(case.reference)["status"] == "SUCCEEDED"
    trade = payer.trade(order["id"])
    assert trade["effectiveCreates"] == 1  # V07
    assert len(trade["payments"]) == 1


def test_p02_connection_refused(
    stack: Stack, fresh_merchant: Merchant, configurations: dict[str, dict[str, object]]
) -> None:
    closed = {**configurations["wxpay.native"], "apiBaseUrl": "http://127.0.0.1:1/wechat"}
    stack.add_account(fresh_merchant, "wxpay.native", closed)
    body = {
        "channelCode": "wxpay.native",
        "externalOrderId": "refused",
        "amount": "1.00",
        "subject": "x",
    }
    answer = fresh_merchant.post("/api/payment-orders", body)
    assert (answer.status, answer.code) == (500, "PROVIDER_UNAVAILABLE")
    assert fresh_merchant.order("refused")["status"] == "PENDING"


def test_p04_create_refused(stack: Stack, merchant: Merchant) -> None:
    reference = f"p-{secrets.token_hex(8)}"
    first = merchant.create_order("wxpay.native", "15.78", externalOrderId=reference)
    assert (first.status, first.code) == (500, "PROVIDER_ERROR")
    assert set(first.json["details"]) == {"code", "message"}
    order = merchant.order(reference)
    assert order["status"] == "FAILED"
    again = merchant.create_order("wxpay.native", "15.78", externalOrderId=reference)
    assert (again.status, again.json["created"]) == (200, False)
    assert again.json["order"]["status"] == "FAILED"
    events = rows(
        stack,
        "SELECT before_status, after_status FROM payment_events WHERE order_id = %s ORDER BY id",
        [order["id"]],
    )
    assert [event["after_status"] for event in events] == ["PENDING", "FAILED"]


@pytest.fixture(scope="module")
def refunds(merchant: Merchant, payer: Payer, at_once: AtOnce) -> dict[tuple[str, str], Case]:
    """Every fault at a refund on each channel; `again` is the answer once nothing is open any more."""

    def refund(case: tuple[str, str]) -> Case:
        channel, fault = case
        order = merchant.create_order(channel, "100.00").json["order"]
        payer.pay(order, waitSeconds=10)
        wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
        body = {"externalRefundId": f"r-{secrets.token_hex(8)}"}
        amount = f"15.{FEN_OF_FAULT[fault]}"
        first = merchant.refund(order["id"], amount, **body)
        between = {
            "refund": merchant.post(
                f"/api/payment-refunds/{body['externalRefundId']}", {"sync": False}
            ).json["refund"],
            "summary": merchant.order(order["id"])["refundSummary"],
        }
        again = merchant.refund(order["id"], amount, **body)
        return Case(first, between, again, body["externalRefundId"])

    cases = [(channel, fault) for channel in PROVIDERS for fault in FEN_OF_FAULT]
    return dict(zip(cases, at_once(refund, cases), strict=True))


@pytest.mark.parametrize("fault", list(FEN_OF_FAULT))
@pytest.mark.parametrize("channel", list(PROVIDERS))
def test_p05_p06_p07_refund_without_a_usable_answer(
    refunds: dict[tuple[str, str], Case], merchant: Merchant, payer: Payer, channel: str, fault: str
) -> None:
    case = refunds[channel, fault]
    assert (case.first.status, case.first.code) == (500, code_of(fault))
    amount = f"15.{FEN_OF_FAULT[fault]}"
    assert case.between["summary"]["totalRequestedAmount"] == amount
    if fault in WITHOUT_EFFECT:
        assert case.between["refund"]["status"] == "PROCESSING"
        assert case.between["summary"]["totalRefundedAmount"] == "0.00"
    else:  # a notification may have been faster than the question
        assert case.between["refund"]["status"] in ("PROCESSING", "SUCCEEDED")
    assert case.again.status == 200, case.again.raw
    assert case.again.json["refund"]["id"] == case.between["refund"]["id"]
    ended = wait_until(
        lambda: ended_refund(merchant, case.reference), seconds=60, what="the refund's end"
    )
    assert (ended["status"], ended["amount"]) == ("SUCCEEDED", amount)
    trade = payer.trade(ended["paymentOrderId"])
    assert [(r["outRefundNo"], r["executed"]) for r in trade["refunds"]] == [(ended["id"], True)]


def ended_refund(merchant: Merchant, reference: str) -> Any:
    refund = merchant.post(f"/api/payment-refunds/{reference}", {"sync": False}).json["refund"]
    return refund if refund["status"] in ("SUCCEEDED", "FAILED") else None


@pytest.mark.parametrize("fen", ["86", "78"])
@pytest.mark.parametrize("channel", list(PROVIDERS))
def test_p08_refund_refused(merchant: Merchant, payer: Payer, channel: str, fen: str) -> None:
    order = merchant.create_order(channel, "100.00").json["order"]
    payer.pay(order, waitSeconds=10)
    first = merchant.refund(order["id"], f"99.{fen}", externalRefundId=f"no-{order['id']}")
    assert (first.status, first.code) == (500, "PROVIDER_ERROR")
    refund = ended_refund(merchant, f"no-{order['id']}")
    assert refund["status"] == "FAILED"
    summary = merchant.order(order["id"])["refundSummary"]
    assert (summary["totalRequestedAmount"], summary["refundableAmount"]) == ("0.00", "100.00")
    # What was reserved is free again, once.
    assert merchant.refund(order["id"], "100.00").status == 200
    assert merchant.refund(order["id"], "0.01").code == "REFUND_AMOUNT_EXCEEDED"
    assert [r["amountFen"] for r in payer.trade(order["id"])["refunds"]] == [10000]


def test_p09_refund_pending_is_never_failed_by_age(
    stack: Stack, merchant: Merchant, payer: Payer
) -> None:
    order = merchant.create_order("wxpay.native", "100.00").json["order"]
    payer.pay(order, waitSeconds=10)
    with payer.scenario("wxpay.native", "refund_pending", delaySeconds=None):
        refund = merchant.refund(order["id"], "40.00").json["refund"]
    assert refund["status"] == "PROCESSING"
    for _ in range(2):
        asked = merchant.post(f"/api/payment-refunds/{refund['id']}", {"sync": True}).json["refund"]
        assert asked["status"] == "PROCESSING"
    assert merchant.order(order["id"])["refundSummary"]["totalRequestedAmount"] == "40.00"
    payer.control(
        "refunds", {"provider": "wxpay", "outRefundNo": refund["id"], "status": "SUCCESS"}
    )
    ended = wait_until(lambda: ended_refund(merchant, refund["id"]), what="the refund's end")
    assert ended["status"] == "SUCCEEDED"


@pytest.mark.parametrize(("fen", "status"), [("89", "FAILED"), ("91", "PROCESSING")])
def test_refund_that_ends_badly_later(
    stack: Stack, merchant: Merchant, payer: Payer, fen: str, status: str
) -> None:
    order = merchant.create_order("wxpay.native", "100.00").json["order"]
    payer.pay(order, waitSeconds=10)
    refund = merchant.refund(order["id"], f"40.{fen}").json["refund"]
    at_provider = "CLOSED" if status == "FAILED" else "ABNORMAL"

    def known() -> Any:
        answer = merchant.post(f"/api/payment-refunds/{refund['id']}", {"sync": False})
        current = answer.json["refund"]
        return current if current["providerStatus"] == at_provider else None

    ended = wait_until(known, seconds=30, what=at_provider)
    assert ended["status"] == status
    reserved = "0.00" if status == "FAILED" else f"40.{fen}"
    assert merchant.order(order["id"])["refundSummary"]["totalRequestedAmount"] == reserved


@pytest.fixture(scope="module")
def closes(merchant: Merchant, payer: Payer, at_once: AtOnce) -> dict[tuple[str, str], Case]:
    """Every fault at closing an order on each channel, then the same request again."""

    def close(case: tuple[str, str]) -> Case:
        channel, fault = case
        order = merchant.create_order(channel, f"15.{FEN_OF_CLOSE_FAULT[fault]}").json["order"]
        payer.control("open", {"url": order["checkoutUrl"]})
        path = f"/api/payment-orders/{order['id']}/close"
        first = merchant.post(path, {})
        between = merchant.order(order["id"])
        again = merchant.post(path, {})
        return Case(first, between, again, order["id"])

    cases = [(channel, fault) for channel in PROVIDERS for fault in FEN_OF_CLOSE_FAULT]
    return dict(zip(cases, at_once(close, cases), strict=True))


@pytest.mark.parametrize("fault", list(FEN_OF_CLOSE_FAULT))
@pytest.mark.parametrize("channel", list(PROVIDERS))
def test_p10_close_without_a_usable_answer(
    closes: dict[tuple[str, str], Case], payer: Payer, channel: str, fault: str
) -> None:
    case = closes[channel, fault]
    assert (case.first.status, case.first.code) == (500, code_of(fault))
    if fault in WITHOUT_EFFECT:
        assert case.between["status"] == "PENDING"
    else:  # a worker may have asked in the meantime
        assert case.between["status"] in ("PENDING", "CANCELLED")
    assert case.again.status == 200, case.again.raw
    assert case.again.json["order"]["status"] == "CANCELLED"
    assert payer.trade(case.reference)["status"] == "CLOSED"
