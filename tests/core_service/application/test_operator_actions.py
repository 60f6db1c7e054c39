"""What operators do to orders, refunds and anomalies: who did it is in the history, and one audit record says so."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from core_service.application import anomalies, payment_orders, refunds
from core_service.application.payment_orders import References
from core_service.application.refunds import CreateRefund
from core_service.calls import StaffIdentity
from core_service.errors import CoreError
from core_service.storage import anomalies as anomaly_rows
from core_service.storage.database import fetch_all
from tests.core_service.admin_setup import audit_rows, operator_call
from tests.core_service.application.oversight import Console
from tests.core_service.fake_provider import payment_notice
from tests.core_service.shop import LOCAL, REMOTE, Shop, events_of, refusal_of

ACTOR = "operator:ops@example.com"


def nothing(_result: Any) -> bytes:
    return b""


def actors_of(order_id: str) -> list[str]:
    rows = fetch_all(
        "SELECT actor FROM payment_events WHERE order_id = %s ORDER BY id", (order_id,)
    )
    return [row["actor"] for row in rows]


def refund(shop: Shop, order_id: str, reason: str | None, external: str = "by-hand-1") -> Any:
    command = CreateRefund(References.of(orderReference=order_id), external, "10.00", reason, None)
    return refunds.create(
        operator_call(), shop.snapshot, command, encode=nothing, now=datetime.now(UTC)
    )


def test_v23_a_close(shop: Shop) -> None:
    order = shop.create(REMOTE)
    names = References.of(orderReference=order.id)
    for _ in range(2):
        payment_orders.close(
            operator_call(), shop.snapshot, names, encode=nothing, now=datetime.now(UTC)
        )
    assert actors_of(order.id) == ["merchant", ACTOR]
    (record,) = audit_rows()
    assert (record["action"], record["target"]) == ("payment_order.close", order.id)
    assert (record["before"], record["after"]) == (
        '{"status":"PENDING"}',
        '{"status":"CANCELLED"}',
    )


def test_v23_a_question_leaves_a_record_only_when_it_changes_something(shop: Shop) -> None:
    order = shop.create(LOCAL)
    names = References.of(orderReference=order.id)

    def ask() -> None:
        payment_orders.query(
            operator_call(), shop.snapshot, names, sync=True, now=datetime.now(UTC)
        )

    ask()
    assert audit_rows() == []
    assert shop.books.pay(order.id, order.amount_fen)
    ask()
    assert [cause for cause, _, _ in events_of(order.id)] == ["create", "query"]
    assert actors_of(order.id) == ["merchant", ACTOR]
    (record,) = audit_rows()
    assert record["action"] == "payment_order.query"


def test_v23_a_refund_needs_a_reason_and_is_made_once(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    for reason in (None, "", "  "):
        refused = refusal_of(partial(refund, shop, order.id, reason))
        assert refused == "INVALID_REQUEST"
    assert audit_rows() == []
    made = refund(shop, order.id, "sent twice")
    again = refund(shop, order.id, "sent twice")
    assert (made.created, again.created) == (True, False)
    assert made.refund.id == again.refund.id
    (record,) = audit_rows()
    assert (record["action"], record["target"]) == ("refund.create", made.refund.id)
    assert '"reason":"sent twice"' in record["after"]
    assert ACTOR in actors_of(order.id)


def test_a_merchants_own_calls_leave_no_audit_record(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    shop.ask_refund(order.id, "1.00")
    shop.query(order.id)
    shop.ask_close(shop.create(REMOTE).id)
    assert audit_rows() == []


@pytest.fixture
def late(shop: Shop) -> str:
    """An order whose money came after it had been closed; its anomaly is open."""
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    assert shop.books.pay(order.id, order.amount_fen)
    assert shop.notify(order, payment_notice(shop.books.payment(order.id))).status == 200
    return order.id


def test_v23_an_anomaly_is_put_away_once_with_a_note(late: str, console: Console) -> None:
    (anomaly,) = console.ask("ListAnomalies").anomalies
    assert (anomaly.kind, anomaly.order_id) == ("LATE_PAYMENT", late)
    assert console.refusal("ResolveAnomaly", id=anomaly.id) == "INVALID_REQUEST"
    assert console.refusal("ResolveAnomaly", id="an_nothing", note="x") == "NOT_FOUND"
    anomalies.resolve(operator_call(), anomaly.id, "paid back", now=datetime.now(UTC))
    assert console.refusal("ResolveAnomaly", id=anomaly.id, note="x") == "ANOMALY_RESOLVED"
    assert list(console.ask("ListAnomalies").anomalies) == []
    (resolved,) = console.ask("ListAnomalies", resolved=True, kind="LATE_PAYMENT").anomalies
    assert (resolved.note, resolved.resolved_by) == ("paid back", "ops@example.com")
    assert list(console.ask("ListAnomalies", resolved=True, kind="REFUND_STUCK").anomalies) == []
    (record,) = audit_rows()
    assert (record["action"], record["target"]) == ("anomaly.resolve", anomaly.id)


def test_a_late_answer_cannot_put_an_anomaly_away_again(late: str, console: Console) -> None:
    """The guard in the statement, alone: two operators who both saw it open."""
    (shown,) = console.ask("ListAnomalies").anomalies
    seen = anomaly_rows.find(shown.id)
    assert seen is not None
    now = datetime.now(UTC)
    assert anomaly_rows.resolve(seen, who="a", note="first", now=now)
    assert not anomaly_rows.resolve(seen, who="b", note="second", now=now)


def test_v19_staff_of_another_merchant_see_no_anomaly(late: str, console: Console) -> None:
    (shown,) = console.ask("ListAnomalies").anomalies
    call = operator_call()
    call.operator, call.staff = None, _stranger()
    with pytest.raises(CoreError, match="NOT_FOUND"):
        anomalies.resolve(call, shown.id, "x", now=datetime.now(UTC))


def _stranger() -> Any:

    return StaffIdentity("st_1", "a@example.com", "OWNER", "mch_other", "other")
