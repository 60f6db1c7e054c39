"""The roll-up of orders and refunds by hour, merchant and account: counting, writing, reading."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from core_service.domain.ids import first_id, made_at
from core_service.storage.database import execute, fetch_all, fetch_one

HOUR = timedelta(hours=1)
SLICE = timedelta(minutes=10)
"""What one statement counts, so that it stays short at a thousand orders a second."""


@dataclass
class HourCounts:
    """What an hour brought to one account of a merchant."""

    merchant_id: str
    account_id: str
    channel_code: str
    created: int = 0
    paid: int = 0
    ended_unpaid: int = 0
    paid_fen: int = 0
    seen_by_notification: int = 0
    refunds: int = 0
    refund_fen: int = 0


# An order counts in the hour of its id, which is made with it.
_ORDERS = """
SELECT merchant_id, account_id, channel_code, count(*) AS created,
    count(*) FILTER (WHERE status = 'SUCCEEDED') AS paid,
    count(*) FILTER (WHERE status IN ('FAILED', 'CANCELLED')) AS ended_unpaid,
    coalesce(sum(paid_amount_fen), 0)::bigint AS paid_fen,
    count(*) FILTER (WHERE status = 'SUCCEEDED' AND (
        SELECT p.first_seen_by = 'notification' FROM received_payments p
        WHERE p.merchant_id = o.merchant_id AND p.order_id = o.id AND NOT p.duplicate)) AS seen_by_notification
FROM payment_orders o WHERE id >= %(first)s AND id < %(end)s
GROUP BY merchant_id, account_id, channel_code
"""
_REFUNDS = """
SELECT r.merchant_id, o.account_id, o.channel_code, count(*) AS refunds, sum(r.amount_fen)::bigint AS refund_fen
FROM refunds r CROSS JOIN LATERAL (
    SELECT account_id, channel_code FROM payment_orders WHERE merchant_id = r.merchant_id AND id = r.order_id OFFSET 0
) o
WHERE r.id >= %(first)s AND r.id < %(end)s AND r.status = 'SUCCEEDED'
GROUP BY r.merchant_id, o.account_id, o.channel_code
"""
_WRITE = """
INSERT INTO order_hours (merchant_id, account_id, hour, channel_code, created, paid, ended_unpaid, paid_fen,
    seen_by_notification, refunds, refund_fen)
SELECT merchant_id, account_id, %(hour)s, channel_code, created, paid, ended_unpaid, paid_fen, seen_by_notification,
    refunds, refund_fen
FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (merchant_id text, account_id text, channel_code text, created bigint,
    paid bigint, ended_unpaid bigint, paid_fen bigint, seen_by_notification bigint, refunds bigint, refund_fen bigint)
ON CONFLICT (merchant_id, account_id, hour) DO UPDATE SET created = EXCLUDED.created, paid = EXCLUDED.paid,
    ended_unpaid = EXCLUDED.ended_unpaid, paid_fen = EXCLUDED.paid_fen,
    seen_by_notification = EXCLUDED.seen_by_notification, refunds = EXCLUDED.refunds, refund_fen = EXCLUDED.refund_fen
"""


def count_hour(hour: datetime) -> list[HourCounts]:
    """Counts an hour anew, slice by slice."""
    counts: dict[tuple[str, str], HourCounts] = {}
    start = hour
    while start < hour + HOUR:
        for prefix, statement in (("po", _ORDERS), ("rf", _REFUNDS)):
            bounds = {"first": first_id(prefix, start), "end": first_id(prefix, start + SLICE)}
            for row in fetch_all(statement, bounds):
                key = (row["merchant_id"], row["account_id"])
                sums = counts.setdefault(key, HourCounts(*key, row["channel_code"]))
                for name in row.keys() - {"merchant_id", "account_id", "channel_code"}:
                    setattr(sums, name, getattr(sums, name) + row[name])
        start += SLICE
    return list(counts.values())


def write_hour(hour: datetime, counts: list[HourCounts]) -> None:
    """Puts what was counted in the place of what was there."""
    execute(_WRITE, {"hour": hour, "rows": json.dumps([asdict(one) for one in counts])})


def newest_order_before(moment: datetime) -> datetime | None:
    """When the newest order before `moment` was made, by its id; None: there is none."""
    row = fetch_one(
        "SELECT id FROM payment_orders WHERE id < %s ORDER BY id DESC LIMIT 1",
        (first_id("po", moment),),
    )
    return None if row is None else made_at(row["id"])


@dataclass(frozen=True)
class ChannelHour:
    """An hour of one channel."""

    hour: datetime
    channel_code: str
    created: int
    paid: int
    ended_unpaid: int
    paid_fen: int
    refunds: int
    refund_fen: int


def hours_of(merchant_id: str | None, start: datetime, end: datetime) -> list[ChannelHour]:
    """What each hour from `start` until `end` brought, by channel."""
    rows = fetch_all(
        "SELECT hour, channel_code, sum(created)::bigint AS created, sum(paid)::bigint AS paid, "
        "sum(ended_unpaid)::bigint AS ended_unpaid, sum(paid_fen)::bigint AS paid_fen, "
        "sum(refunds)::bigint AS refunds, sum(refund_fen)::bigint AS refund_fen "
        "FROM order_hours WHERE hour >= %(start)s AND hour < %(end)s "
        "AND (%(merchant_id)s::text IS NULL OR merchant_id = %(merchant_id)s) GROUP BY hour, channel_code",
        {"merchant_id": merchant_id, "start": start, "end": end},
    )
    return [ChannelHour(**row) for row in rows]


@dataclass(frozen=True)
class FirstSeen:
    """How payments of an account became known first."""

    merchant_code: str
    account_id: str
    account_name: str
    channel_code: str
    by_notification: int
    by_asking: int


MOST_ACCOUNTS = 100


def first_seen_of(merchant_id: str | None, start: datetime) -> list[FirstSeen]:
    """Payments of orders since `start`, for each account; those that notifications fail most come first."""
    rows = fetch_all(
        "SELECT m.code AS merchant_code, s.account_id, a.display_name AS account_name, a.channel_code, "
        "s.by_notification, s.paid - s.by_notification AS by_asking FROM ("
        "  SELECT merchant_id, account_id, sum(paid)::bigint AS paid, sum(seen_by_notification)::bigint "
        "  AS by_notification FROM order_hours WHERE hour >= %(start)s "
        "  AND (%(merchant_id)s::text IS NULL OR merchant_id = %(merchant_id)s) GROUP BY merchant_id, account_id"
        ") s JOIN merchants m ON m.id = s.merchant_id "
        "JOIN channel_accounts a ON a.merchant_id = s.merchant_id AND a.id = s.account_id "
        "WHERE s.paid > 0 ORDER BY by_asking DESC, s.paid DESC, s.account_id LIMIT %(most)s",
        {"merchant_id": merchant_id, "start": start, "most": MOST_ACCOUNTS},
    )
    return [FirstSeen(**row) for row in rows]
