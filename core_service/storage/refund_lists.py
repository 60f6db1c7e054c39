"""Lists of refunds."""

from dataclasses import dataclass
from datetime import datetime

from core_service.domain.refund import STUCK_AFTER
from core_service.storage.database import Row, fetch_all
from core_service.storage.listing import (
    Conditions,
    Found,
    add_time_range,
    along_indexes,
    found_page,
    stretch_sql,
    without,
)
from core_service.storage.paging import PageRequest, Position
from core_service.storage.refunds import RefundRow


@dataclass(frozen=True)
class RefundFilter:
    """Which refunds are wanted; None: any."""

    merchant_id: str | None = None
    status: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    is_stuck: bool = False


@dataclass(frozen=True)
class RefundView:
    """A refund with what its order says."""

    refund: RefundRow
    merchant_code: str
    external_order_id: str
    channel_code: str
    currency: str
    gateway_order_id: str | None
    account_id: str


_ORDER_COLUMNS = (
    "merchant_code",
    "external_order_id",
    "channel_code",
    "currency",
    "gateway_order_id",
    "account_id",
)
# The outer joins see one page of rows and no more.
_VIEWS = """
SELECT r.*, m.code AS merchant_code, o.external_order_id, o.channel_code, o.currency, o.gateway_order_id, o.account_id
FROM ({keys}) wanted
JOIN refunds r ON r.merchant_id = wanted.merchant_id AND r.id = wanted.id
CROSS JOIN LATERAL (
    SELECT * FROM payment_orders WHERE merchant_id = r.merchant_id AND id = r.order_id OFFSET 0
) o
JOIN merchants m ON m.id = r.merchant_id
ORDER BY r.id DESC
"""
STUCK = "ask_at IS NOT NULL AND status IN ('PENDING', 'PROCESSING') AND created_at < now() - %(stuck_after)s"


def newest(wanted: RefundFilter, page: PageRequest) -> Found[RefundView]:
    """A page of refunds, newest first."""
    return along_indexes(lambda: _newest(wanted, page))


def _newest(wanted: RefundFilter, page: PageRequest) -> Found[RefundView]:
    ids, rest = Conditions(), Conditions()
    ids.add_if_given("merchant_id = %(merchant_id)s", merchant_id=wanted.merchant_id)
    add_time_range(ids, rest, "rf", wanted.created_from, wanted.created_to)
    rest.add_if_given("status = %(status)s", status=wanted.status)
    if wanted.is_stuck:
        rest.add(STUCK, stuck_after=STUCK_AFTER)
    if wanted.status in ("PENDING", "PROCESSING"):
        rest.add("ask_at IS NOT NULL")  # every open refund has an appointment
    if page.after is not None:
        ids.add("id < %(after_id)s", after_id=page.after.id)
    is_stretch = bool(rest) and not wanted.is_stuck and wanted.status in (None, "SUCCEEDED")
    source = "refunds"
    if is_stretch:
        source = f"({stretch_sql('refunds', 'merchant_id, id, status, created_at', ids)}) s"
    where = rest.sql if is_stretch else f"{ids.sql} AND {rest.sql}"
    keys = f"SELECT merchant_id, id FROM {source} WHERE {where} ORDER BY id DESC LIMIT %(limit)s"  # noqa: S608 (constants)
    rows = fetch_all(
        _VIEWS.format(keys=keys), {**ids.parameters, **rest.parameters, "limit": page.size + 1}
    )
    return found_page(
        "refunds",
        ids,
        [_view(row) for row in rows],
        page,
        lambda view: Position(view.refund.created_at, view.refund.id),
        is_stretch=is_stretch,
    )


def of_order(merchant_id: str, order_id: str) -> list[RefundRow]:
    """An order's refunds, oldest first."""
    rows = fetch_all(
        "SELECT * FROM refunds WHERE merchant_id = %s AND order_id = %s ORDER BY id",
        (merchant_id, order_id),
    )
    return [RefundRow(**row) for row in rows]


def count_stuck(merchant_id: str | None) -> int:
    """Refunds without a definite answer for longer than `STUCK_AFTER`."""
    rows = fetch_all(
        f"SELECT count(*) AS n FROM refunds WHERE {STUCK} "  # noqa: S608 (constants)
        "AND (%(merchant_id)s::text IS NULL OR merchant_id = %(merchant_id)s)",
        {"stuck_after": STUCK_AFTER, "merchant_id": merchant_id},
    )
    return int(rows[0]["n"])


def _view(row: Row) -> RefundView:
    refund, order = without(row, *_ORDER_COLUMNS)
    return RefundView(RefundRow(**refund), *order)
