"""What checks of accounts share: the private key, and the provider's clock."""

import secrets
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from core_service.domain.account_check import Code, Finding, clock_finding
from core_service.domain.ids import new_id
from core_service.outbound_http import Answer, Deadline
from core_service.providers.keys import sign, verify


def unknown_order_id() -> str:
    """A number that no provider knows."""
    return new_id("po")


def private_key_finding(key: RSAPrivateKey, public: RSAPublicKey | None = None) -> Finding:
    """Signs something and verifies it with `public`, else with the key's own other half."""
    content = secrets.token_bytes(32)
    if verify(public or key.public_key(), sign(key, content), content):
        return Finding(Code.PRIVATE_KEY_GOOD)
    return Finding(Code.CONFIG_INVALID, {"field": "privateKey", "reason": "does not sign"})


def clock_findings(answer: Answer, *, now: datetime, deadline: Deadline) -> list[Finding]:
    """Our clock beside the one of whoever answered just now; none when the answer has no time.

    `now` is when `deadline` began.
    """
    try:
        theirs = parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        return []
    # The answer was written somewhere between the request and now.
    ours = now + timedelta(milliseconds=deadline.elapsed_ms() - answer.duration_ms / 2)
    return [clock_finding(ours - theirs)]
