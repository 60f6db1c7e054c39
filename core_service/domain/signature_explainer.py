"""Why a signature does not fit: the string to sign, the checks in their order, and common mistakes.

Nothing here gives a signature away: it only says what the caller's own signature fits.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from core_service.domain import signature

SHOWN_BYTES = 24
_BLANKS = b" \t"


@dataclass(frozen=True)
class Attempt:
    """A request as its sender believes to have sent it."""

    key_id: bytes
    timestamp: bytes
    nonce: bytes
    signature: bytes
    body: bytes

    def trimmed(self) -> "Attempt":
        """Headers as they are compared."""
        return Attempt(
            self.key_id.strip(_BLANKS),
            self.timestamp.strip(_BLANKS),
            self.nonce.strip(_BLANKS),
            self.signature.strip(_BLANKS),
            self.body,
        )

    @property
    def string_to_sign(self) -> bytes:
        """What the signature covers."""
        return b".".join((self.timestamp, self.nonce, self.body))


@dataclass(frozen=True)
class Difference:
    """Where two strings part."""

    position: int
    expected_length: int
    actual_length: int
    expected: bytes
    actual: bytes


def difference(expected: bytes, actual: bytes) -> Difference | None:
    """The first byte in which they differ and a few behind it; None: they are the same."""
    if expected == actual:
        return None
    pairs = zip(expected, actual, strict=False)
    shorter = min(len(expected), len(actual))
    position = next((index for index, (one, other) in enumerate(pairs) if one != other), shorter)
    until = position + SHOWN_BYTES
    return Difference(
        position, len(expected), len(actual), expected[position:until], actual[position:until]
    )


def body_names(body: bytes, merchant_code: str) -> tuple[bool, bool]:
    """Whether the body is a JSON object with a merchantCode, and whether it is this merchant's."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False, False
    named = value.get("merchantCode") if isinstance(value, dict) else None
    return isinstance(named, str) and bool(named), named == merchant_code


def findings(attempt: Attempt, secret: bytes, others: Mapping[str, bytes]) -> list[str]:
    """What a signature that does not fit fits instead. `others`: the merchant's other live keys."""
    return [name for name, digest in _candidates(attempt, secret, others) if _fits(attempt, digest)]


def _candidates(
    attempt: Attempt, secret: bytes, others: Mapping[str, bytes]
) -> Iterator[tuple[str, bytes]]:
    timestamp, nonce, body = attempt.timestamp, attempt.nonce, attempt.body
    whole = attempt.string_to_sign
    for other in others.values():
        yield "OTHER_KEY", hmac.digest(other, whole, "sha256")
    yield "SECRET_WITH_NEWLINE", hmac.digest(secret + b"\n", whole, "sha256")
    yield "SECRET_WITHOUT_PREFIX", hmac.digest(secret.partition(b"_")[2], whole, "sha256")
    yield "KEY_ID_AS_SECRET", hmac.digest(attempt.key_id, whole, "sha256")
    yield "BODY_ONLY", hmac.digest(secret, body, "sha256")
    yield "WITHOUT_NONCE", hmac.digest(secret, timestamp + b"." + body, "sha256")
    yield "NONCE_FIRST", hmac.digest(secret, b".".join((nonce, timestamp, body)), "sha256")
    yield "WITHOUT_DOTS", hmac.digest(secret, timestamp + nonce + body, "sha256")
    yield "EMPTY_BODY", signature.request_signature(secret, timestamp, nonce, b"")
    yield "BODY_WITH_NEWLINE", signature.request_signature(secret, timestamp, nonce, body + b"\n")
    yield "PLAIN_HASH", hashlib.sha256(secret + whole).digest()
    if body != body.strip():
        yield "BODY_TRIMMED", signature.request_signature(secret, timestamp, nonce, body.strip())
    for text in _other_spellings(body):
        yield "OTHER_JSON", signature.request_signature(secret, timestamp, nonce, text)


def _other_spellings(body: bytes) -> Iterator[bytes]:
    """The same JSON as usual libraries write it: what is signed is then serialised once more."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    for separators in ((",", ":"), (", ", ": ")):
        for is_ascii in (True, False):
            for is_sorted in (True, False):
                text = json.dumps(
                    value, separators=separators, ensure_ascii=is_ascii, sort_keys=is_sorted
                )
                yield text.encode("utf-8", "surrogatepass")


def _fits(attempt: Attempt, digest: bytes) -> bool:
    return signature.matches_hex(digest, attempt.signature)


def is_base64_of(digest: bytes, given: bytes) -> bool:
    """Whether a signature is right but for its spelling."""
    try:
        return hmac.compare_digest(base64.b64decode(given, validate=True), digest)
    except binascii.Error:
        return False
