"""How well merchants are told at the moment."""

from dataclasses import dataclass
from datetime import datetime

from core_service.storage.database import Row, fetch_all, fetch_one

MOST_COUNTED = 10_000
"""A longer queue is not counted to its end."""
MOST_FAILING = 20

_UNTOLD = "status IN ('PENDING', 'PROCESSING') AND (%(merchant_id)s::text IS NULL OR merchant_id = %(merchant_id)s)"


@dataclass(frozen=True)
class Queue:
    """What is not told yet."""

    size: int
    oldest_id: str | None
    oldest_at: datetime | None


@dataclass(frozen=True)
class FailingEndpoint:
    """A merchant whose callbacks fail now."""

    merchant_code: str
    undelivered: int
    oldest_at: datetime
    last_error: str | None


def queue_of(merchant_id: str | None) -> Queue:
    """The queue and its oldest delivery."""
    parameters = {"merchant_id": merchant_id, "most": MOST_COUNTED}
    size = fetch_one(
        f"SELECT count(*) AS n FROM (SELECT 1 FROM deliveries WHERE {_UNTOLD} LIMIT %(most)s) s",  # noqa: S608 (constants)
        parameters,
    )
    oldest = fetch_one(
        f"SELECT id, created_at FROM deliveries WHERE {_UNTOLD} ORDER BY id LIMIT 1",  # noqa: S608 (constants)
        parameters,
    )
    assert size is not None
    found: Row = oldest or {"id": None, "created_at": None}
    return Queue(int(size["n"]), found["id"], found["created_at"])


def failing_of(merchant_id: str | None) -> list[FailingEndpoint]:
    """Merchants with deliveries that were tried and not accepted, the most first."""
    rows = fetch_all(
        "SELECT m.code AS merchant_code, f.n AS undelivered, d.created_at AS oldest_at, ("  # noqa: S608 (constants)
        "  SELECT a.error FROM delivery_attempts a WHERE a.merchant_id = d.merchant_id AND a.delivery_id = d.id "
        "  AND a.finished_at IS NOT NULL ORDER BY a.number DESC LIMIT 1) AS last_error "
        "FROM (SELECT merchant_id, count(*) AS n, min(id) AS oldest_id FROM ("
        f"    SELECT merchant_id, id FROM deliveries WHERE {_UNTOLD} AND attempt_count > lost_count "
        "     AND (lease_until IS NULL OR attempt_count > 1) ORDER BY id LIMIT %(most)s) s"
        "  GROUP BY merchant_id ORDER BY n DESC, merchant_id LIMIT %(failing)s) f "
        "JOIN deliveries d ON d.merchant_id = f.merchant_id AND d.id = f.oldest_id "
        "JOIN merchants m ON m.id = f.merchant_id ORDER BY f.n DESC, m.code",
        {"merchant_id": merchant_id, "most": MOST_COUNTED, "failing": MOST_FAILING},
    )
    return [FailingEndpoint(**row) for row in rows]
