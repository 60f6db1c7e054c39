"""What a person should look at: lists, and putting one away. Made in `payment_orders.add_anomaly`."""

from dataclasses import dataclass
from datetime import datetime

from core_service.storage.database import fetch_all, fetch_one
from core_service.storage.listing import Conditions
from core_service.storage.paging import Page, PageRequest, Position, page_of


@dataclass(frozen=True)
class AnomalyRow:
    """An anomaly with its merchant's code."""

    merchant_id: str
    merchant_code: str
    id: str
    kind: str
    order_id: str
    refund_id: str | None
    detail: str | None
    created_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


_SELECT = (
    "SELECT a.merchant_id, m.code AS merchant_code, a.id, a.kind, a.order_id, a.refund_id, a.detail, a.created_at, "
    "a.resolved_at, a.resolved_by, a.note FROM anomalies a JOIN merchants m ON m.id = a.merchant_id "
)


def newest(
    merchant_id: str | None, kind: str | None, *, is_resolved: bool, page: PageRequest
) -> Page[AnomalyRow]:
    """A page of open or of resolved anomalies, newest first."""
    where = Conditions()
    where.add("a.resolved_at IS NOT NULL" if is_resolved else "a.resolved_at IS NULL")
    where.add_if_given("a.merchant_id = %(merchant_id)s", merchant_id=merchant_id)
    where.add_if_given("a.kind = %(kind)s", kind=kind)
    if page.after is not None:
        where.add("a.id < %(after_id)s", after_id=page.after.id)
    rows = fetch_all(
        f"{_SELECT} WHERE {where.sql} ORDER BY a.id DESC LIMIT %(limit)s",
        {**where.parameters, "limit": page.size + 1},
    )
    return page_of(
        [AnomalyRow(**row) for row in rows], page, lambda row: Position(row.created_at, row.id)
    )


def of_order(merchant_id: str, order_id: str) -> list[AnomalyRow]:
    """An order's anomalies, oldest first."""
    rows = fetch_all(
        f"{_SELECT} WHERE a.merchant_id = %s AND a.order_id = %s ORDER BY a.id",
        (merchant_id, order_id),
    )
    return [AnomalyRow(**row) for row in rows]


def find(anomaly_id: str) -> AnomalyRow | None:
    """Unscoped: for operators."""
    row = fetch_one(f"{_SELECT} WHERE a.id = %s", (anomaly_id,))
    return None if row is None else AnomalyRow(**row)


def resolve(anomaly: AnomalyRow, *, who: str, note: str, now: datetime) -> bool:
    """Puts an open anomaly away; False when somebody else has done so."""
    row = fetch_one(
        "UPDATE anomalies SET resolved_at = %s, resolved_by = %s, note = %s "
        "WHERE merchant_id = %s AND id = %s AND resolved_at IS NULL RETURNING id",
        (now, who, note, anomaly.merchant_id, anomaly.id),
    )
    return row is not None


def count_open(merchant_id: str | None) -> dict[str, int]:
    """Open anomalies by kind."""
    rows = fetch_all(
        "SELECT kind, count(*) AS n FROM anomalies WHERE resolved_at IS NULL "
        "AND (%(merchant_id)s::text IS NULL OR merchant_id = %(merchant_id)s) GROUP BY kind ORDER BY kind",
        {"merchant_id": merchant_id},
    )
    return {row["kind"]: int(row["n"]) for row in rows}
