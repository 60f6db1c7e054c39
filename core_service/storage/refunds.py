"""Refunds: guarded changes of status and appointments for asking."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core_service.storage.database import Prepared, Row, fetch_all, fetch_one, write


@dataclass(frozen=True)
class RefundRow:
    """A row of refunds."""

    merchant_id: str
    id: str
    order_id: str
    external_refund_id: str
    amount_fen: int
    fee_fen: int
    reason: str | None
    metadata: str | None
    status: str
    provider_status: str | None
    provider_refund_id: str | None
    failure_code: str | None
    failure_message: str | None
    refunded_at: datetime | None
    created_at: datetime
    updated_at: datetime
    ask_at: datetime | None
    ask_count: int
    ask_token: int
    ask_leased_until: datetime | None


_INSERT = Prepared("""
INSERT INTO refunds (merchant_id, id, order_id, external_refund_id, amount_fen, fee_fen, reason, metadata, status,
    created_at, updated_at, ask_at)
VALUES (%(merchant_id)s, %(id)s, %(order_id)s, %(external_refund_id)s, %(amount_fen)s, %(fee_fen)s, %(reason)s,
    %(metadata)s, 'PENDING', %(now)s, %(now)s, now() + make_interval(secs => %(ask_after)s))
ON CONFLICT (merchant_id, external_refund_id) DO NOTHING
RETURNING *
""")


def insert(values: dict[str, Any]) -> RefundRow | None:
    """A new refund; None when the merchant has this external refund id already."""
    return _refund(fetch_one(_INSERT, values))


def find_for_merchant(merchant_id: str, reference: str) -> RefundRow | None:
    """By NovaPay's id or the merchant's own, inside one merchant."""
    return _refund(
        fetch_one(
            "SELECT * FROM refunds WHERE merchant_id = %s AND (id = %s OR external_refund_id = %s) "
            "ORDER BY id = %s DESC LIMIT 1",
            (merchant_id, reference, reference, reference),
        )
    )


def find_by_external_id(merchant_id: str, external_refund_id: str) -> RefundRow | None:
    """By the merchant's own id."""
    return _refund(
        fetch_one(
            "SELECT * FROM refunds WHERE merchant_id = %s AND external_refund_id = %s",
            (merchant_id, external_refund_id),
        )
    )


_LOCK = Prepared("SELECT * FROM refunds WHERE merchant_id = %s AND id = %s FOR UPDATE")


def lock(merchant_id: str, refund_id: str) -> RefundRow | None:
    """The refund, held until the transaction ends; the order is locked before."""
    return _refund(fetch_one(_LOCK, (merchant_id, refund_id)))


def fees_of_order(merchant_id: str, order_id: str) -> int:
    """Fee that the order's refunds take back; failed ones do not count."""
    row = fetch_one(
        "SELECT coalesce(sum(fee_fen), 0)::bigint AS fees FROM refunds "
        "WHERE merchant_id = %s AND order_id = %s AND status <> 'FAILED'",
        (merchant_id, order_id),
    )
    assert row is not None
    return int(row["fees"])


@dataclass(frozen=True)
class RefundTransition:
    """A decided change of a refund with what the provider said."""

    status: str
    now: datetime
    ask_after: float | None
    """Seconds until the provider is asked, unless somebody is asking or will sooner; None: not any more."""
    provider_status: str | None = None
    provider_refund_id: str | None = None
    refunded_at: datetime | None = None
    failure_code: str | None = None
    failure_message: str | None = None


_TRANSITION = Prepared("""
UPDATE refunds SET status = %(status)s, provider_status = coalesce(%(provider_status)s, provider_status),
    provider_refund_id = coalesce(%(provider_refund_id)s, provider_refund_id), refunded_at = %(refunded_at)s,
    failure_code = %(failure_code)s, failure_message = %(failure_message)s, updated_at = %(now)s,
    ask_at = CASE WHEN %(ask_after)s::float8 IS NULL THEN NULL WHEN ask_leased_until IS NULL
        THEN least(ask_at, now() + make_interval(secs => %(ask_after)s)) ELSE ask_at END
WHERE merchant_id = %(merchant_id)s AND id = %(id)s AND status = %(before)s
RETURNING *
""")


def transition(refund: RefundRow, change: RefundTransition) -> RefundRow | None:
    """Moves the status if it is still what `refund` says; None when it is not."""
    parameters = {
        "merchant_id": refund.merchant_id,
        "id": refund.id,
        "before": refund.status,
        **change.__dict__,
    }
    return _refund(fetch_one(_TRANSITION, parameters))


_CLAIM_DUE = """
UPDATE refunds SET ask_at = now() + make_interval(secs => %(lease)s),
    ask_leased_until = now() + make_interval(secs => %(lease)s), ask_token = ask_token + 1, ask_count = ask_count + 1
WHERE (merchant_id, id) IN (
    SELECT merchant_id, id FROM refunds r
    WHERE ask_at <= now() AND (ask_leased_until IS NULL OR ask_leased_until <= now())
        AND EXISTS (
            SELECT FROM payment_orders o WHERE o.merchant_id = r.merchant_id AND o.id = r.order_id
            AND o.channel_code = coalesce(%(channel)s, o.channel_code) AND o.account_id <> ALL(%(resting)s))
    ORDER BY ask_at FOR UPDATE SKIP LOCKED LIMIT %(limit)s)
RETURNING *
"""


def claim_due(
    limit: int, *, lease_seconds: float, channel: str | None = None, resting: Sequence[str] = ()
) -> list[RefundRow]:
    """Refunds whose provider should be asked now; nobody else gets them until the lease is over.

    Those of the accounts that are `resting` stay due, and the others do not wait behind them.
    """
    parameters = {
        "limit": limit, "lease": lease_seconds, "channel": channel, "resting": list(resting)
    }  # fmt: skip
    return [RefundRow(**row) for row in fetch_all(_CLAIM_DUE, parameters)]


def set_next_ask(refund: RefundRow, ask_at: datetime, *, counts: bool = True) -> None:
    """Ends the lease of an open refund, unless it is somebody else's by now.

    The next appointment, or an earlier one that somebody made since the claim. A question that does not count is as
    good as not asked.
    """
    write(
        "UPDATE refunds SET ask_at = least(%s, nullif(ask_at, ask_leased_until)), ask_leased_until = NULL, "
        "ask_count = ask_count - %s WHERE merchant_id = %s AND id = %s AND ask_token = %s "
        "AND status IN ('PENDING', 'PROCESSING')",
        (ask_at, int(not counts), refund.merchant_id, refund.id, refund.ask_token),
    )


def may_send(refund: RefundRow, *, seconds: float) -> bool:
    """Whether the claim that `refund` came with still is the newest, for so long, and the refund open."""
    row = fetch_one(
        "SELECT 1 AS one FROM refunds WHERE merchant_id = %s AND id = %s AND ask_token = %s "
        "AND ask_leased_until >= now() + make_interval(secs => %s) AND status IN ('PENDING', 'PROCESSING')",
        (refund.merchant_id, refund.id, refund.ask_token, seconds),
    )
    return row is not None


def ask_open_refunds_now(merchant_id: str, order_id: str) -> None:
    """The provider hinted that money of this order went back. One that is PENDING is just being sent."""
    write(
        "UPDATE refunds SET ask_at = now() WHERE merchant_id = %s AND order_id = %s AND ask_at > now() "
        "AND status = 'PROCESSING'",
        (merchant_id, order_id),
    )


def _refund(row: Row | None) -> RefundRow | None:
    return RefundRow(**row) if row else None
