"""One attempt to tell a merchant something: claim, send, record.

The three steps are never in one transaction: the claim commits a lease and an open attempt row;
sending holds neither a transaction nor a connection; the record is guarded by the claim's token, and
claims of other deliveries may be in its transaction. A worker that dies in between loses its lease,
and the delivery is claimed again: at least once, the same body and id each time.

The merchant's secret and address are at least as new as the claim. When callbacks have been switched
off since the event, or there is no address any more, the attempt fails without a request and is
tried again like any other: switched on again within the three days, everything is still told;
afterwards the delivery is FAILED and can be sent by hand.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from core_service import metrics, tracing
from core_service.application import merchant_cache, system_config
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.domain import callback
from core_service.domain.callback import DeliveryStatus
from core_service.errors import CoreError, Family
from core_service.failpoints import failpoint
from core_service.outbound_http import CallbackClient, IPNetwork, OutboundError
from core_service.storage import callbacks as deliveries
from core_service.storage.callbacks import ClaimedDelivery, EndedAttempt, FinishedAttempt
from core_service.storage.database import connection_scope, transact

IN_FLIGHT_PER_MERCHANT = 8
KEPT_ANSWER_BYTES = 4096
LEASE_MARGIN_SECONDS = 15.0
"""What a lease lasts beyond the request's time limit, for reading before it and recording after."""
RECORD_MARGIN_SECONDS = 5.0
"""What must be left of a lease after the longest possible request, else it is not begun."""
RECORD_PAUSE_SECONDS = 0.5
"""Between two tries to record while the database is away."""

_log = structlog.get_logger(__name__)
_client: CallbackClient | None = None


def configure(allowed_networks: Sequence[IPNetwork]) -> None:
    """Makes the client; `allowed_networks` may be called although they are not public."""
    global _client  # noqa: PLW0603 (one client per process)
    if _client is not None:
        _client.close()
    _client = CallbackClient(allowed_networks)


@dataclass(frozen=True)
class Attempt:
    """A claimed delivery on its way: how long it may take, until when (monotonic) it is ours."""

    claimed: ClaimedDelivery
    timeout_seconds: float
    lease_ends: float


@dataclass(frozen=True)
class Made:
    """An attempt that has been made and is recorded while its lease lasts."""

    ended: EndedAttempt
    lease_ends: float


@dataclass(frozen=True)
class AttemptResult:
    """What an attempt came to; `error_message` says in a sentence why it was not delivered."""

    delivered: bool
    http_status: int | None
    error_message: str | None


@dataclass(frozen=True)
class Posted:
    """A merchant's answer, or why there is none."""

    http_status: int | None
    retry_after: str | None
    body: bytes | None
    """The first 4 KiB."""
    error: str | None
    duration_ms: int


def claim_due(limit: int, after: str = "", made: Sequence[Made] = ()) -> list[Attempt]:
    """Claims up to `limit` due deliveries, by turns from the merchant behind `after`; each is sent or given back.

    Records `made` in the same transaction: both stand, or neither does.
    """
    timeout = system_config.current().callback_timeout_ms / 1000
    lease = timeout + LEASE_MARGIN_SECONDS
    lease_ends = time.monotonic() + lease
    ended = [one.ended for one in made]

    def work() -> tuple[set[str], list[ClaimedDelivery]]:
        recorded = deliveries.record(ended) if ended else set()
        claimed = deliveries.claim_due(
            limit=limit,
            in_flight_per_merchant=IN_FLIGHT_PER_MERCHANT,
            lease_seconds=lease,
            after=after,
        )
        return recorded, claimed

    recorded, claimed = transact(work, committed=_is_recorded(ended) if ended else None)
    _tell(made, recorded)
    if claimed:
        failpoint("d1")
    return [Attempt(one, timeout, lease_ends) for one in claimed]


def claim_one(
    take: Callable[[float], ClaimedDelivery | None], timeout_seconds: float
) -> Attempt | None:
    """Claims what `take` takes, in one transaction, given the seconds that the lease lasts."""
    lease = timeout_seconds + LEASE_MARGIN_SECONDS
    lease_ends = time.monotonic() + lease
    claimed = transact(lambda: take(lease))
    if claimed is None:
        return None
    failpoint("d1")
    return Attempt(claimed, timeout_seconds, lease_ends)


def send(attempt: Attempt) -> AttemptResult | None:
    """Makes the attempt and records it; None when it was given back without being made."""
    made = make(attempt)
    if made is None:
        return None
    record([made])
    finished = made.ended.finished
    return AttemptResult(finished.delivered, finished.http_status, finished.error)


def make(attempt: Attempt) -> Made | None:
    """Makes the attempt, which `record` then records; None when it was given back instead."""
    last_start = attempt.lease_ends - attempt.timeout_seconds - RECORD_MARGIN_SECONDS
    try:
        merchant = _merchant_of(attempt.claimed)
    except CoreError as refusal:
        if refusal.family is not Family.UNAVAILABLE:
            raise
        give_back(attempt)
        return None
    if time.monotonic() > last_start:
        give_back(attempt)
        return None
    with tracing.calling("callback attempt") as span:
        try:
            finished = _post(attempt, merchant)
        except Exception as problem:  # noqa: BLE001 (logged, and recorded as what it is)
            # Counted like any other: what is not recorded would be sent again for ever.
            _log.exception("callback_attempt_failed", delivery_id=attempt.claimed.id)
            finished = _finished(
                attempt.claimed, error=f"NovaPay's own failure: {type(problem).__name__}"
            )
        failpoint("d3")
        span.say(
            failed=not finished.delivered,
            status=finished.http_status,
            outcome=_outcome(finished),
            merchant=merchant.facts.code,
            order_id=attempt.claimed.order_id,
            delivery_id=attempt.claimed.id,
        )
    return Made(EndedAttempt(attempt.claimed, finished), attempt.lease_ends)


def record(made: Sequence[Made]) -> None:
    """Records attempts together; waits for a database that is away as long as their leases last.

    One that is not recorded is another worker's business now, and its merchant will get one repeat.
    """
    _tell(made, _recorded(made))


def _tell(made: Sequence[Made], recorded: set[str]) -> None:
    """What became of attempts: for the log and the metrics."""
    if recorded:
        failpoint("d4")
    for one in made:
        claimed, finished = one.ended.claimed, one.ended.finished
        _log_attempt(claimed, finished, recorded=claimed.id in recorded)
        metrics.callback_attempt(_outcome(finished), finished.duration_ms / 1000)


def _merchant_of(claimed: ClaimedDelivery) -> MerchantSnapshot:
    known = merchant_cache.at_least(claimed.merchant_id, claimed.merchant_version)
    if known is not None:
        return known
    with connection_scope():
        return merchant_cache.by_id(claimed.merchant_id)


def give_back(attempt: Attempt) -> None:
    """Lets another worker have a delivery that was claimed and not begun."""
    try:
        with connection_scope():
            transact(lambda: deliveries.give_back(attempt.claimed))
    except CoreError as refusal:
        # The lease ends by itself.
        _log.warning(
            "callback_not_given_back", delivery_id=attempt.claimed.id, reason=refusal.reason
        )


def _post(attempt: Attempt, merchant: MerchantSnapshot) -> FinishedAttempt:
    claimed = attempt.claimed
    url = callback.callback_address(claimed.order_callback_url, merchant.facts, claimed.event)
    if url is None:
        return _finished(claimed, error="callbacks are switched off, or there is no address")
    now = datetime.now(UTC)
    headers = callback.signed_headers(
        callback.Envelope(claimed.id, claimed.event, claimed.order_id, merchant.facts.code),
        claimed.body,
        merchant.signing_secrets(now),
        now=now,
    )
    failpoint("d2")
    answer = post(
        url,
        headers,
        claimed.body,
        timeout_seconds=attempt.timeout_seconds,
        merchant_id=claimed.merchant_id,
    )
    return _finished(
        claimed,
        url=url,
        headers=headers,
        http_status=answer.http_status,
        retry_after=answer.retry_after,
        response_body=answer.body,
        error=answer.error,
        duration_ms=answer.duration_ms,
    )


def post(
    url: str, headers: Mapping[str, str], body: bytes, *, timeout_seconds: float, merchant_id: str
) -> Posted:
    """Sends one request to a merchant and says what came of it."""
    assert _client is not None, "configure() comes first"
    started = time.monotonic()
    try:
        answer = _client.request(
            "POST",
            url,
            headers=headers,
            body=body,
            timeout_seconds=timeout_seconds,
            share=merchant_id,
        )
    except (OutboundError, ValueError) as problem:
        # ValueError: an address that was accepted by older rules.
        milliseconds = int((time.monotonic() - started) * 1000)
        return Posted(None, None, None, str(problem), milliseconds)
    return Posted(
        answer.status,
        answer.headers.get("retry-after"),
        answer.body[:KEPT_ANSWER_BYTES],
        None,
        answer.duration_ms,
    )


def _finished(
    claimed: ClaimedDelivery,
    *,
    url: str | None = None,
    headers: Mapping[str, str] | None = None,
    http_status: int | None = None,
    retry_after: str | None = None,
    response_body: bytes | None = None,
    error: str | None = None,
    duration_ms: int = 0,
) -> FinishedAttempt:
    config = system_config.current()
    verdict = callback.judge_attempt(
        callback.RetryPolicy(config.callback_retry_interval_seconds, config.callback_max_attempts),
        http_status=http_status,
        retry_after=retry_after,
        attempts=claimed.attempts,
        now=datetime.now(UTC),
        chance=random.random,
    )
    delivered = verdict.status is DeliveryStatus.DELIVERED
    if http_status is not None and not delivered:
        error = f"the merchant answered {http_status}"
    return FinishedAttempt(
        delivered=delivered,
        url=url,
        request_headers=json.dumps(dict(headers)) if headers is not None else None,
        http_status=http_status,
        response_body=response_body,
        error=error,
        duration_ms=duration_ms,
        next_status=verdict.status,
        pause_seconds=verdict.pause_seconds,
    )


def _recorded(made: Sequence[Made]) -> set[str]:
    """Records them; the ids of the deliveries that no other worker has taken over."""
    while made:
        try:
            return _record_now([one.ended for one in made])
        except CoreError as refusal:
            if refusal.family is not Family.UNAVAILABLE:
                raise
        time.sleep(RECORD_PAUSE_SECONDS)
        made = [one for one in made if time.monotonic() <= one.lease_ends]
    return set()


def _record_now(ended: Sequence[EndedAttempt]) -> set[str]:
    with connection_scope():
        return transact(lambda: deliveries.record(ended), committed=_is_recorded(ended))


def _is_recorded(ended: Sequence[EndedAttempt]) -> Callable[[], bool]:
    return lambda: deliveries.is_any_recorded([one.claimed for one in ended])


def _outcome(finished: FinishedAttempt) -> str:
    return "delivered" if finished.delivered else "failed"


def _log_attempt(claimed: ClaimedDelivery, finished: FinishedAttempt, *, recorded: bool) -> None:
    _log.info(
        "callback_attempt",
        merchant_id=claimed.merchant_id,
        order_id=claimed.order_id,
        refund_id=claimed.refund_id,
        delivery_id=claimed.id,
        event_type=claimed.event,
        attempt=claimed.attempt_number,
        delivered=finished.delivered,
        http_status=finished.http_status,
        error=finished.error,
        duration_ms=finished.duration_ms,
        next_status=finished.next_status,
        recorded=recorded,
    )
