"""Deliveries (the outbox of merchant callbacks) and their attempts: every statement on these two tables.

Due times and leases are measured by the database's clock, so that workers on several machines agree about them.
"""

from dataclasses import dataclass
from datetime import datetime

from core_service.storage.database import execute


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


def insert(delivery: NewDelivery, *, now: datetime) -> bool:
    """Puts a delivery into the outbox, due at once; False when this status is there already."""
    return execute(
        """
        INSERT INTO deliveries (merchant_id, id, order_id, refund_id, subject_id, event, resulting_status, body,
                                status, due_at, created_at, updated_at)
        VALUES (%(merchant_id)s, %(id)s, %(order_id)s, %(refund_id)s, %(subject_id)s, %(event)s,
                %(resulting_status)s, %(body)s, 'PENDING', now(), %(now)s, %(now)s)
        ON CONFLICT (merchant_id, subject_id, resulting_status) DO NOTHING
        """,
        {**vars(delivery), "subject_id": delivery.subject_id, "now": now},
    ) == 1
