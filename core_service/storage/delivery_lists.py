"""Lists of deliveries, and a delivery with its attempts."""

from dataclasses import dataclass
from datetime import datetime

from core_service.storage.database import Row, fetch_all, fetch_one
from core_service.storage.listing import Conditions, Found, along_indexes, found_page, stretch_sql
from core_service.storage.paging import PageRequest, Position


@dataclass(frozen=True)
class DeliveryFilter:
    """Which deliveries are wanted; None: any."""

    merchant_id: str | None = None
    status: str | None = None
    event: str | None = None
    is_due: bool = False
    is_undelivered: bool = False
    """Then the oldest come first."""


@dataclass(frozen=True)
class DeliveryView:
    """A delivery without what it tells."""

    merchant_id: str
    merchant_code: str
    id: str
    order_id: str
    refund_id: str | None
    event: str
    resulting_status: str
    status: str
    attempt_count: int
    due_at: datetime
    created_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True)
class AttemptRow:
    """One try, as it was recorded."""

    number: int
    url: str | None
    request_headers: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    http_status: int | None
    response_body: bytes | None
    error: str | None
    duration_ms: int | None


_COLUMNS = (
    "d.merchant_id, m.code AS merchant_code, d.id, d.order_id, d.refund_id, d.event, d.resulting_status, d.status, "
    "d.attempt_count, d.due_at, d.created_at, d.delivered_at"
)
_VIEWS = (
    f"SELECT {_COLUMNS} FROM ({{keys}}) wanted JOIN deliveries d USING (merchant_id, id) "  # noqa: S608 (constants)
    "JOIN merchants m ON m.id = d.merchant_id ORDER BY d.id {direction}"
)
_UNTOLD = "status IN ('PENDING', 'PROCESSING')"


def page_of_deliveries(wanted: DeliveryFilter, page: PageRequest) -> Found[DeliveryView]:
    """A page of deliveries, newest first; oldest first when only undelivered ones are wanted."""
    return along_indexes(lambda: _page_of(wanted, page))


def _page_of(wanted: DeliveryFilter, page: PageRequest) -> Found[DeliveryView]:
    ids, rest = Conditions(), Conditions()
    ids.add_if_given("merchant_id = %(merchant_id)s", merchant_id=wanted.merchant_id)
    rest.add_if_given("status = %(status)s", status=wanted.status)
    rest.add_if_given("event = %(event)s", event=wanted.event)
    if wanted.is_undelivered or wanted.is_due:
        rest.add(_UNTOLD)
    if wanted.is_due:
        rest.add("due_at <= now()")
    direction, beyond = ("ASC", ">") if wanted.is_undelivered else ("DESC", "<")
    if page.after is not None:
        ids.add(f"id {beyond} %(after_id)s", after_id=page.after.id)
    has_index = wanted.is_undelivered or wanted.is_due or wanted.status not in (None, "DELIVERED")
    is_stretch = bool(rest) and not has_index
    source = "deliveries"
    if is_stretch:
        source = f"({stretch_sql('deliveries', 'merchant_id, id, status, event', ids)}) s"
    where = rest.sql if is_stretch else f"{ids.sql} AND {rest.sql}"
    keys = f"SELECT merchant_id, id FROM {source} WHERE {where} ORDER BY id {direction} LIMIT %(limit)s"  # noqa: S608 (constants)
    rows = fetch_all(
        _VIEWS.format(keys=keys, direction=direction),
        {**ids.parameters, **rest.parameters, "limit": page.size + 1},
    )
    return found_page(
        "deliveries",
        ids,
        [DeliveryView(**row) for row in rows],
        page,
        lambda view: Position(view.created_at, view.id),
        is_stretch=is_stretch,
    )


def find(delivery_id: str) -> DeliveryView | None:
    """Unscoped: for operators; who may see it is the caller's business."""
    row = fetch_one(
        f"SELECT {_COLUMNS} FROM deliveries d JOIN merchants m ON m.id = d.merchant_id WHERE d.id = %s",  # noqa: S608 (constants)
        (delivery_id,),
    )
    return None if row is None else DeliveryView(**row)


def body_of(delivery: DeliveryView) -> bytes:
    """What the delivery tells."""
    row = fetch_one(
        "SELECT body FROM deliveries WHERE merchant_id = %s AND id = %s",
        (delivery.merchant_id, delivery.id),
    )
    assert row is not None
    return bytes(row["body"])


def attempts_of(merchant_id: str, delivery_id: str) -> list[AttemptRow]:
    """Every try of a delivery, oldest first."""
    rows = fetch_all(
        "SELECT number, url, request_headers, started_at, finished_at, outcome, http_status, response_body, error, "
        "duration_ms FROM delivery_attempts WHERE merchant_id = %s AND delivery_id = %s ORDER BY number",
        (merchant_id, delivery_id),
    )
    return [_attempt(row) for row in rows]


def of_order(merchant_id: str, order_id: str) -> list[DeliveryView]:
    """An order's deliveries, those of its refunds included, oldest first."""
    rows = fetch_all(
        f"SELECT {_COLUMNS} FROM deliveries d JOIN merchants m ON m.id = d.merchant_id "  # noqa: S608 (constants)
        "WHERE d.merchant_id = %(merchant)s AND d.subject_id IN (SELECT %(order)s UNION ALL "
        "SELECT id FROM refunds WHERE merchant_id = %(merchant)s AND order_id = %(order)s) ORDER BY d.id",
        {"merchant": merchant_id, "order": order_id},
    )
    return [DeliveryView(**row) for row in rows]


def _attempt(row: Row) -> AttemptRow:
    body = row.pop("response_body")
    return AttemptRow(**row, response_body=None if body is None else bytes(body))
