"""Guards inside single statements, each tried alone: elsewhere another guard would hide that one is missing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import peewee
import pytest

from core_service.domain.ledger import Line
from core_service.storage import finance, payment_orders
from core_service.storage import idempotency as keys
from core_service.storage.database import execute, fetch_all, fetch_one, transact
from core_service.storage.idempotency import Scope
from core_service.storage.merchant_snapshots import Nonce, NonceOutcome, nonce_exists, spend_nonce
from core_service.storage.payment_orders import Event
from tests.factories import make_merchant, make_order

pytestmark = pytest.mark.usefixtures("connection")


def test_v15_a_stale_token_cannot_finish_while_the_new_holder_runs() -> None:
    scope = Scope("mch_1", "payment_order.create", "k")
    assert keys.claim(scope, b"f", lease_seconds=30, now=datetime.now(UTC))
    execute("UPDATE idempotency_keys SET lease_until = now() - interval '1 second'")
    assert keys.take_over(scope, lease_seconds=30) == 2
    assert not keys.finish(scope, 1, outcome="OK", response=b"stale", resource_id=None)
    assert keys.finish(scope, 2, outcome="OK", response=b"new", resource_id=None)
    stored = keys.find(scope)
    assert stored is not None
    assert stored.response == b"new"


def test_v01_a_transition_decided_on_a_stale_status_changes_nothing() -> None:
    order_id = make_order()
    stale = payment_orders.find_by_id(order_id)
    assert stale is not None
    execute("UPDATE payment_orders SET status = 'PROCESSING' WHERE id = %s", (order_id,))
    now = datetime.now(UTC)
    cancelled = payment_orders.Transition("CANCELLED", None, now, None)

    closing = Event("system", "close", None)

    def cancel() -> None:
        changed = payment_orders.transition(stale, cancelled)
        payment_orders.add_event(
            changed, closing, before=stale.status, after=changed.status, now=now
        )

    with pytest.raises(peewee.DataError, match="division by zero"):
        transact(cancel)
    assert payment_orders.find_by_id(order_id) == replace(stale, status="PROCESSING")
    assert fetch_all("SELECT 1 FROM payment_events WHERE cause = 'close'") == []


def test_a_transition_answers_with_the_row_that_it_makes() -> None:
    now = datetime.now(UTC)
    for change in (
        payment_orders.Transition("PROCESSING", "WAIT_BUYER_PAY", now, now + timedelta(minutes=1)),
        payment_orders.Transition("SUCCEEDED", "TRADE_SUCCESS", now, None, "2026112822001", now, late=True),
        payment_orders.Transition("FAILED", None, now, now, failure_code="ACQ.X", failure_message="no"),
    ):  # fmt: skip
        order_id = make_order()
        order = payment_orders.find_by_id(order_id)
        assert order is not None
        changed = transact(partial(payment_orders.transition, order, change))
        assert changed == payment_orders.find_by_id(order_id)
        assert changed.status == change.status


def test_a_nonce_is_not_spent_by_a_stale_snapshot() -> None:
    """The same call reads the merchant again and must still have its nonce."""
    merchant_id = make_merchant().id
    row = fetch_one("SELECT version FROM merchants WHERE id = %s", (merchant_id,))
    assert row is not None
    later = datetime.now(UTC) + timedelta(minutes=5)
    nonce = Nonce(merchant_id, "nonce-0001", later, row["version"])
    stale = spend_nonce(replace(nonce, merchant_version=row["version"] + 1))
    assert stale is NonceOutcome.STALE
    assert not nonce_exists(merchant_id, "nonce-0001")
    spent = spend_nonce(nonce)
    assert spent is NonceOutcome.SPENT
    again = spend_nonce(nonce)
    assert again is NonceOutcome.REPLAYED


def test_a_journal_whose_lines_do_not_sum_to_zero_is_refused() -> None:
    order_id = make_order()
    order = payment_orders.find_by_id(order_id)
    assert order is not None

    def post(*lines: Line) -> None:
        finance.post(
            order.merchant_id, kind="CAPTURE", source="guard", order_id=order_id, refund_id=None,
            lines=lines, now=datetime.now(UTC),
        )  # fmt: skip

    with pytest.raises(peewee.IntegrityError, match="does not sum to zero"):
        transact(lambda: post(Line("provider_balance", 100), Line("sales", -99)))
    assert fetch_all("SELECT 1 FROM journals") == []
    transact(lambda: post(Line("provider_balance", 100), Line("sales", -100)))
    with pytest.raises(peewee.IntegrityError, match="does not sum to zero"):
        execute("INSERT INTO journal_lines SELECT merchant_id, id, 3, 'sales', 1 FROM journals")
