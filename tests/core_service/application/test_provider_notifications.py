"""Notifications at the use case: who is believed, what is kept, and that an effect comes once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.application import provider_asking
from core_service.providers.base import PaymentReport, PaymentState, RefundReport, RefundState
from core_service.storage.database import execute, fetch_all
from core_service.storage.payment_orders import PaymentOrderRow
from tests.core_service.fake_provider import payment_notice, refund_notice
from tests.core_service.shop import LOCAL, REMOTE, Shop, at_once, count, events_of

BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


def outcomes() -> list[str]:
    return [
        row["outcome"]
        for row in fetch_all("SELECT outcome FROM provider_notifications ORDER BY id")
    ]


def change_elsewhere(statement: str) -> None:
    """As another process changes a merchant: what this one remembers stays as it was."""
    execute(statement)
    execute("UPDATE merchants SET version = version + 1")


def paid_report(order: PaymentOrderRow, **changes: Any) -> PaymentReport:
    told = PaymentReport(
        order.id, PaymentState.PAID, "TRADE_SUCCESS", "gw-1", order.amount_fen, order.currency,
        datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    )  # fmt: skip
    return replace(told, **changes)


@BOTH
def test_a_payment(shop: Shop, channel: str) -> None:
    order = shop.create(channel)
    answer = shop.notify(order, payment_notice(paid_report(order), event_id="e-1"))
    assert (answer.status, answer.body) == (200, b"success")
    found = shop.order(order.id)
    assert (found.status, found.gateway_order_id, found.provider_status) == (
        "SUCCEEDED",
        "gw-1",
        "TRADE_SUCCESS",
    )
    assert found.paid_at == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert (found.paid_amount_fen, found.ask_at, found.late) == (3000, None, False)
    assert events_of(order.id)[-1] == ("notification", "PENDING", "SUCCEEDED")
    (kept,) = fetch_all("SELECT outcome, provider_event_id, order_id FROM provider_notifications")
    assert kept == {"outcome": "applied", "provider_event_id": "e-1", "order_id": order.id}
    assert (count("journals"), count("deliveries"), count("received_payments")) == (1, 1, 1)


def test_p12_the_same_payment_again_and_again(shop: Shop) -> None:
    order = shop.create(LOCAL)
    body = payment_notice(paid_report(order))
    assert [shop.notify(order, body).status for _ in range(10)] == [200] * 10
    at_once(10, lambda _: shop.notify(order, body))
    assert (count("journals"), count("deliveries"), count("received_payments")) == (1, 1, 1)
    assert outcomes() == ["applied"] + ["nothing_new"] * 19


def test_p13_out_of_order(shop: Shop) -> None:
    order = shop.create(LOCAL)
    for state in (PaymentState.PAID, PaymentState.UNPAID, PaymentState.CLOSED, PaymentState.FAILED):
        answer = shop.notify(
            order, payment_notice(paid_report(order, state=state, provider_status=state.value))
        )
        assert answer.status == 200
        assert shop.order(order.id).status == "SUCCEEDED"
    assert len(events_of(order.id)) == 2


def test_p15_one_answer_for_everybody_who_is_not_known(shop: Shop, other_shop: Shop) -> None:
    order = shop.create(LOCAL)
    body = payment_notice(paid_report(order))
    answers = [
        shop.send(LOCAL, body, token="wrong"),
        shop.send(LOCAL, body, token="schlüssel"),
        shop.send(LOCAL, body, token=""),
        shop.send(LOCAL, body, account_id="acc_unknown"),
        shop.send(LOCAL, body, account_id=shop.accounts[REMOTE]),
        other_shop.send(LOCAL, body),
        shop.send(LOCAL, payment_notice(paid_report(order, order_id="po_unknown"))),
    ]
    change_elsewhere("UPDATE channel_accounts SET enabled = false")
    answers.append(shop.send(LOCAL, body))
    assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
    assert shop.order(order.id).status == "PENDING"
    assert outcomes() == ["order_unknown"] * 2, "only what came to a known account is kept"


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ("UPDATE channel_accounts SET enabled = false", 404, 0),
        ("UPDATE merchants SET callback_base = 'https://new.example/'", 200, 1),
    ],
)
def test_a_merchant_that_changed_is_looked_at_again_before_a_payment_is_taken(
    shop: Shop, change: str, status: int, told: int
) -> None:
    first, order = shop.create(LOCAL), shop.create(LOCAL)
    assert shop.notify(first, payment_notice(paid_report(first))).status == 200
    assert count("deliveries") == 1
    change_elsewhere(change)
    assert shop.notify(order, payment_notice(paid_report(order))).status == status
    assert shop.order(order.id).status == ("SUCCEEDED" if status == 200 else "PENDING")
    assert count("deliveries") == 1 + told
    assert outcomes() == ["applied"] * (2 if status == 200 else 1)


def test_an_account_that_was_closed_is_believed_as_soon_as_it_is_open_again(shop: Shop) -> None:
    order = shop.create(LOCAL)
    change_elsewhere("UPDATE channel_accounts SET enabled = false")
    assert shop.notify(order, payment_notice(paid_report(order))).status == 404
    change_elsewhere("UPDATE channel_accounts SET enabled = true")
    assert shop.notify(order, payment_notice(paid_report(order))).status == 200
    assert shop.order(order.id).status == "SUCCEEDED"


def test_p15_an_order_of_another_account_of_the_same_merchant(shop: Shop) -> None:
    order = shop.create(REMOTE)
    answer = shop.send(LOCAL, payment_notice(paid_report(order)))
    assert (answer.status, shop.order(order.id).status) == (404, "PENDING")


@pytest.mark.parametrize(
    "reason",
    [
        "bad_signature",
        "bad_ciphertext",
        "wrong_app_id",
        "wrong_seller_id",
        "missing_seller_id",
        "stale",
        "unknown_serial",
    ],
)
def test_p16_p18_p22_what_the_adapter_does_not_believe(shop: Shop, reason: str) -> None:
    order = shop.create(LOCAL)
    answer = shop.notify(order, payment_notice(paid_report(order), rejected=reason))
    assert (answer.status, answer.body) == (400, b'{"code": "INVALID_NOTIFICATION"}')
    assert (shop.order(order.id).status, outcomes()) == ("PENDING", [reason])


@pytest.mark.parametrize(
    "changes",
    [{"paid_amount_fen": 2999}, {"paid_amount_fen": None}, {"currency": "USD"}, {"currency": None}],
)
@pytest.mark.parametrize("status", ["PENDING", "CANCELLED", "SUCCEEDED"])
def test_p17_another_amount_is_kept_as_an_anomaly(
    shop: Shop, changes: dict[str, Any], status: str
) -> None:
    order = shop.paid() if status == "SUCCEEDED" else shop.create(LOCAL)
    if status == "CANCELLED":
        shop.ask_close(order.id)
    before = shop.order(order.id)
    body = payment_notice(paid_report(order, **changes))
    assert [shop.notify(order, body).status for _ in range(2)] == [400, 400]
    assert shop.order(order.id) == before
    assert outcomes()[-2:] == ["amount_mismatch"] * 2
    assert count("anomalies WHERE kind = 'AMOUNT_MISMATCH'") == 1


def test_p19_late_money_is_booked_flagged_and_announced_anew(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    execute("UPDATE deliveries SET status = 'DELIVERED'")
    execute(
        "INSERT INTO delivery_attempts "
        "SELECT merchant_id, id, 1, 1, NULL, NULL, now(), now(), 'delivered' FROM deliveries"
    )
    assert shop.notify(order, payment_notice(paid_report(order))).status == 200
    found = shop.order(order.id)
    assert (found.status, found.late) == ("SUCCEEDED", True)
    deliveries = fetch_all(
        "SELECT id, resulting_status, status, attempt_count FROM deliveries ORDER BY id"
    )
    assert [(d["resulting_status"], d["status"]) for d in deliveries] == [
        ("CANCELLED", "DELIVERED"),
        ("SUCCEEDED", "PENDING"),
    ]
    assert deliveries[0]["id"] != deliveries[1]["id"]
    assert count("anomalies WHERE kind = 'LATE_PAYMENT'") == 1
    assert count("journals WHERE kind = 'CAPTURE'") == 1


def test_a_second_payment_is_kept_booked_apart_and_flagged_once(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    second = payment_notice(paid_report(order, gateway_order_id="gw-2"))
    assert [shop.notify(order, second).status for _ in range(3)] == [200] * 3
    at_once(4, lambda _: shop.notify(order, second))
    shop.notify(order, payment_notice(paid_report(order, gateway_order_id="gw-3")))
    rows = fetch_all(
        "SELECT duplicate, count(*) AS n FROM received_payments GROUP BY duplicate ORDER BY 1"
    )
    assert rows == [{"duplicate": False, "n": 1}, {"duplicate": True, "n": 2}]
    assert count("anomalies WHERE kind = 'DUPLICATE_PAYMENT'") == 2
    assert count("journals WHERE kind = 'DUPLICATE'") == 2
    assert count("deliveries") == 1
    assert shop.order(order.id).gateway_order_id == order.gateway_order_id
    assert shop.order(order.id).paid_amount_fen == 3000


def test_a_contradictory_notification_only_hastens_the_question(shop: Shop) -> None:
    order = shop.create(LOCAL)
    answer = shop.notify(order, payment_notice(paid_report(order), needs_query=True))
    found = shop.order(order.id)
    assert (answer.status, found.status, outcomes()) == (200, "PENDING", ["nothing_new"])
    assert found.ask_at is not None
    assert found.ask_at <= datetime.now(UTC)


def test_a_notification_about_nothing_is_acknowledged_and_kept(shop: Shop) -> None:
    assert shop.send(LOCAL, b"{}").status == 200
    assert outcomes() == ["nothing_new"]


def refund_report(refund: Any, **changes: Any) -> RefundReport:
    told = RefundReport(
        refund.id, refund.order_id, RefundState.SUCCEEDED, "SUCCESS", "gr-1", refund.amount_fen, 3000,
        datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    )  # fmt: skip
    return replace(told, **changes)


@pytest.fixture
def open_refund(shop: Shop) -> Any:
    order = shop.paid(REMOTE)
    shop.providers[REMOTE].refund_state = RefundState.PROCESSING
    return shop.ask_refund(order.id, "10.00").result.refund


def test_the_result_of_a_refund(shop: Shop, open_refund: Any) -> None:
    body = refund_notice(refund_report(open_refund))
    assert [shop.send(REMOTE, body).status for _ in range(3)] == [200] * 3
    (row,) = fetch_all("SELECT status, provider_refund_id, refunded_at FROM refunds")
    assert row == {"status": "SUCCEEDED", "provider_refund_id": row["provider_refund_id"],
                   "refunded_at": datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)}  # fmt: skip
    assert outcomes()[-3:] == ["applied", "nothing_new", "nothing_new"]
    assert count("journals WHERE kind = 'REFUND'") == 1
    assert count("deliveries WHERE refund_id IS NOT NULL") == 1


@pytest.mark.parametrize(
    "state", [RefundState.FAILED, RefundState.ABNORMAL, RefundState.PROCESSING]
)
def test_other_news_of_a_refund(shop: Shop, open_refund: Any, state: RefundState) -> None:
    report = refund_report(open_refund, state=state, provider_status=state.value, refunded_at=None)
    assert shop.send(REMOTE, refund_notice(report)).status == 200
    reserved = shop.order(open_refund.order_id).refund_reserved_fen
    assert reserved == (0 if state is RefundState.FAILED else 1000)
    assert count("anomalies") == (1 if state is RefundState.ABNORMAL else 0)


@pytest.mark.parametrize(
    "changes", [{"amount_fen": 999}, {"amount_fen": None}, {"order_id": "po_another"}]
)
def test_a_refund_that_is_not_ours_in_every_number(
    shop: Shop, open_refund: Any, changes: dict[str, Any]
) -> None:
    report = refund_report(open_refund, **changes)
    assert shop.send(REMOTE, refund_notice(report)).status == 400
    assert fetch_all("SELECT status FROM refunds") == [{"status": "PROCESSING"}]


def test_an_unknown_refund(shop: Shop, open_refund: Any) -> None:
    for number in ("rf_unknown", open_refund.external_refund_id):
        report = refund_report(open_refund, refund_id=number)
        assert shop.send(REMOTE, refund_notice(report)).status == 404
    assert fetch_all("SELECT status FROM refunds") == [{"status": "PROCESSING"}]


def test_a_refund_notification_that_needs_a_query_has_it_asked(
    shop: Shop, open_refund: Any
) -> None:
    execute("UPDATE refunds SET ask_at = %s", (datetime.now(UTC) + timedelta(hours=1),))
    body = refund_notice(refund_report(open_refund), needs_query=True)
    assert shop.send(REMOTE, body).status == 200
    assert count("refunds WHERE status = 'PROCESSING' AND ask_at <= now()") == 1


@BOTH
def test_a_paid_order_that_is_said_to_be_closed_is_asked_about_once(
    shop: Shop, channel: str
) -> None:
    order = shop.paid(channel)
    closed = paid_report(order, state=PaymentState.CLOSED, provider_status="TRADE_CLOSED")
    assert shop.notify(order, payment_notice(closed)).status == 200
    assert outcomes()[-1] == "status_mismatch"
    assert provider_asking.ask_due_orders(5) == 1
    assert provider_asking.ask_due_orders(5) == 0
    found = shop.order(order.id)
    assert (found.status, found.ask_at, count("journals")) == ("SUCCEEDED", None, 1)
