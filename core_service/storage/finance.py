"""Journals, and the invariants that can be read from the rows."""

from datetime import datetime

from core_service.domain.ids import new_id
from core_service.domain.ledger import Line
from core_service.storage.database import execute, fetch_one


def post(
    merchant_id: str,
    *,
    kind: str,
    source: str,
    order_id: str,
    refund_id: str | None,
    lines: tuple[Line, ...],
    now: datetime,
) -> None:
    """Books one thing, once: a second posting of the same source violates a unique key."""
    journal_id = new_id("jn")
    execute(
        "INSERT INTO journals (merchant_id, id, kind, source, order_id, refund_id, created_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (merchant_id, journal_id, kind, source, order_id, refund_id, now),
    )
    execute(
        "INSERT INTO journal_lines (merchant_id, journal_id, line, account, amount_fen) "
        "SELECT %s, %s, * FROM unnest(%s::integer[], %s::text[], %s::bigint[])",
        (
            merchant_id,
            journal_id,
            list(range(1, len(lines) + 1)),
            [line.account for line in lines],
            [line.amount_fen for line in lines],
        ),
    )


CHECKS: dict[str, str] = {
    "journals_sum_to_zero": (
        "SELECT count(*) AS n FROM (SELECT 1 FROM journal_lines GROUP BY merchant_id, journal_id "
        "HAVING sum(amount_fen) <> 0) broken"
    ),
    "every_journal_has_lines": (
        "SELECT count(*) AS n FROM journals j WHERE NOT EXISTS (SELECT 1 FROM journal_lines l "
        "WHERE (l.merchant_id, l.journal_id) = (j.merchant_id, j.id))"
    ),
    "paid_orders_are_booked_once": (
        "SELECT count(*) AS n FROM payment_orders o FULL JOIN (SELECT * FROM journals WHERE kind = 'CAPTURE') j "
        "ON (j.merchant_id, j.order_id) = (o.merchant_id, o.id) "
        "WHERE (coalesce(o.status, '') = 'SUCCEEDED') <> (j.id IS NOT NULL)"
    ),
    "refunds_are_booked_once": (
        "SELECT count(*) AS n FROM refunds r FULL JOIN (SELECT * FROM journals WHERE kind = 'REFUND') j "
        "ON (j.merchant_id, j.refund_id) = (r.merchant_id, r.id) "
        "WHERE (coalesce(r.status, '') = 'SUCCEEDED') <> (j.id IS NOT NULL)"
    ),
    "journals_have_the_amounts": (
        "SELECT count(*) AS n FROM journals j "
        "JOIN journal_lines l ON (l.merchant_id, l.journal_id) = (j.merchant_id, j.id) "
        "LEFT JOIN payment_orders o ON (o.merchant_id, o.id) = (j.merchant_id, j.order_id) "
        "LEFT JOIN refunds r ON (r.merchant_id, r.id) = (j.merchant_id, j.refund_id) "
        "WHERE l.account = 'provider_balance' AND l.amount_fen <> "
        "CASE j.kind WHEN 'REFUND' THEN -r.amount_fen ELSE o.amount_fen END"
    ),
    "reservations_equal_refunds": (
        "SELECT count(*) AS n FROM payment_orders o "
        "WHERE refund_reserved_fen <> (SELECT coalesce(sum(r.amount_fen), 0) "
        "FROM refunds r WHERE (r.merchant_id, r.order_id) = (o.merchant_id, o.id) AND r.status <> 'FAILED')"
    ),
    "refunded_equals_refunds": (
        "SELECT count(*) AS n FROM payment_orders o WHERE refunded_fen <> (SELECT coalesce(sum(r.amount_fen), 0) "
        "FROM refunds r WHERE (r.merchant_id, r.order_id) = (o.merchant_id, o.id) AND r.status = 'SUCCEEDED')"
    ),
    "paid_orders_have_their_payment": (
        "SELECT count(*) AS n FROM payment_orders o WHERE (status = 'SUCCEEDED') <> EXISTS (SELECT 1 "
        "FROM received_payments p WHERE (p.merchant_id, p.order_id) = (o.merchant_id, o.id) AND NOT p.duplicate)"
    ),
    # Entered once more than left: times do not order events, for a slow request brings the time it began at.
    "history_ends_where_the_order_is": (
        "SELECT count(*) AS n FROM payment_orders o WHERE 1 <> (SELECT count(*) FILTER (WHERE after_status = o.status) "
        "- count(*) FILTER (WHERE before_status = o.status) FROM payment_events e "
        "WHERE (e.merchant_id, e.order_id) = (o.merchant_id, o.id) AND e.refund_id IS NULL "
        "AND e.before_status IS DISTINCT FROM e.after_status)"
    ),
    "refunds_end_where_their_history_ends": (
        "SELECT count(*) AS n FROM refunds r WHERE 1 <> (SELECT count(*) FILTER (WHERE after_status = r.status) "
        "- count(*) FILTER (WHERE before_status = r.status) FROM payment_events e "
        "WHERE (e.merchant_id, e.order_id, e.refund_id) = (r.merchant_id, r.order_id, r.id) "
        "AND e.before_status IS DISTINCT FROM e.after_status)"
    ),
    "second_payments_are_booked": (
        "SELECT count(*) AS n FROM (SELECT merchant_id, order_id, count(*) AS seen FROM received_payments "
        "WHERE duplicate GROUP BY merchant_id, order_id) p FULL JOIN (SELECT merchant_id, order_id, "
        "count(*) AS booked FROM journals WHERE kind = 'DUPLICATE' GROUP BY merchant_id, order_id) j "
        "USING (merchant_id, order_id) WHERE seen IS DISTINCT FROM booked"
    ),
    "deliveries_tell_what_happened": (
        "SELECT count(*) AS n FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM payment_events e "
        "WHERE (e.merchant_id, e.order_id) = (d.merchant_id, d.order_id) "
        "AND coalesce(e.refund_id, e.order_id) = d.subject_id AND e.after_status = d.resulting_status)"
    ),
    "deliveries_end_as_their_attempts_say": (
        "SELECT count(*) AS n FROM deliveries d "
        "WHERE (status = 'DELIVERED') <> EXISTS (SELECT 1 FROM delivery_attempts a "
        "WHERE (a.merchant_id, a.delivery_id) = (d.merchant_id, d.id) AND a.outcome = 'delivered')"
    ),
}
"""Name → statement that counts the rows which break it."""


def read_one_instant() -> None:
    """Makes all reads of this transaction see the same instant: a payment between two checks is no violation."""
    execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def count_violations(name: str) -> int:
    """Rows that break one check."""
    row = fetch_one(CHECKS[name])
    assert row is not None
    return int(row["n"])


def total_fen(kind: str) -> int:
    """What all journals of a kind moved at the provider, as a positive sum."""
    row = fetch_one(
        "SELECT coalesce(abs(sum(l.amount_fen)), 0)::bigint AS total FROM journals j JOIN journal_lines l "
        "ON (l.merchant_id, l.journal_id) = (j.merchant_id, j.id) WHERE j.kind = %s AND l.account = 'provider_balance'",
        (kind,),
    )
    assert row is not None
    return int(row["total"])
