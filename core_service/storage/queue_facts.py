"""How long things wait: what the queues in the database look like from outside, each by one look at an index."""

from core_service.storage.database import fetch_all, fetch_one

_OLDEST = {
    "novapay_delivery_oldest_due_seconds": (
        "How long the merchant callback that waits longest has been due",
        """
        SELECT max(extract(epoch FROM now() - due_at)) AS seconds FROM deliveries
        WHERE status IN ('PENDING', 'PROCESSING') AND due_at <= now()
        """,
    ),
    "novapay_order_ask_oldest_due_seconds": (
        "How long the order that waits longest for a question to its provider has been due",
        """
        SELECT extract(epoch FROM now() - min(ask_at)) AS seconds FROM payment_orders
        WHERE ask_at <= now()
        """,
    ),
    "novapay_refund_ask_oldest_due_seconds": (
        "How long the refund that waits longest for a question to its provider has been due",
        "SELECT extract(epoch FROM now() - min(ask_at)) AS seconds FROM refunds WHERE ask_at <= now()",
    ),
}

Gauges = dict[str, tuple[str, dict[str, float]]]


def look() -> Gauges:
    """Gauge name → (help, value by kind); a queue in which nothing is due has waited 0 seconds."""
    found: Gauges = {}
    for name, (text, sql) in _OLDEST.items():
        row = fetch_one(sql)
        found[name] = (text, {"": float(row["seconds"] or 0) if row else 0.0})
    waiting = fetch_all(
        "SELECT status AS kind, count(*) AS count FROM deliveries "
        "WHERE status IN ('PENDING', 'PROCESSING') GROUP BY status"
    )
    found["novapay_deliveries_waiting"] = (
        "Merchant callbacks that have not been delivered yet",
        {
            "PENDING": 0.0,
            "PROCESSING": 0.0,
            **{row["kind"]: float(row["count"]) for row in waiting},
        },
    )
    open_now = fetch_all(
        "SELECT kind, count(*) AS count FROM anomalies WHERE resolved_at IS NULL GROUP BY kind"
    )
    found["novapay_anomalies_open"] = (
        "What a person should look at",
        {
            **dict.fromkeys(
                ("LATE_PAYMENT", "DUPLICATE_PAYMENT", "AMOUNT_MISMATCH", "REFUND_STUCK"), 0.0
            ),
            **{row["kind"]: float(row["count"]) for row in open_now},
        },
    )
    return found
