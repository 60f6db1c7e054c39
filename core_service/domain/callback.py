"""Merchant callbacks as rules: who is told what, how it is signed, when it is tried again.

An event's body is made once, when the event happens, and is the same bytes in every attempt;
headers are made anew for each attempt, because they carry the time and are signed with the secret
of that moment (contract section 6).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Protocol

from core_service.domain.signature import callback_signature, standard_webhooks_signature

ORDER_UPDATED = "payment.order.updated"
REFUND_UPDATED = "payment.refund.updated"
MERCHANT_TEST = "merchant.test"

TERMINAL_ORDER_STATUSES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
TERMINAL_REFUND_STATUSES = frozenset({"SUCCEEDED", "FAILED"})

PAUSE_FACTOR = 3.0
LONGEST_PAUSE_SECONDS = 12 * 3600
JITTER = 0.2

_DELAY_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class OrderFacts(Protocol):
    """What the body tells about an order: columns of payment_orders."""

    @property
    def id(self) -> str: ...
    @property
    def external_order_id(self) -> str: ...
    @property
    def channel_code(self) -> str: ...
    @property
    def amount_fen(self) -> int: ...
    @property
    def currency(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def gateway_order_id(self) -> str | None: ...
    @property
    def provider_status(self) -> str | None: ...
    @property
    def paid_at(self) -> datetime | None: ...
    @property
    def completed_at(self) -> datetime | None: ...
    @property
    def metadata(self) -> str | None: ...


class RefundFacts(Protocol):
    """What the body tells about a refund: columns of refunds."""

    @property
    def id(self) -> str: ...
    @property
    def external_refund_id(self) -> str: ...
    @property
    def amount_fen(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def provider_refund_id(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def refunded_at(self) -> datetime | None: ...
    @property
    def metadata(self) -> str | None: ...


class Addressee(Protocol):
    """What decides whether and where a merchant is told: columns of merchants."""

    @property
    def callback_base(self) -> str | None: ...
    @property
    def callback_enabled(self) -> bool: ...
    @property
    def refund_callback_enabled(self) -> bool: ...


def callback_address(order_callback_url: str | None, merchant: Addressee, event: str) -> str | None:
    """The order's own address, else the merchant's; None when the event is not wanted."""
    if not merchant.callback_enabled:
        return None
    if event == REFUND_UPDATED and not merchant.refund_callback_enabled:
        return None
    return order_callback_url or merchant.callback_base or None


class _RawJson(str):
    """JSON text that goes into a body exactly as it is."""

    __slots__ = ()


def order_body(order: OrderFacts, merchant_code: str) -> bytes:
    """Body of `payment.order.updated`: compact UTF-8 JSON, the same bytes for the same facts."""
    return _json({"event": ORDER_UPDATED, "order": _order_json(order, merchant_code)}).encode()


def refund_body(refund: RefundFacts, order: OrderFacts, merchant_code: str) -> bytes:
    """Body of `payment.refund.updated`: the refund, and its order as the order event tells it."""
    refund_json = _json(
        {
            "id": refund.id,
            "merchantCode": merchant_code,
            "paymentOrderId": order.id,
            "externalOrderId": order.external_order_id,
            "externalRefundId": refund.external_refund_id,
            "channelCode": order.channel_code,
            "amount": _yuan(refund.amount_fen),
            "currency": order.currency,
            "status": refund.status,
            "providerRefundId": refund.provider_refund_id,
            "reason": refund.reason,
            "refundedAt": _time(refund.refunded_at),
            "metadata": _raw(refund.metadata),
        }
    )
    members = {
        "event": REFUND_UPDATED,
        "refund": refund_json,
        "order": _order_json(order, merchant_code),
    }
    return _json(members).encode()


def _order_json(order: OrderFacts, merchant_code: str) -> _RawJson:
    return _json(
        {
            "id": order.id,
            "merchantCode": merchant_code,
            "externalOrderId": order.external_order_id,
            "channelCode": order.channel_code,
            "amount": _yuan(order.amount_fen),
            "currency": order.currency,
            "status": order.status,
            "gatewayOrderId": order.gateway_order_id,
            "providerStatus": order.provider_status,
            "paidAt": _time(order.paid_at),
            "completedAt": _time(order.completed_at),
            "metadata": _raw(order.metadata),
        }
    )


def _json(members: Mapping[str, str | None]) -> _RawJson:
    """One object, written by hand: merchants' metadata must not be parsed, numbers would change."""
    return _RawJson(
        "{" + ",".join(f'"{name}":{_value(value)}' for name, value in members.items()) + "}"
    )


def _value(value: str | None) -> str:
    return value if isinstance(value, _RawJson) else json.dumps(value, ensure_ascii=False)


def _raw(text: str | None) -> _RawJson | None:
    return None if text is None else _RawJson(text)


def _yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def _time(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds and Z."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@dataclass(frozen=True)
class Envelope:
    """What the headers say beside the body; the delivery id is the same in all attempts."""

    delivery_id: str
    event: str
    order_id: str | None
    """None: the event is about no order."""
    merchant_code: str


def signed_headers(
    envelope: Envelope, body: bytes, secrets: tuple[str, ...], *, now: datetime
) -> dict[str, str]:
    """Headers of one attempt, signed in both formats: NovaPay's own and Standard Webhooks.

    `secrets`: the merchant's secret, and behind it the one before while both are in use. Standard
    Webhooks takes a signature with each; `x-novapay-signature` is made with the first alone.
    """
    timestamp = _time(now) or ""
    seconds = int(now.timestamp())
    order = {} if envelope.order_id is None else {"x-novapay-order-id": envelope.order_id}
    return {
        "content-type": "application/json",
        "user-agent": "NovaPay",
        "x-novapay-event": envelope.event,
        **order,
        "x-novapay-merchant-code": envelope.merchant_code,
        "x-novapay-delivery-id": envelope.delivery_id,
        "x-novapay-timestamp": timestamp,
        "x-novapay-signature": callback_signature(secrets[0], timestamp, body),
        "webhook-id": envelope.delivery_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(
            standard_webhooks_signature(secret, envelope.delivery_id, seconds, body)
            for secret in secrets
        ),
    }


class DeliveryStatus(StrEnum):
    """PROCESSING: an attempt is under way, or the worker that made it died."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class RetryPolicy:
    """The settings CALLBACK_RETRY_INTERVAL_SECONDS and CALLBACK_MAX_ATTEMPTS."""

    first_pause_seconds: float
    max_attempts: int


@dataclass(frozen=True)
class Verdict:
    """What becomes of a delivery after an attempt; a pause only when it is tried again."""

    status: DeliveryStatus
    pause_seconds: float | None = None


def is_delivered(http_status: int | None) -> bool:
    """Whether an answer says that the merchant got it; None: no answer."""
    return http_status is not None and 200 <= http_status <= 299


def judge_attempt(
    policy: RetryPolicy,
    *,
    http_status: int | None,
    retry_after: str | None,
    attempts: int,
    now: datetime,
    chance: Callable[[], float],
) -> Verdict:
    """Decides what follows attempt number `attempts` (lost ones not counted).

    `http_status` None: no answer. `chance` gives a number in [0, 1) for the jitter.
    """
    if is_delivered(http_status):
        return Verdict(DeliveryStatus.DELIVERED)
    if attempts >= policy.max_attempts:
        return Verdict(DeliveryStatus.FAILED)
    pause = pause_seconds(policy, attempts) * (1 + JITTER * (2 * chance() - 1))
    wished = retry_after_seconds(retry_after, now=now)
    if wished is not None:
        pause = max(pause, min(wished, LONGEST_PAUSE_SECONDS))
    return Verdict(DeliveryStatus.PENDING, pause)


def pause_seconds(policy: RetryPolicy, attempts: int) -> float:
    """Pause after `attempts` attempts, before jitter: threefold each time, at most twelve hours."""
    # Past this exponent the pause is at its limit for any first pause of a second or more.
    exponent = min(attempts - 1, 10)
    return min(policy.first_pause_seconds * PAUSE_FACTOR**exponent, LONGEST_PAUSE_SECONDS)


def retry_after_seconds(text: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, a number or an HTTP date; None: nothing."""
    text = (text or "").strip()
    if _DELAY_SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
