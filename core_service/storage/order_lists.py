"""Lists of orders, and finding an order by any number that has to do with it.

Every statement here stays off a sequential scan of payment_orders at any size: ids for the order of time, small partial
indexes for what is rare, and for numbers that are unique inside a merchant one look per merchant.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from core_service.storage.database import Row, fetch_all
from core_service.storage.listing import (
    Conditions,
    Found,
    add_time_range,
    along_indexes,
    found_page,
    stretch_sql,
)
from core_service.storage.paging import PageRequest, Position

STUCK_AFTER = timedelta(minutes=5)
"""How long after its time an order may still be open: asking, closing and asking again take some tries."""
MOST_SEARCHED = 200
"""Orders that one search finds at most."""


@dataclass(frozen=True)
class OrderFilter:
    """Which orders are wanted; None: any."""

    merchant_id: str | None = None
    search: str | None = None
    status: str | None = None
    channel_code: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    is_late: bool = False
    is_stuck: bool = False
    amount_fen: int | None = None


@dataclass(frozen=True)
class OrderSummary:
    """An order in a list."""

    id: str
    merchant_code: str
    external_order_id: str
    channel_code: str
    amount_fen: int
    refunded_fen: int
    currency: str
    subject: str
    status: str
    provider_status: str | None
    gateway_order_id: str | None
    delivery_status: str | None
    late: bool
    created_at: datetime
    expire_at: datetime
    paid_at: datetime | None


_FILTERED = "merchant_id, id, status, channel_code, amount_fen, created_at"

# The outer joins see one page of rows and no more.
_SUMMARIES = """
SELECT o.id, m.code AS merchant_code, o.external_order_id, o.channel_code, o.amount_fen, o.refunded_fen, o.currency,
    o.subject, o.status, o.provider_status, o.gateway_order_id, (
        SELECT d.status FROM deliveries d
        WHERE d.merchant_id = o.merchant_id AND d.subject_id = o.id
        ORDER BY d.created_at DESC, d.id DESC LIMIT 1
    ) AS delivery_status, o.late, o.created_at, o.expire_at, o.paid_at
FROM ({keys}) wanted
CROSS JOIN LATERAL (
    SELECT * FROM payment_orders WHERE merchant_id = wanted.merchant_id AND id = wanted.id OFFSET 0
) o
JOIN merchants m ON m.id = o.merchant_id
ORDER BY o.id DESC
"""

_ORDERS_OF = """
SELECT o.* FROM ({keys}) wanted
CROSS JOIN LATERAL (
    SELECT * FROM payment_orders WHERE merchant_id = wanted.merchant_id AND id = wanted.id OFFSET 0
) o
"""
_SEARCHED = """
SELECT merchant_id, id FROM payment_orders WHERE id = %(own_id)s
UNION SELECT merchant_id, order_id FROM received_payments WHERE gateway_order_id = %(search)s
UNION SELECT merchant_id, order_id FROM refunds WHERE id = %(own_id)s
UNION SELECT merchant_id, order_id FROM refunds WHERE provider_refund_id = %(search)s
UNION SELECT merchant_id, order_id FROM deliveries WHERE id = %(own_id)s
UNION SELECT o.merchant_id, o.id FROM merchants m CROSS JOIN LATERAL (
    SELECT merchant_id, id FROM payment_orders WHERE merchant_id = m.id AND external_order_id = %(search)s OFFSET 0
) o
UNION SELECT r.merchant_id, r.order_id FROM merchants m CROSS JOIN LATERAL (
    SELECT merchant_id, order_id FROM refunds WHERE merchant_id = m.id AND external_refund_id = %(search)s OFFSET 0
) r
"""
_SEARCHED_FOR_MERCHANT = """
SELECT merchant_id, id FROM payment_orders WHERE merchant_id = %(merchant_id)s AND id = %(own_id)s
UNION SELECT merchant_id, id FROM payment_orders
    WHERE merchant_id = %(merchant_id)s AND external_order_id = %(search)s
UNION SELECT merchant_id, order_id FROM received_payments
    WHERE merchant_id = %(merchant_id)s AND gateway_order_id = %(search)s
UNION SELECT merchant_id, order_id FROM refunds WHERE merchant_id = %(merchant_id)s
    AND (id = %(own_id)s OR external_refund_id = %(search)s)
UNION SELECT merchant_id, order_id FROM refunds
    WHERE merchant_id = %(merchant_id)s AND provider_refund_id = %(search)s
UNION SELECT merchant_id, order_id FROM deliveries WHERE merchant_id = %(merchant_id)s AND id = %(own_id)s
"""


def newest(wanted: OrderFilter, page: PageRequest) -> Found[OrderSummary]:
    """A page of orders, newest first."""
    return along_indexes(lambda: _newest(wanted, page))


def _newest(wanted: OrderFilter, page: PageRequest) -> Found[OrderSummary]:
    ids, rest = _conditions(wanted)
    if page.after is not None:
        ids.add("id < %(after_id)s", after_id=page.after.id)
    keys, is_stretch = _keys(wanted, ids, rest)
    parameters = {
        **ids.parameters,
        **rest.parameters,
        "search": wanted.search,
        # Ours are lower case, whatever a spreadsheet or a phone made of them.
        "own_id": wanted.search and wanted.search.lower(),
        "limit": page.size + 1,
        "most": MOST_SEARCHED,
    }
    rows = fetch_all(_SUMMARIES.format(keys=keys), parameters)
    return found_page(
        "payment_orders",
        ids,
        [_summary(row) for row in rows],
        page,
        lambda order: Position(order.created_at, order.id),
        is_stretch=is_stretch,
    )


def _conditions(wanted: OrderFilter) -> tuple[Conditions, Conditions]:
    """What bounds the stretch of ids, and what is looked at in each row of it."""
    ids, rest = Conditions(), Conditions()
    ids.add_if_given("merchant_id = %(merchant_id)s", merchant_id=wanted.merchant_id)
    add_time_range(ids, rest, "po", wanted.created_from, wanted.created_to)
    rest.add_if_given("status = %(status)s", status=wanted.status)
    rest.add_if_given("channel_code = %(channel_code)s", channel_code=wanted.channel_code)
    rest.add_if_given("amount_fen = %(amount_fen)s", amount_fen=wanted.amount_fen)
    if wanted.is_late:
        rest.add("late")
    if wanted.is_stuck:
        rest.add(STUCK, stuck_after=STUCK_AFTER)
    return ids, rest


STUCK = (
    # Every open order has an appointment; the words let its small index serve.
    "ask_at IS NOT NULL AND status IN ('PENDING', 'PROCESSING') AND expire_at < now() - %(stuck_after)s"
)


def _keys(wanted: OrderFilter, ids: Conditions, rest: Conditions) -> tuple[str, bool]:
    """A statement for the keys of a page, and whether it looks through a stretch only."""
    newest_first = "ORDER BY id DESC LIMIT %(limit)s"
    if wanted.search is not None:
        searched = _SEARCHED if wanted.merchant_id is None else _SEARCHED_FOR_MERCHANT
        # Few rows: whatever else is wanted is looked at afterwards.
        keys = f"SELECT * FROM ({searched}) s LIMIT %(most)s"  # noqa: S608 (constants)
        found = _ORDERS_OF.format(keys=keys)
        where = f"WHERE {ids.sql} AND {rest.sql} {newest_first}"
        return f"SELECT merchant_id, id FROM ({found}) f {where}", False  # noqa: S608 (constants)
    is_open = wanted.status in ("PENDING", "PROCESSING")
    if is_open:
        rest.add("ask_at IS NOT NULL")
    if is_open or wanted.is_stuck or wanted.is_late or wanted.status == "FAILED" or not rest:
        return (
            f"SELECT merchant_id, id FROM payment_orders WHERE {ids.sql} AND {rest.sql} {newest_first}",  # noqa: S608 (constants)
            False,
        )
    stretch = stretch_sql("payment_orders", _FILTERED, ids)
    return f"SELECT merchant_id, id FROM ({stretch}) s WHERE {rest.sql} {newest_first}", True  # noqa: S608 (constants)


def count_stuck(merchant_id: str | None) -> int:
    """Orders that are open although their time has long been over."""
    rows = fetch_all(
        f"SELECT count(*) AS n FROM payment_orders WHERE {STUCK} "  # noqa: S608 (constants)
        "AND (%(merchant_id)s::text IS NULL OR merchant_id = %(merchant_id)s)",
        {"stuck_after": STUCK_AFTER, "merchant_id": merchant_id},
    )
    return int(rows[0]["n"])


def _summary(row: Row) -> OrderSummary:
    return OrderSummary(**row)
