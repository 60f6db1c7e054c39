"""Between intent and answer: what a 503 may mean, and what comes of an order or refund that was left half way."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest import mock

import psycopg2
import pytest

from core_service.application import callback_attempts, callbacks, finance, provider_asking
from core_service.calls import Call, OperatorIdentity, Principal
from core_service.providers.base import PaymentReport, PaymentState, RefundReport, RefundState
from core_service.storage import database as storage
from core_service.storage.database import database, execute, fetch_all, in_transaction
from tests.core_service.fake_provider import (
    payment_notice,
    refund_notice,
    refuse,
    then_do,
    unknown_after,
    unknown_before,
)
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Shop,
    bind,
    count,
    end_leases,
    make_due,
    refusal_of,
)


def break_database() -> None:
    """The next change of an order fails as on a full disk."""
    execute(
        "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END$$"
    )
    for table in ("payment_orders", "refunds"):
        execute(f"CREATE TRIGGER fail BEFORE UPDATE ON {table} EXECUTE FUNCTION fail()")


def mend_database() -> None:
    for table in ("payment_orders", "refunds"):
        execute(f"DROP TRIGGER IF EXISTS fail ON {table}")


def refund_status() -> str:
    (row,) = fetch_all("SELECT status FROM refunds")
    return str(row["status"])


@contextmanager
def silent_commit() -> Iterator[None]:
    """The next COMMIT is done and not answered, and then the database stays away for longer than anybody waits."""
    done, execute_sql, commit = [], database.execute_sql, database.commit

    def lose(value: object) -> object:
        done.append(value)
        database.connection().close()
        message = "server closed the connection unexpectedly"
        raise psycopg2.OperationalError(message)

    def committing() -> object:
        return lose(commit())

    def connect(**_: object) -> None:
        message = "connection refused"
        raise psycopg2.OperationalError(message)

    def statement(sql: str, parameters: object = None) -> object:
        value = execute_sql(sql, parameters)
        # In a transaction the break comes at COMMIT, outside one the statement commits itself.
        return lose(value) if "external_order_id" in sql and not in_transaction() else value

    with (
        mock.patch.object(storage, "RECONNECT_SECONDS", 0.3),
        mock.patch.object(database, "execute_sql", statement),
        mock.patch.object(database, "commit", committing),
        mock.patch.object(database, "connect", connect),
    ):
        yield
    assert len(done) == 1
    storage.reconnect()


@pytest.mark.parametrize("key", [None, "k1"])
@pytest.mark.parametrize("channel", [LOCAL, REMOTE])
def test_v18_an_intent_that_may_stand_is_no_503(shop: Shop, channel: str, key: str | None) -> None:
    shop.create()  # statements are prepared, the merchant is known
    call = shop.call(key)
    with silent_commit():
        refused = refusal_of(lambda: shop.ask_create(channel, "A-1", call=call))
    assert refused == "PROVIDER_TIMEOUT"
    assert call.unspent_nonce is None, "spending it again behind the call would be a replay"
    assert count("payment_orders") == 2
    if key is not None:
        end_leases()
    shop.ask_create(channel, "A-1", key=key)
    (order,) = fetch_all("SELECT checkout_url FROM payment_orders WHERE external_order_id = 'A-1'")
    assert order["checkout_url"]


def test_v18_a_refund_that_may_be_reserved_is_no_503(shop: Shop) -> None:
    order = shop.paid(REMOTE)
    with silent_commit():
        refused = refusal_of(lambda: shop.ask_refund(order.id, "10.00", "R-1"))
    assert refused == "PROVIDER_TIMEOUT"
    assert shop.order(order.id).refund_reserved_fen == 1000


@pytest.mark.parametrize("key", [None, "k1"])
def test_v18_a_create_without_time_for_the_provider_leaves_no_order(
    shop: Shop, key: str | None
) -> None:
    call = shop.call(key, seconds=1)
    assert refusal_of(lambda: shop.ask_create(REMOTE, "A-1", call=call)) == "OVERLOADED"
    assert (count("payment_orders"), count("idempotency_keys")) == (0, 0)


@pytest.mark.parametrize("key", [None, "k1"])
def test_v18_a_database_that_fails_after_the_create_call_is_an_open_outcome(
    shop: Shop, key: str | None
) -> None:
    shop.providers[REMOTE].script("create", then_do(break_database))
    assert refusal_of(lambda: shop.ask_create(REMOTE, "A-1", key=key)) == "PROVIDER_TIMEOUT"
    mend_database()
    call = shop.call(key, seconds=2.5)
    assert shop.ask_create(REMOTE, "A-1", call=call).result.view.order.checkout_url
    assert len(shop.books.rows("SELECT 1 FROM payments")) == 1


@pytest.mark.parametrize("key", [None, "k1"])
def test_v18_a_database_that_fails_after_the_refund_call_is_an_open_outcome(
    shop: Shop, key: str | None
) -> None:
    order = shop.paid(REMOTE)
    shop.providers[REMOTE].script("refund", then_do(break_database))
    outcome = refusal_of(lambda: shop.ask_refund(order.id, "10.00", "R-1", key=key))
    assert outcome == "PROVIDER_TIMEOUT"
    mend_database()
    assert refund_status() == "PENDING"
    make_due()
    provider_asking.ask_due_refunds(5)
    assert refund_status() == "SUCCEEDED"
    assert shop.books.calls("refund") == 1


def test_v18_a_database_that_fails_after_the_close_is_an_open_outcome(shop: Shop) -> None:
    order = shop.create(REMOTE)
    shop.providers[REMOTE].script("close", then_do(break_database))
    assert refusal_of(lambda: shop.ask_close(order.id, key="k1")) == "PROVIDER_TIMEOUT"
    mend_database()
    assert shop.query(order.id).status == "CANCELLED"
    assert shop.ask_close(order.id, key="k1").result.view.order.status == "CANCELLED"


def test_p01_a_retry_does_not_wait_for_a_call_that_is_known_to_have_failed(shop: Shop) -> None:
    shop.providers[REMOTE].script("create", unknown_before())
    assert refusal_of(lambda: shop.ask_create(REMOTE, "A-1")) == "PROVIDER_UNAVAILABLE"
    (row,) = fetch_all("SELECT provider_status FROM payment_orders")
    assert row["provider_status"] == "UNKNOWN"
    patient = shop.call()
    assert shop.ask_create(REMOTE, "A-1", call=patient).result.view.order.checkout_url
    assert patient.seconds_left() > 8


def test_a_query_of_an_ended_order_answers_although_the_provider_does_not(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    shop.providers[LOCAL].script("query", unknown_before())
    assert shop.query(order.id).status == "CANCELLED"


def test_v05_an_order_that_failed_after_a_lost_answer_is_closed_upstream(shop: Shop) -> None:
    shop.providers[REMOTE].script("create", unknown_after(), refuse("NOAUTH"))
    assert refusal_of(lambda: shop.ask_create(REMOTE, "A-1")) == "PROVIDER_TIMEOUT"
    assert refusal_of(lambda: shop.ask_create(REMOTE, "A-1")) == "PROVIDER_ERROR"
    (order,) = fetch_all("SELECT id, status FROM payment_orders")
    assert order["status"] == "FAILED"
    make_due()
    provider_asking.ask_due_orders(5)
    assert not shop.books.pay(order["id"])
    make_due()
    provider_asking.ask_due_orders(5)
    assert shop.order(order["id"]).status == "FAILED"


def test_the_fee_of_many_small_refunds_fits_the_last_one(shop: Shop) -> None:
    bind(shop, LOCAL, fee_rate="0.4000")
    order = shop.paid(LOCAL, "0.06")  # a fee of 2 fen, of which each single fen takes back none
    for _ in range(6):
        shop.ask_refund(order.id, "0.01")
    rows = fetch_all("SELECT fee_fen FROM refunds ORDER BY id")
    assert [row["fee_fen"] for row in rows] == [0, 0, 0, 0, 0, 1]
    assert finance.verify_books().is_balanced


def test_a_notice_that_contradicts_itself_is_refused_and_followed_by_a_question(shop: Shop) -> None:
    order = shop.create(LOCAL)
    assert shop.books.pay(order.id, order.amount_fen)
    notice = payment_notice(shop.books.payment(order.id), needs_query=True, contradicts_itself=True)
    assert shop.notify(order, notice).status == 400
    assert shop.order(order.id).status == "PENDING"
    (kept,) = fetch_all("SELECT outcome FROM provider_notifications")
    assert kept["outcome"] == "status_mismatch"
    assert provider_asking.ask_due_orders(1) == 1
    assert shop.order(order.id).status == "SUCCEEDED"


@pytest.mark.parametrize("state", list(PaymentState))
def test_p17_another_amount_is_an_anomaly_whatever_the_notice_says(
    shop: Shop, state: PaymentState
) -> None:
    order = shop.create(LOCAL)
    report = PaymentReport(order.id, state, state, "gw1", order.amount_fen + 1, "CNY")
    for _ in range(2):
        assert shop.notify(order, payment_notice(report)).status == 400
    assert shop.order(order.id).status == "PENDING"
    assert count("anomalies WHERE kind = 'AMOUNT_MISMATCH'") == 1


def test_p17_a_refund_notice_about_another_amount_is_an_anomaly(shop: Shop) -> None:
    order = shop.paid(REMOTE)
    shop.providers[REMOTE].refund_state = RefundState.PROCESSING
    refund = shop.ask_refund(order.id).result.refund
    report = RefundReport(
        refund.id, order.id, RefundState.SUCCEEDED, "SUCCESS",
        amount_fen=refund.amount_fen, order_amount_fen=1,
    )  # fmt: skip
    assert shop.send(REMOTE, refund_notice(report)).status == 400
    assert refund_status() == "PROCESSING"
    assert count("anomalies WHERE kind = 'AMOUNT_MISMATCH'") == 1


def test_v23_a_callback_sent_by_hand_leaves_one_audit_record(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    call = Call(
        "req-operator",
        Principal.OPERATOR,
        time.monotonic() + 10,
        operator=OperatorIdentity("op_1", "ops@example.com", "OPS_ADMIN"),
    )
    execute("UPDATE merchants SET callback_base = 'http://127.0.0.1:9/', version = version + 1")
    callback_attempts.configure(())  # no address that is not public: the attempt ends at once
    assert not callbacks.retry_now(call, order.id).delivered
    (record,) = fetch_all("SELECT actor, action, target FROM audit_records")
    assert record == {
        "actor": "ops@example.com",
        "action": "payment_order.retry_callback",
        "target": order.id,
    }
    open_order = shop.create(LOCAL)
    assert callbacks.retry_now(call, open_order.id).skipped
    assert count("audit_records") == 1


def test_the_books_notice_what_does_not_fit(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    assert finance.verify_books().is_balanced
    execute(
        "INSERT INTO received_payments SELECT merchant_id, order_id, 'gw-second', amount_fen, paid_at, "
        "true, first_seen_by, created_at FROM received_payments"
    )
    execute(
        "INSERT INTO deliveries (merchant_id, id, order_id, subject_id, event, resulting_status, body, "
        "status, due_at, created_at, updated_at) SELECT merchant_id, 'dlv_x', order_id, order_id, event, "
        "'FAILED', body, 'PENDING', now(), now(), now() FROM deliveries"
    )
    broken = {check.name for check in finance.verify_books().checks if check.violations}
    execute("DELETE FROM deliveries WHERE id = 'dlv_x'")
    assert broken == {"second_payments_are_booked", "deliveries_tell_what_happened"}
    now = datetime.now(UTC)
    execute(
        "INSERT INTO journals VALUES (%s, 'jn_x', 'DUPLICATE', %s, %s, NULL, %s)",
        (shop.merchant_id, f"duplicate:{order.id}:gw-second", order.id, now),
    )
    execute(
        "INSERT INTO journal_lines SELECT %s, 'jn_x', n, a, v FROM (VALUES (1, 'provider_balance', %s), "
        "(2, 'unclaimed', %s)) AS l (n, a, v)",
        (shop.merchant_id, order.amount_fen, -order.amount_fen),
    )
    assert finance.verify_books().is_balanced
