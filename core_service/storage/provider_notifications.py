"""What providers sent to a known account, believed or not."""

from datetime import datetime

from core_service.domain.ids import new_id
from core_service.storage.database import Prepared, write

LONGEST_REJECTED_BODY = 8 * 1024


_KEEP = Prepared(
    "INSERT INTO provider_notifications (merchant_id, id, account_id, provider_event_id, "
    "order_id, refund_id, outcome, body, received_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


def keep(
    merchant_id: str, account_id: str, body: bytes, *, outcome: str, now: datetime, order_id: str | None = None,
    refund_id: str | None = None, event_id: str | None = None,
) -> None:  # fmt: skip
    """`outcome`: applied, nothing_new, or why it was not believed (then only the body's beginning is kept)."""
    is_believed = outcome in ("applied", "nothing_new")
    write(
        _KEEP,
        (merchant_id, new_id("ntf"), account_id, event_id, order_id, refund_id, outcome,
         body if is_believed else body[:LONGEST_REJECTED_BODY], now),
    )  # fmt: skip
