"""What must be true at the end of a schedule besides `tests/invariants.py`: histories and the others' books."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.simulation.counterparts import told_statuses
from tests.simulation.world import Entry, World


def broken_endings(world: World) -> list[str]:
    """Findings; everything is quiet."""
    return [
        *_refusals_had_no_effect(world),
        *_callbacks_were_true(world),
        *_attempts(world),
        *_nothing_is_stuck(world),
        *_times(world),
    ]


def _refusals_had_no_effect(world: World) -> Iterator[str]:
    """V18: whoever was only ever refused finds nothing done."""
    by_subject: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in world.history:
        request = entry.request
        by_subject[request.operation, request.merchant, request.name].append(entry)
    merchants = {merchant.id: name for name, merchant in world.ground.merchants.items()}
    rows = world.ground.window.rows
    done = {
        ("create", merchants[row["merchant_id"]], row["external_order_id"])
        for row in rows("SELECT merchant_id, external_order_id FROM payment_orders")
    }
    done |= {
        ("refund", merchants[row["merchant_id"]], row["external_refund_id"])
        for row in rows("SELECT merchant_id, external_refund_id FROM refunds")
    }
    done |= {
        ("close", merchants[row["merchant_id"]], row["external_order_id"])
        for row in rows(
            "SELECT o.merchant_id, o.external_order_id FROM payment_events e JOIN payment_orders o "
            "ON o.id = e.order_id WHERE e.cause = 'close' AND e.after_status = 'CANCELLED'"
        )
    }
    for subject in sorted(done):
        entries = by_subject.get(subject, [])
        if all(entry.had_no_effect for entry in entries):
            yield f"V18 {subject} was done though {[entry.outcome for entry in entries]}"


def _callbacks_were_true(world: World) -> Iterator[str]:
    """V11, and that id and body are the same in every attempt (V10)."""
    happened = {
        (row["refund_id"] or row["order_id"], row["after_status"])
        for row in world.ground.window.rows("SELECT * FROM payment_events")
    }
    owners = {
        row["id"]: row["code"]
        for row in world.ground.window.rows(
            "SELECT d.id, m.code FROM deliveries d JOIN merchants m ON m.id = d.merchant_id"
        )
    }
    bodies: dict[str, bytes] = {}
    for arrival, told in told_statuses(world.endpoints.arrivals):
        subject = told.get("refund") or told["order"]
        if (subject["id"], subject["status"]) not in happened:
            yield f"V11 {subject['id']} never was {subject['status']}"
        if not arrival.verifies or owners.get(arrival.delivery_id) != arrival.merchant_code:
            yield f"V11 {arrival.delivery_id} came to {arrival.merchant_code} with a wrong signature"
        if bodies.setdefault(arrival.delivery_id, arrival.body) != arrival.body:
            yield f"V10 {arrival.delivery_id} had two bodies"


def _attempts(world: World) -> Iterable[str]:
    """V10: attempts are numbered without a gap, closed once, and end with the delivery."""
    numbered = world.ground.window.rows(
        "SELECT d.id, d.attempt_count, array_agg(a.number ORDER BY a.number) AS numbers, "
        "count(*) FILTER (WHERE a.finished_at IS NULL) AS open FROM deliveries d JOIN delivery_attempts a "
        "ON (a.merchant_id, a.delivery_id) = (d.merchant_id, d.id) GROUP BY d.id, d.attempt_count"
    )
    for row in numbered:
        if row["numbers"] != list(range(1, row["attempt_count"] + 1)) or row["open"]:
            yield f"V10 {row}"
    repeated = world.ground.window.rows(
        "SELECT count(*) AS n FROM delivery_attempts a JOIN delivery_attempts earlier ON "
        "(a.merchant_id, a.delivery_id) = (earlier.merchant_id, earlier.delivery_id) "
        "AND earlier.number = a.number - 1 AND earlier.outcome = 'delivered'"
    )
    if repeated[0]["n"] > world.resends:
        yield f"V10 {repeated[0]['n']} attempts after delivery, {world.resends} asked for"


def _nothing_is_stuck(world: World) -> Iterable[str]:
    """V12, V22."""
    for what, sql in {
        "open order": "SELECT id, status FROM payment_orders WHERE status IN ('PENDING', 'PROCESSING')",
        "open refund": "SELECT id, status FROM refunds WHERE status IN ('PENDING', 'PROCESSING')",
        "undelivered": "SELECT id, status FROM deliveries WHERE status <> 'DELIVERED' "
        "AND attempt_count - lost_count < 8",
        "lease": "SELECT id FROM deliveries WHERE lease_until IS NOT NULL",
        "open transaction": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND state IN ('idle in transaction', 'idle in transaction (aborted)')",
    }.items():
        for row in world.ground.window.rows(sql):
            yield f"V12 {what}: {row}"


def _times(world: World) -> Iterable[str]:
    """V26: nothing is paid before it exists, nothing ends before it is paid, nothing expires before its time."""
    for row in world.ground.window.rows(
        "SELECT id, created_at, paid_at, completed_at FROM payment_orders "
        "WHERE paid_at < created_at OR completed_at < created_at"
    ):
        yield f"V26 {row}"
    for row in world.ground.window.rows(
        "SELECT o.id, e.at, o.expire_at FROM payment_orders o JOIN payment_events e ON e.order_id = o.id "
        "WHERE e.cause = 'expiry' AND e.at < o.expire_at"
    ):
        yield f"V26 {row}"
