"""Signatures and what they cover: merchants' requests to us, our callbacks to merchants.

Everything a stranger sends is bytes until its form was checked; comparisons are constant-time.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from datetime import datetime

KEY_ID_PREFIX = "npk_"
SECRET_PREFIX = "nps_"  # noqa: S105 (a marker, no secret)
WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105

LARGEST_MAX_AGE_SECONDS = 3600
"""No setting may allow an older signature; nonces are remembered for this long."""

_SECONDS = re.compile(rb"[0-9]{10}")
_MILLISECONDS = re.compile(rb"[0-9]{13}")
_RFC_3339 = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    rb"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_KEY_ID = re.compile(rb"[A-Za-z0-9_]{5,64}")
_NONCE = re.compile(rb"[A-Za-z0-9._:-]{8,128}")
_SIGNATURE = re.compile(rb"[0-9A-Fa-f]{64}")


def new_key_id() -> str:
    """`npk_` and 24 characters; not secret."""
    return KEY_ID_PREFIX + secrets.token_hex(12)


def new_secret() -> str:
    """`nps_` and 256 random bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def parse_timestamp(text: bytes) -> float | None:
    """Unix seconds of `x-novapay-timestamp`; None when it has none of the three forms.

    The grammar is strict because the text is signed as it stands, with a dot behind it: a looser
    one would let an attacker move that dot between timestamp and nonce.
    """
    if _SECONDS.fullmatch(text):
        return float(text)
    if _MILLISECONDS.fullmatch(text):
        return int(text) / 1000
    if not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.decode("ascii").upper()).timestamp()
    except ValueError:  # the 31st of February, second 60, offset +99:00
        return None


def is_key_id(text: bytes) -> bool:
    """Whether a key id can look like this."""
    return _KEY_ID.fullmatch(text) is not None


def is_nonce(text: bytes) -> bool:
    """Whether this is a nonce: 8 to 128 characters of `A-Za-z0-9._:-`."""
    return _NONCE.fullmatch(text) is not None


def request_signature(secret: bytes, timestamp: bytes, nonce: bytes, body: bytes) -> bytes:
    """The digest of `{timestamp}.{nonce}.{body}` that a merchant sends in hex."""
    return hmac.digest(secret, b".".join((timestamp, nonce, body)), "sha256")


def matches_hex(digest: bytes, signature: bytes) -> bool:
    """Whether `signature` is `digest` in 64 hex digits, upper or lower case."""
    if not _SIGNATURE.fullmatch(signature):
        return False
    return hmac.compare_digest(digest, bytes.fromhex(signature.decode("ascii")))


def callback_signature(secret: str, timestamp: str, body: bytes) -> str:
    """`x-novapay-signature` of a callback: hex over `{timestamp}.{body}`."""
    message = timestamp.encode() + b"." + body
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def standard_webhooks_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`webhook-signature` of the Standard Webhooks specification: `v1,` and base64.

    `timestamp` is in Unix seconds. The key of a secret `whsec_…` is the decoded base64 behind the
    prefix; any other secret is used by its UTF-8 bytes.
    """
    message = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(_webhook_key(secret), message, "sha256")
    return "v1," + base64.b64encode(digest).decode("ascii")


def _webhook_key(secret: str) -> bytes:
    if secret.startswith(WEBHOOK_SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(WEBHOOK_SECRET_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
