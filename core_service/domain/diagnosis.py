"""Why an order is not paid, or how it came to be: findings from facts, the most telling one first.

Codes only; pages say them in words. A finding never guesses: each rests on something that was recorded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from core_service.domain.payment_order import EXPIRY_GRACE_SECONDS, OPEN_STATUSES, OrderStatus

NOT_EXIST = "NOT_EXIST"
"""The provider's word for a payment that it does not know: the payer has not opened its cashier."""
CLOCK_REASONS = frozenset({"timestamp_expired"})
"""Why a genuine message may be refused when this machine's clock is wrong."""
_STUCK_AFTER = timedelta(minutes=5)


@dataclass(frozen=True)
class Finding:
    """A code and the facts that it rests on, as text."""

    code: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Rejection:
    """Notifications that were refused for one reason."""

    reason: str
    count: int
    last_at: datetime


@dataclass(frozen=True)
class PaymentStory:
    """What is known about an order's payment."""

    status: str
    late: bool
    has_checkout: bool
    expire_at: datetime
    paid_at: datetime | None
    first_seen_by: str | None
    """Cause of the event that brought the money."""
    ended_by: str | None
    """Cause of the event that ended the order."""
    ended_by_actor: str | None
    failure_code: str | None
    failure_message: str | None
    asked_at: datetime | None
    ask_answer: str | None
    ask_failure: str | None
    ask_at: datetime | None
    mismatches: tuple[str, ...]
    """What was paid instead."""
    rejections: tuple[Rejection, ...]
    account_name: str
    account_enabled: bool


def diagnose(story: PaymentStory, *, now: datetime) -> list[Finding]:
    """The findings; never empty."""
    found = [_main(story, now)]
    if story.status != OrderStatus.SUCCEEDED:
        found += _more(story)
    return found


def _main(story: PaymentStory, now: datetime) -> Finding:
    if story.status in OPEN_STATUSES:
        return _open(story, now)
    if story.status == OrderStatus.SUCCEEDED:
        code = "PAID_LATE" if story.late else "PAID"
        return _finding(code, at=story.paid_at, firstSeenBy=story.first_seen_by)
    if story.status == OrderStatus.FAILED:
        return _finding(
            "PROVIDER_REFUSED", providerCode=story.failure_code, message=story.failure_message
        )
    if story.ended_by == "expiry":
        return _finding("EXPIRED", at=story.expire_at)
    if story.ended_by == "close":
        return _finding("CLOSED", by=story.ended_by_actor)
    return _finding("CLOSED_AT_PROVIDER", firstSeenBy=story.ended_by)


def _open(story: PaymentStory, now: datetime) -> Finding:
    over = story.expire_at + timedelta(seconds=EXPIRY_GRACE_SECONDS)
    if now >= over + _STUCK_AFTER:
        return _finding("STUCK", since=over)
    if now >= story.expire_at:
        return _finding("EXPIRING", at=story.expire_at)
    if not story.has_checkout:
        return _finding("NO_CHECKOUT", until=story.expire_at)
    if story.ask_answer is not None and story.ask_answer.endswith(NOT_EXIST):
        return _finding("NEVER_OPENED", until=story.expire_at)
    return _finding("WAITING_FOR_PAYER", until=story.expire_at)


def _more(story: PaymentStory) -> Iterator[Finding]:
    for paid in story.mismatches:
        yield _finding("AMOUNT_MISMATCH", paid=paid)
    for rejection in story.rejections:
        code = "CLOCK_SKEW" if rejection.reason in CLOCK_REASONS else "NOTIFICATIONS_REJECTED"
        yield _finding(
            code, reason=rejection.reason, count=str(rejection.count), lastAt=rejection.last_at
        )
    if not story.account_enabled:
        yield _finding("ACCOUNT_DISABLED", account=story.account_name)
    if story.ask_failure is not None:
        yield _finding("PROVIDER_SILENT", at=story.asked_at, failure=story.ask_failure)
    elif story.asked_at is not None:
        yield _finding("PROVIDER_SAID", at=story.asked_at, answer=story.ask_answer)
    else:
        yield _finding("NEVER_ASKED")
    if story.ask_at is not None:
        yield _finding("ASKED_NEXT", at=story.ask_at)


def _finding(code: str, **facts: str | datetime | None) -> Finding:
    return Finding(
        code,
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in facts.items()
            if value is not None
        },
    )
