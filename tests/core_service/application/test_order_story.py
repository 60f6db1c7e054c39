"""One order with its timeline, and what the diagnosis says about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.application import provider_asking
from core_service.domain import diagnosis
from core_service.domain.diagnosis import PaymentStory, Rejection
from core_service.storage.database import execute
from tests.core_service.application.oversight import Console
from tests.core_service.fake_provider import unknown_before
from tests.core_service.shop import LOCAL, REMOTE, Shop

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def codes(answer: Any) -> list[str]:
    return [finding.code for finding in answer.diagnosis]


def kinds(answer: Any) -> list[tuple[str, str]]:
    return [(entry.kind, entry.code) for entry in answer.timeline]


def facts(entry: Any) -> dict[str, str]:
    return {fact.name: fact.value for fact in entry.facts}


def test_a_paid_and_refunded_order(shop: Shop, console: Console) -> None:
    paid = shop.paid(REMOTE, "30.00")
    refund = shop.ask_refund(paid.id, "10.00").result.refund
    shown = console.ask("GetPaymentOrder", id=paid.id)
    assert (shown.order.id, shown.order.amount) == (paid.id, "30.00")
    assert [one.id for one in shown.refunds] == [refund.id]
    assert len(shown.deliveries) == 2
    assert codes(shown) == ["PAID"]
    assert facts(shown.diagnosis[0])["firstSeenBy"] == "notification"
    times = [entry.at.ToDatetime() for entry in shown.timeline]
    assert times == sorted(times)
    assert set(kinds(shown)) == {
        ("event", "create"),
        ("event", "notification"),
        ("notification", "applied"),
        ("payment", "genuine"),
        ("journal", "CAPTURE"),
        ("delivery", "payment.order.updated"),
        ("event", "refund"),
        ("journal", "REFUND"),
        ("delivery", "payment.refund.updated"),
    }
    capture = next(entry for entry in shown.timeline if entry.code == "CAPTURE")
    assert facts(capture)["provider_balance"] == "30.00"


def test_a_question_of_a_worker_is_kept(shop: Shop, console: Console) -> None:
    order = shop.create(LOCAL)
    assert codes(console.ask("GetPaymentOrder", id=order.id)) == [
        "WAITING_FOR_PAYER",
        "NEVER_ASKED",
        "ASKED_NEXT",
    ]
    execute("UPDATE payment_orders SET ask_at = now()")
    provider_asking.ask_due_orders(1)
    shown = console.ask("GetPaymentOrder", id=order.id)
    assert shown.ask_answer.startswith("UNPAID ")
    assert ("ask", "answered") in kinds(shown)
    assert "PROVIDER_SAID" in codes(shown)
    shop.providers[LOCAL].script("query", unknown_before())
    execute("UPDATE payment_orders SET ask_at = now()")
    provider_asking.ask_due_orders(1)
    shown = console.ask("GetPaymentOrder", id=order.id)
    assert shown.HasField("ask_failure")
    assert "PROVIDER_SILENT" in codes(shown)


def test_a_question_of_a_merchant_is_kept(shop: Shop, console: Console) -> None:
    order = shop.create(LOCAL)
    shop.query(order.id)
    assert console.ask("GetPaymentOrder", id=order.id).ask_answer.startswith("UNPAID ")


def test_refused_notifications_are_shown_with_the_order_of_their_account(
    shop: Shop, console: Console
) -> None:
    order = shop.create(REMOTE)
    assert shop.notify(order, b"rubbish").status == 400
    shown = console.ask("GetPaymentOrder", id=order.id)
    (notice,) = [entry for entry in shown.timeline if entry.kind == "notification"]
    assert facts(notice) == {"unattributed": "true"}
    assert "NOTIFICATIONS_REJECTED" in codes(shown)


def story(**changes: Any) -> PaymentStory:
    values: dict[str, Any] = {
        "status": "PENDING",
        "late": False,
        "has_checkout": True,
        "expire_at": NOW + timedelta(minutes=10),
        "paid_at": None,
        "first_seen_by": None,
        "ended_by": None,
        "ended_by_actor": None,
        "failure_code": None,
        "failure_message": None,
        "asked_at": NOW,
        "ask_answer": "UNPAID WAIT_BUYER_PAY",
        "ask_failure": None,
        "ask_at": None,
        "mismatches": (),
        "rejections": (),
        "account_name": "Main",
        "account_enabled": True,
    }
    return PaymentStory(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["WAITING_FOR_PAYER", "PROVIDER_SAID"]),
        ({"ask_answer": "UNPAID NOT_EXIST"}, ["NEVER_OPENED", "PROVIDER_SAID"]),
        ({"has_checkout": False}, ["NO_CHECKOUT", "PROVIDER_SAID"]),
        ({"expire_at": NOW - timedelta(seconds=5)}, ["EXPIRING", "PROVIDER_SAID"]),
        ({"expire_at": NOW - timedelta(hours=1)}, ["STUCK", "PROVIDER_SAID"]),
        ({"status": "FAILED", "failure_code": "X"}, ["PROVIDER_REFUSED", "PROVIDER_SAID"]),
        ({"status": "CANCELLED", "ended_by": "expiry"}, ["EXPIRED", "PROVIDER_SAID"]),
        ({"status": "CANCELLED", "ended_by": "close"}, ["CLOSED", "PROVIDER_SAID"]),
        ({"status": "CANCELLED", "ended_by": "query"}, ["CLOSED_AT_PROVIDER", "PROVIDER_SAID"]),
        ({"status": "SUCCEEDED"}, ["PAID"]),
        ({"status": "SUCCEEDED", "late": True}, ["PAID_LATE"]),
        ({"ask_failure": "timed out"}, ["WAITING_FOR_PAYER", "PROVIDER_SILENT"]),
        ({"asked_at": None, "ask_answer": None}, ["WAITING_FOR_PAYER", "NEVER_ASKED"]),
        ({"account_enabled": False}, ["WAITING_FOR_PAYER", "ACCOUNT_DISABLED", "PROVIDER_SAID"]),
        ({"mismatches": ("1 CNY",)}, ["WAITING_FOR_PAYER", "AMOUNT_MISMATCH", "PROVIDER_SAID"]),
        (
            {"rejections": (Rejection("timestamp_expired", 1, NOW),)},
            ["WAITING_FOR_PAYER", "CLOCK_SKEW", "PROVIDER_SAID"],
        ),
        (
            {"rejections": (Rejection("bad_signature", 2, NOW),)},
            ["WAITING_FOR_PAYER", "NOTIFICATIONS_REJECTED", "PROVIDER_SAID"],
        ),
    ],
)
def test_findings(changes: dict[str, Any], expected: list[str]) -> None:
    found = diagnosis.diagnose(story(**changes), now=NOW)
    assert [finding.code for finding in found] == expected
