"""Alipay's certificates: their serials ("sn"), and which renewed ones to believe.

sn = md5(issuer in RFC 2253 form + serial number in decimal). MD5 here is a name, not a protection.
Source: `AntCertificationUtil` of alipay-sdk-java-all, `getSNFromPath` of alipay-sdk-nodejs-all.
"""

import hashlib
import threading
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from core_service.providers.keys import certificate_key, load_certificates

_RSA_SIGNATURES = "1.2.840.113549.1.1."
"""OID prefix of RSA signatures with any hash.

The root bundle also holds EC and SM2 roots, which do not count.
"""


def certificate_sn(certificate: x509.Certificate) -> str:
    """Of one certificate: 32 lower-case hexadecimal digits."""
    text = certificate.issuer.rfc4514_string() + str(certificate.serial_number)
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def app_cert_sn(text: str) -> str:
    """Of the app certificate file: its first certificate only, a CA may follow.

    Raises ValueError.
    """
    return certificate_sn(load_certificates(text)[0])


def root_cert_sn(text: str) -> str:
    """Of the root bundle: its RSA-signed certificates in file order, joined by `_`.

    Raises ValueError.
    """
    serials = [
        certificate_sn(certificate)
        for certificate in load_certificates(text)
        if certificate.signature_algorithm_oid.dotted_string.startswith(_RSA_SIGNATURES)
    ]
    if not serials:
        raise ValueError("holds no RSA-signed root certificate")
    return "_".join(serials)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it is a CA certificate, whose key signs certificates and never messages."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


FETCH_PAUSE = timedelta(minutes=1)
"""Between two questions about one unknown serial: a forged one must not cause a call each time."""
_REMEMBERED_SERIALS = 100
_LONGEST_CHAIN = 4


class AlipayCertificates:
    """The certificates that Alipay may sign with for one account.

    Configured ones, and renewed ones that were fetched since. Read without waiting, changed by one thread at a time.
    """

    def __init__(self, certificate_text: str, app_text: str, root_text: str) -> None:
        """The three files of the configuration. Raises ValueError about the first.

        The certificates of a CA between leaf and root come with one of the first two.
        """
        given = load_certificates(certificate_text)
        self._leaves = tuple(one for one in given if not is_authority(one))
        if not self._leaves:
            raise ValueError("holds only CA certificates")
        self._between = tuple(one for one in (*given, *_readable(app_text)) if is_authority(one))
        self._roots = _readable(root_text)
        self._keys = {certificate_sn(leaf): certificate_key(leaf) for leaf in self._leaves}
        self._tried: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def keys(self) -> tuple[RSAPublicKey, ...]:
        """Of all of them."""
        return tuple(self._keys.values())

    def key(self, serial: str) -> RSAPublicKey | None:
        """By sn; None: unknown."""
        return self._keys.get(serial)

    def may_fetch(self, serial: str, now: datetime) -> bool:
        """Whether to ask Alipay for an unknown serial now; saying yes counts as asking."""
        with self._lock:
            last = self._tried.get(serial)
            if last is not None and abs(now - last) < FETCH_PAUSE:
                return False
            if len(self._tried) >= _REMEMBERED_SERIALS:
                self._tried.clear()
            self._tried[serial] = now
            return True

    def checked(self, text: str, serial: str, now: datetime) -> RSAPublicKey:
        """The key of a fetched certificate that may be believed. Raises ValueError.

        Merchants get certificates from the same CA, so besides the chain to the root bundle its name must be that of
        the certificate it follows.
        """
        given = load_certificates(text)
        leaf = next((one for one in given if certificate_sn(one) == serial), None)
        if leaf is None or is_authority(leaf):
            raise ValueError("not the certificate that was asked for")
        if leaf.subject not in [known.subject for known in self._leaves]:
            raise ValueError("certificate of another name")
        between = (*self._between, *(one for one in given if is_authority(one)))
        if not self._leads_to_a_root(leaf, between, now):
            raise ValueError("does not lead to the root bundle")
        return certificate_key(leaf)

    def add(self, serial: str, key: RSAPublicKey) -> None:
        """Believe a checked key from now on, beside the known ones."""
        with self._lock:
            self._keys = {**self._keys, serial: key}

    def _leads_to_a_root(
        self, leaf: x509.Certificate, between: tuple[x509.Certificate, ...], now: datetime
    ) -> bool:
        current = leaf
        for _ in range(_LONGEST_CHAIN):
            if _issuer_of(current, self._roots, now) is not None:
                return True
            issuer = _issuer_of(current, between, now)
            if issuer is None:
                return False
            current = issuer
        return False


def _readable(text: str) -> tuple[x509.Certificate, ...]:
    """The certificates of a text; an unreadable one is the finding of its own field."""
    try:
        return load_certificates(text)
    except ValueError:
        return ()


def _issuer_of(
    certificate: x509.Certificate, authorities: tuple[x509.Certificate, ...], now: datetime
) -> x509.Certificate | None:
    """The one that has signed a certificate which is valid now, itself valid now."""
    dates = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    if not dates[0] <= now <= dates[1]:
        return None
    return next(
        (
            one
            for one in authorities
            if one.not_valid_before_utc <= now <= one.not_valid_after_utc
            and _has_issued(one, certificate)
        ),
        None,
    )


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return is_authority(issuer)
