"""Journals, and the invariants that can be read from the rows."""

from datetime import datetime

from core_service.domain.ids import new_id
from core_service.domain.ledger import Line
from core_service.storage.database import Prepared, execute, fetch_all, fetch_one, write

_POST = Prepared("""
WITH journal AS (
    INSERT INTO journals (merchant_id, id, kind, source, order_id, refund_id, created_at)
    VALUES (%(merchant_id)s, %(id)s, %(kind)s, %(source)s, %(order_id)s, %(refund_id)s, %(now)s)
)
INSERT INTO journal_lines (merchant_id, journal_id, line, account, amount_fen)
SELECT %(merchant_id)s, %(id)s, * FROM unnest(%(lines)s::integer[], %(accounts)s::text[], %(amounts)s::bigint[])
""")


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
    write(
        _POST,
        {
            "merchant_id": merchant_id,
            "id": new_id("jn"),
            "kind": kind,
            "source": source,
            "order_id": order_id,
            "refund_id": refund_id,
            "now": now,
            "lines": list(range(1, len(lines) + 1)),
            "accounts": [line.account for line in lines],
            "amounts": [line.amount_fen for line in lines],
        },
    )


Slice = tuple[tuple[str, str], int]
"""The rows after a key (merchant, id), so many of them."""

_JOURNAL = "SELECT 1 FROM journals j WHERE j.merchant_id = x.merchant_id AND"
_REFUNDS = (
    "SELECT coalesce(sum(r.amount_fen), 0) FROM refunds r "
    "WHERE r.merchant_id = x.merchant_id AND r.order_id = x.id AND"
)
# Entered once more than left: times do not order events, for a slow request brings the time it began at.
_HISTORY = (
    "1 <> (SELECT count(*) FILTER (WHERE after_status = x.status) - count(*) FILTER (WHERE before_status = x.status) "
    "FROM payment_events e WHERE e.merchant_id = x.merchant_id AND e.before_status IS DISTINCT FROM e.after_status AND"
)

CHECKS: dict[str, dict[str, str]] = {
    "journals_sum_to_zero": {
        "journals": "0 <> (SELECT coalesce(sum(l.amount_fen), 0) FROM journal_lines l "
        "WHERE l.merchant_id = x.merchant_id AND l.journal_id = x.id)",
    },
    "every_journal_has_lines": {
        "journals": "NOT EXISTS (SELECT 1 FROM journal_lines l "
        "WHERE l.merchant_id = x.merchant_id AND l.journal_id = x.id)",
    },
    "paid_orders_are_booked_once": {
        "payment_orders": "(x.status = 'SUCCEEDED') <> EXISTS "
        f"({_JOURNAL} j.source = 'capture:' || x.id AND j.kind = 'CAPTURE' AND j.order_id = x.id)",
        "journals": "x.kind = 'CAPTURE' AND NOT EXISTS (SELECT 1 FROM payment_orders o "
        "WHERE o.merchant_id = x.merchant_id AND o.id = x.order_id AND o.status = 'SUCCEEDED' "
        "AND x.source = 'capture:' || o.id)",
    },
    "refunds_are_booked_once": {
        "refunds": "(x.status = 'SUCCEEDED') <> EXISTS "
        f"({_JOURNAL} j.source = 'refund:' || x.id AND j.kind = 'REFUND' AND j.refund_id = x.id)",
        "journals": "x.kind = 'REFUND' AND NOT EXISTS (SELECT 1 FROM refunds r "
        "WHERE r.merchant_id = x.merchant_id AND r.id = x.refund_id AND r.status = 'SUCCEEDED' "
        "AND x.source = 'refund:' || r.id)",
    },
    "journals_have_the_amounts": {
        "journals": "(SELECT ROW(coalesce(sum(l.amount_fen) FILTER (WHERE l.account = 'provider_balance'), 0), "
        "coalesce(sum(l.amount_fen) FILTER (WHERE l.account = 'fees_owed'), 0)) FROM journal_lines l "
        "WHERE l.merchant_id = x.merchant_id AND l.journal_id = x.id) IS DISTINCT FROM CASE x.kind "
        "WHEN 'REFUND' THEN (SELECT ROW(-r.amount_fen::numeric, -r.fee_fen::numeric) FROM refunds r "
        "WHERE r.merchant_id = x.merchant_id AND r.id = x.refund_id) "
        "ELSE (SELECT ROW(o.amount_fen::numeric, CASE x.kind WHEN 'CAPTURE' THEN o.fee_fen ELSE 0 END::numeric) "
        "FROM payment_orders o WHERE o.merchant_id = x.merchant_id AND o.id = x.order_id) END",
    },
    "reservations_equal_refunds": {
        "payment_orders": f"x.refund_reserved_fen <> ({_REFUNDS} r.status <> 'FAILED')",
    },
    "refunded_equals_refunds": {
        "payment_orders": f"x.refunded_fen <> ({_REFUNDS} r.status = 'SUCCEEDED')",
    },
    "paid_orders_have_their_payment": {
        "payment_orders": "(x.status = 'SUCCEEDED') <> EXISTS (SELECT 1 FROM received_payments p "
        "WHERE p.merchant_id = x.merchant_id AND p.order_id = x.id AND NOT p.duplicate)",
    },
    "history_ends_where_the_order_is": {
        "payment_orders": f"{_HISTORY} e.order_id = x.id AND e.refund_id IS NULL)",
    },
    "refunds_end_where_their_history_ends": {
        "refunds": f"{_HISTORY} e.order_id = x.order_id AND e.refund_id = x.id)",
    },
    "second_payments_are_booked": {
        "payment_orders": "EXISTS (SELECT 1 FROM received_payments p "  # noqa: S608 (constants)
        f"WHERE p.merchant_id = x.merchant_id AND p.order_id = x.id AND p.duplicate AND NOT EXISTS ({_JOURNAL} "
        "j.source = 'duplicate:' || p.order_id || ':' || p.gateway_order_id))",
        "journals": "x.kind = 'DUPLICATE' AND NOT EXISTS (SELECT 1 FROM received_payments p "
        "WHERE p.merchant_id = x.merchant_id AND p.order_id = x.order_id AND p.duplicate "
        "AND x.source = 'duplicate:' || p.order_id || ':' || p.gateway_order_id)",
    },
    "deliveries_tell_what_happened": {
        "deliveries": "NOT EXISTS (SELECT 1 FROM payment_events e WHERE e.merchant_id = x.merchant_id "
        "AND e.order_id = x.order_id AND coalesce(e.refund_id, e.order_id) = x.subject_id "
        "AND e.after_status = x.resulting_status)",
    },
    "deliveries_end_as_their_attempts_say": {
        "deliveries": "(x.status = 'DELIVERED') <> EXISTS (SELECT 1 FROM delivery_attempts a "
        "WHERE a.merchant_id = x.merchant_id AND a.delivery_id = x.id AND a.outcome = 'delivered')",
    },
}
"""Name → table → what is true of a row `x` that breaks the check. Each can be asked of a slice of the table."""

TABLES = ("payment_orders", "refunds", "journals", "deliveries")
"""Those that the checks go through."""
FIRST_KEY = ("", "")
_IN_SLICE = "WHERE (merchant_id, id) > (%s, %s) ORDER BY merchant_id, id LIMIT %s"


def read_one_instant() -> None:
    """Makes all reads of this transaction see the same instant: a payment between two checks is no violation."""
    execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def count_violations(
    name: str, *, tables: tuple[str, ...] = TABLES, rows: Slice | None = None
) -> int:
    """Rows that break one check, in these tables, or in one slice."""
    parameters = () if rows is None else (*rows[0], rows[1])
    total = 0
    for table, broken in CHECKS[name].items():
        if table in tables:
            source = table if rows is None else f"(SELECT * FROM {table} {_IN_SLICE})"  # noqa: S608 (constants)
            row = fetch_one(
                f"SELECT count(*) AS n FROM {source} x WHERE {broken}",  # noqa: S608 (constants)
                parameters,
            )
            assert row is not None
            total += int(row["n"])
    return total


def end_of_slice(table: str, after: tuple[str, str], size: int) -> tuple[tuple[str, str], int]:
    """The key of the last of the next `size` rows, and how many there are; `after` itself at the end."""
    rows = fetch_all(
        f"SELECT merchant_id, id FROM {table} {_IN_SLICE}",  # noqa: S608 (constants)
        (*after, size),
    )
    if not rows:
        return after, 0
    return (rows[-1]["merchant_id"], rows[-1]["id"]), len(rows)


def total_fen(kind: str) -> int:
    """What all journals of a kind moved at the provider, as a positive sum."""
    row = fetch_one(
        "SELECT coalesce(abs(sum(l.amount_fen)), 0)::bigint AS total FROM journals j JOIN journal_lines l "
        "ON (l.merchant_id, l.journal_id) = (j.merchant_id, j.id) WHERE j.kind = %s AND l.account = 'provider_balance'",
        (kind,),
    )
    assert row is not None
    return int(row["total"])
