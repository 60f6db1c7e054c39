"""Orders, their events, the payments received for them, and what a person should look at.

Hot statements are constant SQL. Rows are changed only by guarded updates; events and received payments are
only inserted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from core_service.domain.ids import new_id
from core_service.storage.database import Prepared, Row, execute, fetch_all, fetch_one, write
from core_service.storage.merchant_snapshots import (
    SPENDING,
    SPENT,
    Nonce,
    NonceOutcome,
    nonce_outcome,
    nonce_parameters,
)


@dataclass(frozen=True)
class PaymentOrderRow:
    """A row of payment_orders."""

    merchant_id: str
    id: str
    external_order_id: str
    channel_code: str
    account_id: str
    amount_fen: int
    currency: str
    fee_rate: Decimal
    fee_fen: int
    subject: str
    description: str | None
    return_url: str | None
    callback_url: str | None
    metadata: str | None
    status: str
    provider_status: str | None
    gateway_order_id: str | None
    payment_mode: str | None
    checkout_url: str | None
    failure_code: str | None
    failure_message: str | None
    paid_amount_fen: int
    refund_reserved_fen: int
    refunded_fen: int
    late: bool
    expire_at: datetime
    paid_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    ask_at: datetime | None
    ask_count: int
    ask_token: int
    ask_leased_until: datetime | None
    asked_at: datetime | None
    ask_answer: str | None
    """What the provider said when it was last asked, as `Asked` has it."""
    ask_failure: str | None


@dataclass(frozen=True)
class OrderView:
    """An order with the status of its newest delivery (None: none was queued)."""

    order: PaymentOrderRow
    delivery_status: str | None


@dataclass(frozen=True)
class Event:
    """Something that happened to an order or to one of its refunds."""

    actor: str
    cause: str
    request_id: str | None
    detail: str | None = None


_INSERT = Prepared("""
WITH made AS (
    INSERT INTO payment_orders (
        merchant_id, id, external_order_id, channel_code, account_id, amount_fen, currency, fee_rate, fee_fen, subject,
        description, return_url, callback_url, metadata, status, payment_mode, checkout_url, expire_at,
        created_at, updated_at, ask_at)
    VALUES (
        %(merchant_id)s, %(id)s, %(external_order_id)s, %(channel_code)s, %(account_id)s, %(amount_fen)s, %(currency)s,
        %(fee_rate)s, %(fee_fen)s, %(subject)s, %(description)s, %(return_url)s, %(callback_url)s, %(metadata)s,
        'PENDING', %(payment_mode)s, %(checkout_url)s, %(expire_at)s, %(created_at)s, %(created_at)s,
        %(ask_at)s)
    ON CONFLICT (merchant_id, external_order_id) DO NOTHING
    RETURNING *
), told AS (
    INSERT INTO payment_events (merchant_id, order_id, id, at, actor, cause, after_status, request_id)
    SELECT merchant_id, id, %(event_id)s, created_at, %(actor)s, 'create', status, %(request_id)s FROM made
)
SELECT * FROM made
""")


def insert(values: dict[str, Any], event: Event) -> PaymentOrderRow | None:
    """A new order with its first event; None when the merchant has this external order id already."""
    return _order(fetch_one(_INSERT, {**values, **first_event(event)}))


def first_event(event: Event) -> dict[str, Any]:
    """The parameters that the event of a new order needs."""
    return {"event_id": new_id("ev"), "actor": event.actor, "request_id": event.request_id}


def new_row(values: dict[str, Any]) -> PaymentOrderRow:
    """The row that `insert` makes of these values, said without asking the database."""
    return PaymentOrderRow(**{**_NEW, "updated_at": values["created_at"], **values})


_NEW: dict[str, Any] = {
    **dict.fromkeys(field.name for field in fields(PaymentOrderRow)),
    **dict.fromkeys(
        ("paid_amount_fen", "refund_reserved_fen", "refunded_fen", "ask_count", "ask_token"), 0
    ),
    "status": "PENDING",
    "late": False,
}
"""Everything that a new order has not been told yet is NULL, but for these."""


_VIEW = """
SELECT o.*, (
    SELECT d.status FROM deliveries d
    WHERE d.merchant_id = o.merchant_id AND d.subject_id = o.id
    ORDER BY d.created_at DESC, d.id DESC LIMIT 1
) AS delivery_status
FROM payment_orders o
"""


_FOR_MERCHANT = Prepared(
    _VIEW
    + """WHERE o.merchant_id = %(merchant_id)s AND (o.id = %(reference)s OR o.external_order_id = %(reference)s)
    ORDER BY o.id = %(reference)s DESC LIMIT 1"""
)


def find_for_merchant(merchant_id: str, reference: str) -> OrderView | None:
    """By NovaPay's id or the merchant's own, inside one merchant."""
    return _view(fetch_one(_FOR_MERCHANT, {"merchant_id": merchant_id, "reference": reference}))


_SPENDING_FOR_MERCHANT = Prepared(
    SPENDING
    + SPENT
    + f""", v.* FROM (SELECT 1) AS one LEFT JOIN LATERAL ({_VIEW}
    WHERE o.merchant_id = %(merchant_id)s AND (o.id = %(reference)s OR o.external_order_id = %(reference)s)
    ORDER BY o.id = %(reference)s DESC LIMIT 1) AS v ON true"""
)


def find_spending(nonce: Nonce, reference: str) -> tuple[NonceOutcome, OrderView | None]:
    """Spends a merchant's nonce and finds its order, in one statement."""
    row = fetch_one(_SPENDING_FOR_MERCHANT, {**nonce_parameters(nonce), "reference": reference})
    outcome = nonce_outcome(row)
    if row is None or row["id"] is None:
        return outcome, None
    return outcome, _view({name: value for name, value in row.items() if name not in _SAYS})


_SAYS = ("current", "spent")


_VIEW_BY_EXTERNAL_ID = Prepared(_VIEW + "WHERE o.merchant_id = %s AND o.external_order_id = %s")


def find_by_external_id(merchant_id: str, external_order_id: str) -> OrderView | None:
    """By the merchant's own id."""
    return _view(fetch_one(_VIEW_BY_EXTERNAL_ID, (merchant_id, external_order_id)))


_VIEW_BY_ID = Prepared(_VIEW + "WHERE o.merchant_id = %s AND o.id = %s")


def find_view(merchant_id: str, order_id: str) -> OrderView | None:
    """By NovaPay's id, inside one merchant."""
    return _view(fetch_one(_VIEW_BY_ID, (merchant_id, order_id)))


_FIND = Prepared("SELECT * FROM payment_orders WHERE merchant_id = %s AND id = %s")


def find(merchant_id: str, order_id: str) -> PaymentOrderRow | None:
    """The bare order by NovaPay's id, inside one merchant."""
    return _order(fetch_one(_FIND, (merchant_id, order_id)))


def find_by_id(order_id: str) -> PaymentOrderRow | None:
    """Unscoped: for operators and for the hosted cashier, whose order id is its own secret."""
    return _order(fetch_one("SELECT * FROM payment_orders WHERE id = %s", (order_id,)))


_LOCK = Prepared("SELECT * FROM payment_orders WHERE merchant_id = %s AND id = %s FOR UPDATE")


def lock(merchant_id: str, order_id: str) -> PaymentOrderRow | None:
    """The order, held until the transaction ends; always before its refunds."""
    return _order(fetch_one(_LOCK, (merchant_id, order_id)))


_LOCK_AT_VERSION = Prepared("""
SELECT o.* FROM merchants m
LEFT JOIN LATERAL (SELECT * FROM payment_orders WHERE merchant_id = m.id AND id = %s FOR UPDATE) o ON true
WHERE m.id = %s AND m.version = %s
""")


def lock_at_version(
    merchant_id: str, merchant_version: int, order_id: str
) -> tuple[bool, PaymentOrderRow | None]:
    """The same, and before it whether the merchant is still at this version; if not, nothing is looked for."""
    row = fetch_one(_LOCK_AT_VERSION, (order_id, merchant_id, merchant_version))
    if row is None:
        return False, None
    return True, None if row["id"] is None else _order(row)


_SET_CHECKOUT = Prepared(
    "UPDATE payment_orders SET payment_mode = %s, checkout_url = %s, "
    "updated_at = greatest(updated_at, %s) "
    "WHERE merchant_id = %s AND id = %s"
)


def set_checkout(
    order: PaymentOrderRow,
    *,
    payment_mode: str,
    checkout_url: str,
    now: datetime,
) -> None:
    """What the payer needs; leaves the status alone, which a notification may have moved meanwhile."""
    write(
        _SET_CHECKOUT,
        (payment_mode, checkout_url, now, order.merchant_id, order.id),
    )


@dataclass(frozen=True)
class Transition:
    """A decided change of status with what the provider said."""

    status: str
    provider_status: str | None
    now: datetime
    ask_at: datetime | None
    gateway_order_id: str | None = None
    paid_at: datetime | None = None
    late: bool = False
    failure_code: str | None = None
    failure_message: str | None = None


# Whoever decided on an order that it has not locked takes its whole transaction back: division by zero.
_TRANSITION = Prepared("""
WITH moved AS (
    UPDATE payment_orders SET
        status = %(status)s, provider_status = %(provider_status)s, gateway_order_id = %(gateway_order_id)s,
        paid_amount_fen = %(paid_amount_fen)s, paid_at = %(paid_at)s, completed_at = %(completed_at)s,
        updated_at = %(updated_at)s, late = %(late)s, failure_code = %(failure_code)s,
        failure_message = %(failure_message)s, ask_at = %(ask_at)s, ask_count = %(ask_count)s
    WHERE merchant_id = %(merchant_id)s AND id = %(id)s AND status = %(before)s
    RETURNING 1
)
SELECT 1 / count(*) FROM moved
""")


def transition(order: PaymentOrderRow, change: Transition) -> PaymentOrderRow:
    """Moves the status of an order that this transaction has locked; the row as it is then.

    The status is asked for once more when the statement runs. Should it be another one, the transaction fails.
    """
    changed = replace(
        order,
        status=change.status,
        provider_status=change.provider_status or order.provider_status,
        gateway_order_id=change.gateway_order_id or order.gateway_order_id,
        paid_amount_fen=order.amount_fen if change.status == "SUCCEEDED" else 0,
        paid_at=change.paid_at or order.paid_at,
        completed_at=change.now,
        updated_at=change.now,
        late=order.late or change.late,
        failure_code=change.failure_code,
        failure_message=change.failure_message,
        ask_at=change.ask_at,
        ask_count=0,
    )
    write(_TRANSITION, {**vars(changed), "before": order.status})
    return changed


def note_provider_status(order: PaymentOrderRow, provider_status: str, *, now: datetime) -> None:
    """The provider's own word changed, the order's status did not."""
    write(
        "UPDATE payment_orders SET provider_status = %s, updated_at = greatest(updated_at, %s) "
        "WHERE merchant_id = %s AND id = %s AND status = %s",
        (provider_status, now, order.merchant_id, order.id, order.status),
    )


_ADD_EVENT = Prepared(
    "INSERT INTO payment_events (merchant_id, order_id, id, refund_id, at, actor, cause, "
    "before_status, after_status, detail, request_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


def add_event(
    order: PaymentOrderRow,
    event: Event,
    *,
    before: str | None,
    after: str,
    now: datetime,
    refund_id: str | None = None,
) -> None:
    """One line of the history."""
    write(
        _ADD_EVENT,
        (order.merchant_id, order.id, new_id("ev"), refund_id, now, event.actor, event.cause, before, after,
         event.detail, event.request_id),
    )  # fmt: skip


_ADD_RECEIVED_PAYMENT = Prepared(
    "INSERT INTO received_payments (merchant_id, order_id, gateway_order_id, amount_fen, duplicate, paid_at, "
    "first_seen_by, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (merchant_id, order_id, gateway_order_id) DO NOTHING"
)


def add_received_payment(
    order: PaymentOrderRow, gateway_order_id: str, *, paid_at: datetime, first_seen_by: str, now: datetime
) -> None:  # fmt: skip
    """Keeps the payment that the provider proved, once."""
    write(
        _ADD_RECEIVED_PAYMENT,
        (order.merchant_id, order.id, gateway_order_id, order.amount_fen, False, paid_at, first_seen_by, now),
    )  # fmt: skip


def add_second_payment(
    order: PaymentOrderRow, gateway_order_id: str, *, paid_at: datetime, first_seen_by: str, now: datetime
) -> bool:  # fmt: skip
    """Keeps another payment of an order that is paid already; False when this one is kept already."""
    added = execute(
        _ADD_RECEIVED_PAYMENT,
        (order.merchant_id, order.id, gateway_order_id, order.amount_fen, True, paid_at, first_seen_by, now),
    )  # fmt: skip
    return added == 1


def add_anomaly(
    order: PaymentOrderRow, kind: str, fingerprint: str, *, now: datetime, detail: str | None = None,
    refund_id: str | None = None,
) -> None:  # fmt: skip
    """Something for a person; the same finding is kept once."""
    write(
        "INSERT INTO anomalies (merchant_id, id, kind, order_id, refund_id, fingerprint, detail, created_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (merchant_id, kind, fingerprint) DO NOTHING",
        (order.merchant_id, new_id("an"), kind, order.id, refund_id, fingerprint, detail, now),
    )


# Refunds reserve against the order's money.


def reserve(order: PaymentOrderRow, amount_fen: int, *, now: datetime) -> PaymentOrderRow | None:
    """Holds an amount for a refund; None when the order is not paid or has too little left."""
    return _order(
        fetch_one(
            "UPDATE payment_orders SET refund_reserved_fen = refund_reserved_fen + %(a)s, "
            "updated_at = greatest(updated_at, %(now)s) "
            "WHERE merchant_id = %(m)s AND id = %(o)s AND status = 'SUCCEEDED' "
            "AND refund_reserved_fen + %(a)s <= paid_amount_fen RETURNING *",
            {"a": amount_fen, "m": order.merchant_id, "o": order.id, "now": now},
        )
    )


def release(order: PaymentOrderRow, amount_fen: int, *, now: datetime) -> PaymentOrderRow | None:
    """Gives a reservation back after a definite no."""
    return _order(
        fetch_one(
            "UPDATE payment_orders SET refund_reserved_fen = refund_reserved_fen - %s, "
            "updated_at = greatest(updated_at, %s) "
            "WHERE merchant_id = %s AND id = %s RETURNING *",
            (amount_fen, now, order.merchant_id, order.id),
        )
    )


def add_refunded(
    order: PaymentOrderRow, amount_fen: int, *, now: datetime
) -> PaymentOrderRow | None:
    """A reserved amount has gone back to the payer."""
    return _order(
        fetch_one(
            "UPDATE payment_orders SET refunded_fen = refunded_fen + %s, updated_at = greatest(updated_at, %s) "
            "WHERE merchant_id = %s AND id = %s RETURNING *",
            (amount_fen, now, order.merchant_id, order.id),
        )
    )


# Asking: a claim moves the appointment to the end of its lease. Somebody who wants an answer sooner brings the
# appointment forward, never the lease: an order has one owner at a time.

_CLAIM_DUE = """
UPDATE payment_orders SET ask_at = now() + make_interval(secs => %(lease)s),
    ask_leased_until = now() + make_interval(secs => %(lease)s), ask_token = ask_token + 1, ask_count = ask_count + 1
WHERE (merchant_id, id) IN (
    SELECT merchant_id, id FROM payment_orders
    WHERE ask_at <= now() AND (ask_leased_until IS NULL OR ask_leased_until <= now())
        AND channel_code = coalesce(%(channel)s, channel_code) AND account_id <> ALL(%(resting)s)
    ORDER BY ask_at FOR UPDATE SKIP LOCKED LIMIT %(limit)s)
RETURNING *
"""


def claim_due(
    limit: int, *, lease_seconds: float, channel: str | None = None, resting: Sequence[str] = ()
) -> list[PaymentOrderRow]:
    """Orders whose provider should be asked now; nobody else gets them until the lease is over.

    Those of the accounts that are `resting` stay due, and the others do not wait behind them.
    """
    parameters = {
        "limit": limit, "lease": lease_seconds, "channel": channel, "resting": list(resting)
    }  # fmt: skip
    return [PaymentOrderRow(**row) for row in fetch_all(_CLAIM_DUE, parameters)]


@dataclass(frozen=True)
class Asked:
    """One question to a provider: what it said, or why there was no answer."""

    at: datetime
    answer: str | None
    failure: str | None = None


def set_next_ask(
    order: PaymentOrderRow, ask_at: datetime | None, asked: Asked, *, counts: bool = True
) -> None:
    """Ends the lease. The next appointment, or an earlier one that somebody made since the claim.

    A question that does not count is as good as not asked. Nothing happens when the lease is somebody else's by now, or
    the order has moved on.
    """
    write(
        "UPDATE payment_orders SET ask_at = least(%s, nullif(ask_at, ask_leased_until)), ask_leased_until = NULL, "
        "ask_count = ask_count - %s, asked_at = %s, ask_answer = %s, ask_failure = %s "
        "WHERE merchant_id = %s AND id = %s AND ask_token = %s AND status = %s",
        (ask_at, int(not counts), asked.at, asked.answer, asked.failure,
         order.merchant_id, order.id, order.ask_token, order.status),
    )  # fmt: skip


def note_ask(order: PaymentOrderRow, asked: Asked) -> None:
    """Keeps what came of a question that was not a worker's; the newest one stays."""
    write(
        "UPDATE payment_orders SET asked_at = %(at)s, ask_answer = %(answer)s, ask_failure = %(failure)s "
        "WHERE merchant_id = %(merchant_id)s AND id = %(id)s AND (asked_at IS NULL OR asked_at <= %(at)s)",
        {**asked.__dict__, "merchant_id": order.merchant_id, "id": order.id},
    )


def ask_once_more(merchant_id: str, order_id: str) -> None:
    """The provider is asked about an order that may have ended already; the answer ends it."""
    write(
        "UPDATE payment_orders SET ask_at = now() WHERE merchant_id = %s AND id = %s AND ask_at IS NULL",
        (merchant_id, order_id),
    )


def ask_soon(merchant_id: str, order_id: str, *, seconds: float) -> None:
    """Brings an open order's appointment forward; never nearer than `seconds`, whoever asks and however often."""
    write(
        "UPDATE payment_orders SET ask_at = now() + make_interval(secs => %s) WHERE merchant_id = %s AND id = %s "
        "AND ask_at > now() + make_interval(secs => %s)",
        (seconds, merchant_id, order_id, seconds),
    )


def ask_now(merchant_id: str, order_id: str) -> None:
    """Makes an appointment for an order that is not paid, also for one that has ended."""
    write(
        "UPDATE payment_orders SET ask_at = now() WHERE merchant_id = %s AND id = %s AND status <> 'SUCCEEDED' "
        "AND (ask_at IS NULL OR ask_at > now())",
        (merchant_id, order_id),
    )


def _order(row: Row | None) -> PaymentOrderRow | None:
    return PaymentOrderRow(**row) if row else None


def _view(row: Row | None) -> OrderView | None:
    if row is None:
        return None
    delivery_status = row.pop("delivery_status")
    return OrderView(PaymentOrderRow(**row), delivery_status)
