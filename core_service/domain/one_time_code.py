"""Time-based one-time codes (RFC 6238): SHA-1, six digits, steps of 30 seconds."""

import base64
import hmac
from urllib.parse import quote, urlencode

ISSUER = "NovaPay"
STEP_SECONDS = 30
DIGITS = 6


def code_at(key: bytes, step: int) -> str:
    """Six digits for one step since 1970."""
    digest = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def matching_step(key: bytes, code: str, unix_seconds: float) -> int | None:
    """Find the step that `code` belongs to: the current one or a neighbour; None: none of them."""
    current = int(unix_seconds) // STEP_SECONDS
    given = code.encode()
    found = None
    for step in (current - 1, current, current + 1):
        if hmac.compare_digest(code_at(key, step).encode(), given):
            found = step
    return found


def key_text(key: bytes) -> str:
    """The key as people type it into an authenticator: base32 without padding."""
    return base64.b32encode(key).decode().rstrip("=")


def key_uri(key: bytes, account: str) -> str:
    """What authenticators read from a QR code (the Key Uri Format that they share)."""
    label = quote(f"{ISSUER}:{account}", safe="")
    return f"otpauth://totp/{label}?{urlencode({'secret': key_text(key), 'issuer': ISSUER})}"
