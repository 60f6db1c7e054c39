"""A merchant's callback address and secret: tried with a test event, and replaced with an overlap."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from core_service.application import callback_attempts, merchant_cache, system_config, throttle
from core_service.application.admin_values import merchant_by_code, time_text
from core_service.calls import Call
from core_service.domain import callback
from core_service.domain import merchant as rules
from core_service.domain.ids import new_id
from core_service.errors import FieldViolation, invalid_request
from core_service.storage import audit, merchants, sealed_places
from core_service.storage.database import transact
from core_service.storage.merchants import MerchantRow
from core_service.storage.secret_box import SecretBox

TESTS_AT_ONCE = 20
TEST_WINDOW = timedelta(minutes=10)
ANSWER_MARGIN_SECONDS = 1.0
"""What a test event keeps of its caller's time for recording and answering."""


@dataclass(frozen=True)
class TestCallback:
    """A test event as it went out, and what came back."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: str
    http_status: int | None
    response_body: bytes | None
    error: str | None
    duration_ms: int

    @property
    def delivered(self) -> bool:
        """Whether the merchant said yes."""
        return callback.is_delivered(self.http_status)


def send_test(call: Call, merchant_code: str, *, now: datetime) -> TestCallback:
    """Sends `merchant.test` once, signed like a real event; a 2xx confirms the address.

    Raises MERCHANT_NOT_FOUND, INVALID_REQUEST without an address, RATE_LIMITED and OVERLOADED.
    """
    merchant = merchant_cache.by_code(merchant_code)
    facts = merchant.facts
    url = facts.callback_base
    if not url:
        raise invalid_request(FieldViolation("callbackBase", "set the callback address first"))
    throttle.count_try(
        f"test-callback:{facts.id}", limit=TESTS_AT_ONCE, window=TEST_WINDOW, now=now
    )
    call.ensure_alive(2 * ANSWER_MARGIN_SECONDS)
    timeout = min(
        system_config.current().callback_timeout_ms / 1000,
        call.seconds_left() - ANSWER_MARGIN_SECONDS,
    )
    event_id = new_id("dlv")
    body = json.dumps(
        {
            "event": callback.MERCHANT_TEST,
            "merchant": {"code": facts.code, "name": facts.name},
            "sentAt": time_text(now),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    headers = callback.signed_headers(
        callback.Envelope(event_id, callback.MERCHANT_TEST, None, facts.code),
        body.encode(),
        merchant.signing_secrets(now),
        now=now,
    )
    answer = callback_attempts.post(
        url, headers, body.encode(), timeout_seconds=timeout, merchant_id=facts.id
    )
    result = TestCallback(
        url=url,
        headers=headers,
        body=body,
        http_status=answer.http_status,
        response_body=answer.body,
        error=answer.error,
        duration_ms=answer.duration_ms,
    )

    def record() -> None:
        if result.delivered:
            merchants.confirm_callback(facts.id, url, now=now)
        audit.record(
            call,
            action="merchant.test_callback",
            target=f"merchant:{facts.id}",
            before=None,
            after={"url": url, "httpStatus": result.http_status, "error": result.error},
        )

    transact(record)
    return result


def rotate_secret(
    call: Call, box: SecretBox, merchant_code: str, *, overlap: timedelta, now: datetime
) -> tuple[MerchantRow, str]:
    """A new secret, shown once; the one of now signs beside it for `overlap`.

    A third one that still overlapped ends. Raises MERCHANT_NOT_FOUND.
    """
    secret = rules.new_notify_secret()

    def write() -> MerchantRow:
        before = merchant_by_code(merchant_code, lock=True)
        previous, until = None, None
        if overlap:
            old = box.open(before.notify_secret_sealed, sealed_places.notify_secret(before.id))
            previous = box.seal(old, sealed_places.previous_notify_secret(before.id))
            until = now + overlap
        after = merchants.save(
            replace(
                before,
                notify_secret_sealed=box.seal(
                    secret.encode(), sealed_places.notify_secret(before.id)
                ),
                notify_secret_mask=rules.mask(secret),
                previous_notify_secret_sealed=previous,
                previous_notify_secret_until=until,
                updated_at=now,
            )
        )
        audit.record(
            call,
            action="merchant.rotate_notify_secret",
            target=f"merchant:{before.id}",
            before={"notifySecret": before.notify_secret_mask},
            after={
                "notifySecret": after.notify_secret_mask,
                "previousUntil": time_text(until),
            },
        )
        return after

    return transact(write), secret
