"""What a claim of deliveries reads, whatever the planner believes."""

from typing import Any

import pytest

from core_service.storage import callbacks, database
from tests import seeding

MERCHANTS, IN_FLIGHT = 8, 8
LIMITS: dict[str, Any] = {
    "limit": 10,
    "in_flight_per_merchant": IN_FLIGHT,
    "lease_seconds": 25.0,
    "after": "",
}

MANY = """
    INSERT INTO deliveries (merchant_id, id, order_id, subject_id, event, resulting_status, body, status, due_at,
                            created_at, updated_at)
    SELECT merchant_id, id || n || %(status)s, id, id || n, 'payment.order.updated', %(status)s, 'x', %(status)s, now(),
           now(), now()
    FROM payment_orders, generate_series(1, 100) AS n
"""


@pytest.mark.usefixtures("connection")
def test_a_claim_does_not_read_the_queue(core_database: str) -> None:
    """Nor what has left it: a queue outruns its statistics."""
    sellers = [seeding._seller() for _ in range(MERCHANTS)]
    seeding.seed(core_database, orders=40, sellers=sellers)
    for status in ("PENDING", "DELIVERED"):
        assert database.execute(MANY, {"status": status}) == 4000
    seen = database.transact(rows_read)
    assert sum(seen) > LIMITS["limit"]
    assert max(seen) <= MERCHANTS * IN_FLIGHT, seen


def rows_read() -> list[int]:
    """Of the table of deliveries, by each node of the plan of a claim."""
    database.execute(callbacks._AS_A_QUEUE)
    prepared = callbacks._CLAIM_DUE.for_connection(database.database.connection())
    row = database.fetch_one(f"EXPLAIN (ANALYZE, FORMAT JSON) {prepared}", LIMITS)
    assert row is not None
    nodes, seen = [row["QUERY PLAN"][0]["Plan"]], list[int]()
    while nodes:
        node: dict[str, Any] = nodes.pop()
        nodes += node.get("Plans", ())
        if node.get("Relation Name") == "deliveries" and "Scan" in node["Node Type"]:
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            seen.append(round(rows * node["Actual Loops"]))
    return seen
