"""The keys WeChat Pay signs with for one merchant.

Platform certificates, its public key, or both at once. Certificates come from the account
configuration and from `GET /v3/certificates`. During a rotation the old and the new one are live
together, so new keys are added first and old ones go only when they expire.
"""

import base64
import binascii
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core_service.providers.keys import certificate_key, load_certificates
from core_service.providers.wire import parse_object

REFRESH_AGE = timedelta(hours=12)
REFRESH_PAUSE = timedelta(minutes=1)
PUBLIC_KEY_PREFIX = "PUB_KEY_ID_"

_ALGORITHM = "AEAD_AES_256_GCM"


class MessageRejected(Exception):
    """A message that must not be believed; `reason` is a stable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class TrustedKey:
    """A key and until when it counts; a public key without certificate has no end."""

    key: RSAPublicKey
    not_after: datetime | None = None


def certificate_serial(certificate: x509.Certificate) -> str:
    """As in Wechatpay-Serial: 40 upper-case hexadecimal digits with leading zeros."""
    return f"{certificate.serial_number:040X}"


def trusted_certificates(text: str) -> dict[str, TrustedKey]:
    """The certificates of a PEM text by serial. Raises ValueError."""
    return {
        certificate_serial(certificate): TrustedKey(
            certificate_key(certificate), certificate.not_valid_after_utc
        )
        for certificate in load_certificates(text)
    }


class PlatformKeys:
    """The trusted keys of one merchant.

    Changed by one refresh at a time, read without waiting.
    """

    def __init__(self, configured: Mapping[str, TrustedKey]) -> None:
        self._trusted = dict(configured)
        self._refreshed_at: datetime | None = None
        self._tried_at: datetime | None = None
        self.refreshing = threading.Lock()

    def find(self, serial: str, now: datetime) -> RSAPublicKey | None:
        """By the exact Wechatpay-Serial."""
        trusted = self._trusted.get(serial)
        if trusted is None or (trusted.not_after is not None and trusted.not_after < now):
            return None
        return trusted.key

    def serials(self) -> list[str]:
        """Of every key held now."""
        return list(self._trusted)

    def trusted(self) -> Mapping[str, TrustedKey]:
        """Every key held now, by serial."""
        return self._trusted

    def has_certificates(self) -> bool:
        """Whether one of the keys is a certificate's, which can be replaced."""
        return any(not serial.startswith(PUBLIC_KEY_PREFIX) for serial in self._trusted)

    def is_stale(self, now: datetime) -> bool:
        """Certificates are in use and were not looked up for half a day.

        Counted from the first question.
        """
        if not self.has_certificates():
            return False
        if self._refreshed_at is None:
            self._refreshed_at = now
        return now - self._refreshed_at >= REFRESH_AGE

    def may_refresh(self, now: datetime) -> bool:
        """A forged serial must not cause a call each time."""
        return self._tried_at is None or abs(now - self._tried_at) >= REFRESH_PAUSE

    def note_attempt(self, now: datetime) -> None:
        """A refresh begins."""
        self._tried_at = now

    def add(self, brought: Mapping[str, TrustedKey], now: datetime) -> None:
        """Adds what a verified answer brought and drops what has expired.

        One step for readers.
        """
        merged = {**self._trusted, **brought}
        self._trusted = {
            serial: trusted
            for serial, trusted in merged.items()
            if trusted.not_after is None or trusted.not_after >= now
        }
        self._refreshed_at = now


def decrypt(api_v3_key: bytes, resource: object) -> bytes:
    """Opens an encrypted `resource` or `encrypt_certificate`; the tag is checked.

    Raises MessageRejected.
    """
    if not isinstance(resource, dict):
        raise MessageRejected("malformed_body")
    if resource.get("algorithm") != _ALGORITHM:
        raise MessageRejected("unsupported_algorithm")
    ciphertext, nonce = resource.get("ciphertext"), resource.get("nonce")
    associated = resource.get("associated_data") or ""
    if not (isinstance(ciphertext, str) and isinstance(nonce, str) and isinstance(associated, str)):
        raise MessageRejected("malformed_body")
    try:
        return AESGCM(api_v3_key).decrypt(
            nonce.encode("utf-8"),
            base64.b64decode(ciphertext, validate=True),
            associated.encode("utf-8"),
        )
    except (InvalidTag, ValueError, binascii.Error) as problem:
        raise MessageRejected("decrypt_failed") from problem


def read_certificates(api_v3_key: bytes, body: bytes) -> dict[str, TrustedKey]:
    """The certificates in an answer of `GET /v3/certificates`, all of them or none.

    Raises MessageRejected.

    Decryption authenticates each of them, so this may run before the answer's own signature is
    checked: the first download is signed by a certificate that it brings itself.
    """
    try:
        entries = parse_object(body).get("data")
    except ValueError as problem:
        raise MessageRejected("malformed_body") from problem
    if not isinstance(entries, list):
        raise MessageRejected("malformed_body")
    brought: dict[str, TrustedKey] = {}
    for entry in entries:
        serial, trusted = _read_certificate(api_v3_key, entry)
        brought[serial] = trusted
    return brought


def _read_certificate(api_v3_key: bytes, entry: Any) -> tuple[str, TrustedKey]:
    if not isinstance(entry, dict):
        raise MessageRejected("malformed_body")
    pem = decrypt(api_v3_key, entry.get("encrypt_certificate"))
    found: dict[str, TrustedKey] = {}
    with suppress(ValueError):
        found = trusted_certificates(pem.decode("ascii"))
    serial = entry.get("serial_no")
    if not isinstance(serial, str) or serial not in found:
        raise MessageRejected("cert_serial_mismatch")
    return serial, found[serial]
