"""Deliveries (the outbox of merchant callbacks) and their attempts: every statement on them.

A delivery is in flight while it has a lease. Its token goes up with every claim, and only the
holder of the newest one may record how the attempt ended: a worker that was away too long changes
nothing. An attempt row is opened by the claim and closed once, by its own record, or as lost by
whoever finds the lease dead.

Due times and leases are measured by the database's clock, so that workers on several machines agree
about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from core_service.storage.database import Prepared, Row, execute, fetch_all, fetch_one, write


@dataclass(frozen=True)
class NewDelivery:
    """One event for one merchant, as it goes into the outbox; the body never changes afterwards."""

    merchant_id: str
    id: str
    order_id: str
    refund_id: str | None
    event: str
    resulting_status: str
    body: bytes

    @property
    def subject_id(self) -> str:
        """Whose new status is told."""
        return self.refund_id or self.order_id


@dataclass(frozen=True)
class ClaimedDelivery:
    """A delivery with an open attempt that only the holder of `token` may close."""

    merchant_id: str
    id: str
    order_id: str
    refund_id: str | None
    event: str
    body: bytes
    token: int
    attempt_number: int
    attempts: int
    """This one and those before it whose end is known: what counts against the limit."""
    order_callback_url: str | None
    merchant_version: int
    """The merchant's when it was claimed."""


@dataclass(frozen=True)
class FinishedAttempt:
    """How an attempt ended, and what becomes of its delivery."""

    delivered: bool
    url: str | None
    request_headers: str | None
    """A JSON object."""
    http_status: int | None
    response_body: bytes | None
    error: str | None
    duration_ms: int
    next_status: str
    pause_seconds: float | None
    """Until it is due again; None: not any more."""


@dataclass(frozen=True)
class EndedAttempt:
    """An attempt that has been made, to be recorded."""

    claimed: ClaimedDelivery
    finished: FinishedAttempt


_INSERT = Prepared(
    """
    INSERT INTO deliveries (merchant_id, id, order_id, refund_id, subject_id, event,
                            resulting_status, body, status, due_at, created_at, updated_at)
    VALUES (%(merchant_id)s, %(id)s, %(order_id)s, %(refund_id)s, %(subject_id)s, %(event)s,
            %(resulting_status)s, %(body)s, 'PENDING', now(), %(now)s, %(now)s)
    ON CONFLICT (merchant_id, subject_id, resulting_status) DO NOTHING
    """
)


def insert(delivery: NewDelivery, *, now: datetime) -> None:
    """Puts a delivery into the outbox, due at once, unless this status is there already."""
    write(_INSERT, {**vars(delivery), "subject_id": delivery.subject_id, "now": now})


# Takes what `chosen` names: closes the attempt of a worker that died, opens the next one.
_TAKE = """
    claimed AS (
        UPDATE deliveries d
        SET status = CASE d.status WHEN 'DELIVERED' THEN 'DELIVERED' ELSE 'PROCESSING' END,
            lease_until = now() + %(lease_seconds)s * interval '1 second',
            token = d.token + 1,
            attempt_count = d.attempt_count + 1,
            lost_count = d.lost_count + c.stale::int,
            updated_at = now()
        FROM chosen c
        WHERE d.merchant_id = c.merchant_id AND d.id = c.id
        RETURNING d.*
    ), closed AS (
        UPDATE delivery_attempts a
        SET outcome = 'lost', finished_at = now(),
            error = 'the worker ended before it could record the attempt'
        FROM claimed d
        WHERE a.merchant_id = d.merchant_id AND a.delivery_id = d.id AND a.finished_at IS NULL
    ), opened AS (
        INSERT INTO delivery_attempts (merchant_id, delivery_id, number, token, started_at)
        SELECT merchant_id, id, attempt_count, token, now() FROM claimed
    )
    SELECT d.merchant_id, d.id, d.order_id, d.refund_id, d.event, d.body, d.token,
           d.attempt_count, d.lost_count, o.callback_url, m.version AS merchant_version
    FROM claimed d JOIN payment_orders o ON o.merchant_id = d.merchant_id AND o.id = d.order_id
    JOIN merchants m ON m.id = d.merchant_id
"""

# `waiting` walks the index from merchant to merchant, and each gives at most what it may still have
# in flight. `chosen` checks again what `candidates` saw, because another worker may have been
# faster in between. LATERAL everywhere: the statistics of a queue are always old, and nothing else
# keeps the planner from reading all of it.
_CLAIM_DUE = Prepared(
    """
    WITH RECURSIVE waiting AS (
        (SELECT merchant_id FROM deliveries WHERE status IN ('PENDING', 'PROCESSING')
         ORDER BY merchant_id, due_at LIMIT 1)
        UNION ALL
        SELECT (SELECT d.merchant_id FROM deliveries d
                WHERE d.status IN ('PENDING', 'PROCESSING') AND d.merchant_id > w.merchant_id
                ORDER BY d.merchant_id, d.due_at LIMIT 1)
        FROM waiting w WHERE w.merchant_id IS NOT NULL
    ), candidates AS (
        SELECT due.merchant_id, due.id, due.due_at, due.place + f.count AS turn
        FROM waiting w
        CROSS JOIN LATERAL (
            SELECT count(*) AS count FROM deliveries d
            WHERE d.merchant_id = w.merchant_id
              AND d.lease_until IS NOT NULL AND d.lease_until >= now()
        ) f
        CROSS JOIN LATERAL (
            SELECT d.merchant_id, d.id, d.due_at, row_number() OVER (ORDER BY d.due_at) AS place
            FROM deliveries d
            WHERE d.merchant_id = w.merchant_id AND d.status IN ('PENDING', 'PROCESSING')
              AND d.due_at <= now() AND (d.lease_until IS NULL OR d.lease_until < now())
            ORDER BY d.due_at
            LIMIT greatest(0, %(in_flight_per_merchant)s - f.count)
        ) due
        ORDER BY turn, due.merchant_id <= %(after)s, due.merchant_id, due.due_at
        LIMIT %(limit)s
    ), chosen AS MATERIALIZED (
        SELECT d.* FROM candidates c
        CROSS JOIN LATERAL (
            SELECT merchant_id, id, lease_until IS NOT NULL AS stale FROM deliveries
            WHERE merchant_id = c.merchant_id AND id = c.id
              AND status IN ('PENDING', 'PROCESSING')
              AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
            FOR UPDATE SKIP LOCKED
        ) d
    ),
    """  # noqa: S608 (both parts are constants)
    + _TAKE
)

_CLAIM_ONE = (
    """
    WITH chosen AS MATERIALIZED (
        SELECT merchant_id, id, lease_until IS NOT NULL AS stale FROM deliveries
        WHERE merchant_id = %(merchant_id)s AND id = %(id)s
          AND (lease_until IS NULL OR lease_until < now())
        FOR UPDATE SKIP LOCKED
    ),
    """  # noqa: S608 (both parts are constants)
    + _TAKE
)

# What the planner must know of a queue and cannot learn from statistics, which are as old as the last
# ANALYZE: that it may have become long since (reading it in order costs less than sorting it), and that
# its indexes hold more entries of rows that have gone on than of rows that wait (an index scan marks
# them, and the next one passes over them; a bitmap scan visits them all every time).
_AS_A_QUEUE = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"


def claim_due(
    *, limit: int, in_flight_per_merchant: int, lease_seconds: float, after: str = ""
) -> list[ClaimedDelivery]:
    """Claims due deliveries for this worker, merchants with the fewest in flight first.

    Among those with equally many it is the turn of the one behind merchant `after`: however much older the others' are,
    nobody waits for more than one of each. Workers that look in the same instant may each fill a merchant's share.
    """
    write(_AS_A_QUEUE)
    parameters = {
        "limit": limit,
        "in_flight_per_merchant": in_flight_per_merchant,
        "lease_seconds": lease_seconds,
        "after": after,
    }
    return [_claimed(row) for row in fetch_all(_CLAIM_DUE, parameters)]


def claim_one(
    merchant_id: str, delivery_id: str, *, lease_seconds: float
) -> ClaimedDelivery | None:
    """Claims a delivery whatever its status, count and due time; None when an attempt is in flight.

    One that was delivered stays DELIVERED.
    """
    row = fetch_one(
        _CLAIM_ONE, {"merchant_id": merchant_id, "id": delivery_id, "lease_seconds": lease_seconds}
    )
    return _claimed(row) if row else None


_RECORD = Prepared("""
    WITH given AS (
        SELECT * FROM unnest(
            %(merchant_id)s::text[], %(id)s::text[], %(token)s::bigint[], %(delivered)s::boolean[],
            %(url)s::text[], %(request_headers)s::text[], %(http_status)s::integer[],
            %(response_body)s::bytea[], %(error)s::text[], %(duration_ms)s::integer[],
            %(next_status)s::text[], %(pause_seconds)s::float8[]
        ) AS g (merchant_id, id, token, delivered, url, request_headers, http_status,
                response_body, error, duration_ms, next_status, pause_seconds)
    ), mine AS (
        UPDATE deliveries d
        SET status = CASE d.status WHEN 'DELIVERED' THEN 'DELIVERED' ELSE g.next_status END,
            due_at = coalesce(now() + g.pause_seconds * interval '1 second', d.due_at),
            delivered_at = coalesce(d.delivered_at, CASE WHEN g.delivered THEN now() END),
            lease_until = NULL,
            updated_at = now()
        FROM given g
        WHERE d.merchant_id = g.merchant_id AND d.id = g.id AND d.token = g.token
          AND d.lease_until IS NOT NULL
        RETURNING g.*
    )
    UPDATE delivery_attempts a
    SET finished_at = now(),
        outcome = CASE WHEN m.delivered THEN 'delivered' ELSE 'failed' END,
        url = m.url, request_headers = m.request_headers, http_status = m.http_status,
        response_body = m.response_body, error = m.error, duration_ms = m.duration_ms
    FROM mine m
    WHERE a.merchant_id = m.merchant_id AND a.delivery_id = m.id AND a.token = m.token
      AND a.finished_at IS NULL
    RETURNING a.delivery_id
""")


def record(ended: Sequence[EndedAttempt]) -> set[str]:
    """Closes the attempts and moves their deliveries on; the ids of those that no other worker has taken over."""
    columns: dict[str, list[Any]] = {
        "merchant_id": [one.claimed.merchant_id for one in ended],
        "id": [one.claimed.id for one in ended],
        "token": [one.claimed.token for one in ended],
    }
    for name in (field.name for field in fields(FinishedAttempt)):
        columns[name] = [getattr(one.finished, name) for one in ended]
    return {row["delivery_id"] for row in fetch_all(_RECORD, columns)}


def give_back(claimed: ClaimedDelivery) -> bool:
    """Ends an attempt that was not begun: lost, and due again in a second."""
    closed = execute(
        """
        WITH mine AS (
            UPDATE deliveries
            SET status = CASE status WHEN 'DELIVERED' THEN 'DELIVERED' ELSE 'PENDING' END,
                due_at = now() + interval '1 second',
                lost_count = lost_count + 1, lease_until = NULL, updated_at = now()
            WHERE merchant_id = %(merchant_id)s AND id = %(id)s AND token = %(token)s
              AND lease_until IS NOT NULL
            RETURNING merchant_id, id, token
        )
        UPDATE delivery_attempts a
        SET finished_at = now(), outcome = 'lost', error = 'given back before it was sent'
        FROM mine m
        WHERE a.merchant_id = m.merchant_id AND a.delivery_id = m.id AND a.token = m.token
          AND a.finished_at IS NULL
        """,
        {"merchant_id": claimed.merchant_id, "id": claimed.id, "token": claimed.token},
    )
    return closed == 1


def close_dead_resends(*, limit: int) -> int:
    """Closes attempts of workers that died while they sent a delivered event again; how many.

    Those of undelivered events are closed by the claim that takes over.
    """
    return execute(
        """
        WITH dead AS (
            SELECT merchant_id, id FROM deliveries
            WHERE status IN ('DELIVERED', 'FAILED')
              AND lease_until IS NOT NULL AND lease_until < now()
            LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ), freed AS (
            UPDATE deliveries d
            SET lease_until = NULL, lost_count = lost_count + 1, updated_at = now()
            FROM dead WHERE d.merchant_id = dead.merchant_id AND d.id = dead.id
            RETURNING d.merchant_id, d.id
        )
        UPDATE delivery_attempts a
        SET outcome = 'lost', finished_at = now(),
            error = 'the worker ended before it could record the attempt'
        FROM freed d
        WHERE a.merchant_id = d.merchant_id AND a.delivery_id = d.id AND a.finished_at IS NULL
        """,
        {"limit": limit},
    )


def is_any_recorded(claimed: Sequence[ClaimedDelivery]) -> bool:
    """Whether the end of one of these claims' attempts has been recorded."""
    row = fetch_one(
        """
        SELECT 1 FROM delivery_attempts a
        JOIN unnest(%s::text[], %s::text[], %s::integer[]) AS c (merchant_id, delivery_id, number)
          ON a.merchant_id = c.merchant_id AND a.delivery_id = c.delivery_id AND a.number = c.number
        WHERE a.outcome <> 'lost' LIMIT 1
        """,
        (
            [one.merchant_id for one in claimed],
            [one.id for one in claimed],
            [one.attempt_number for one in claimed],
        ),
    )
    return row is not None


def find_id(merchant_id: str, subject_id: str, resulting_status: str) -> str | None:
    """The delivery that tells this status of an order or refund."""
    row = fetch_one(
        """
        SELECT id FROM deliveries
        WHERE merchant_id = %s AND subject_id = %s AND resulting_status = %s
        """,
        (merchant_id, subject_id, resulting_status),
    )
    return None if row is None else str(row["id"])


def _claimed(row: Row) -> ClaimedDelivery:
    return ClaimedDelivery(
        merchant_id=row["merchant_id"],
        id=row["id"],
        order_id=row["order_id"],
        refund_id=row["refund_id"],
        event=row["event"],
        body=bytes(row["body"]),
        token=row["token"],
        attempt_number=row["attempt_count"],
        attempts=row["attempt_count"] - row["lost_count"],
        order_callback_url=row["callback_url"],
        merchant_version=row["merchant_version"],
    )
