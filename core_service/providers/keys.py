"""RSA keys and certificates as people paste them: PEM, PEM on one line, or bare base64.

Everything is unwrapped to DER first, so PKCS#1 and PKCS#8, CRLF and missing blank lines make no
difference. Signatures are RSA PKCS#1 v1.5 with SHA-256 and nothing else: neither provider may
choose the algorithm.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_MINIMUM_KEY_BITS = 2048


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as problem:
        raise ValueError("neither PEM nor base64") from problem


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yields (PEM label or "", base64)."""
    found = False
    for match in _PEM_BLOCK.finditer(text):
        found = True
        yield match.group(1), match.group(2)
    if not found:
        yield "", text


def load_private_key(text: str, *, check: bool = True) -> RSAPrivateKey:
    """One RSA private key of at least 2048 bits. Raises ValueError.

    `check=False` leaves out the primality tests, which cost far more than the parsing; only for a
    key that has passed them once.
    """
    for label, encoded in _blocks(text):
        if label and not label.endswith("PRIVATE KEY"):
            continue
        der = _from_base64(encoded)
        try:
            key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=not check)
        except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
            raise ValueError("not a private key without password") from problem
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("not an RSA key")  # noqa: TRY004 - a finding about text
        if key.key_size < _MINIMUM_KEY_BITS:
            raise ValueError(f"shorter than {_MINIMUM_KEY_BITS} bits")
        return key
    raise ValueError("holds no private key")


def load_public_keys(text: str) -> tuple[RSAPublicKey, ...]:
    """The RSA public keys of a text, at least one.

    Two stand side by side while a provider changes its key. Raises ValueError.
    """
    keys = []
    for label, encoded in _blocks(text):
        if label and not label.endswith("PUBLIC KEY"):
            raise ValueError(f"holds a {label.lower()} where a public key belongs")
        der = _from_base64(encoded)
        try:
            key = load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm) as problem:
            raise ValueError("not a public key") from problem
        keys.append(_strong_rsa(key))
    return tuple(keys)


def load_certificates(text: str) -> tuple[x509.Certificate, ...]:
    """Every certificate of a text that can be read, in order; unreadable ones (SM2) are left out.

    Raises ValueError when there is none.
    """
    certificates = []
    for label, encoded in _blocks(text):
        if label not in ("", "CERTIFICATE"):
            continue
        try:
            certificates.append(x509.load_der_x509_certificate(_from_base64(encoded)))
        except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
            continue
    if not certificates:
        raise ValueError("holds no readable certificate")
    return tuple(certificates)


def certificate_key(certificate: x509.Certificate) -> RSAPublicKey:
    """The RSA key inside. Raises ValueError."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as problem:
        raise ValueError("certificate without a readable key") from problem
    return _strong_rsa(key)


def same_public_key(one: RSAPublicKey, other: RSAPublicKey) -> bool:
    """Whether both are the same key, however they were written."""
    return one.public_numbers() == other.public_numbers()


def _strong_rsa(key: object) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")  # noqa: TRY004 - a finding about text
    if key.key_size < _MINIMUM_KEY_BITS:
        raise ValueError(f"shorter than {_MINIMUM_KEY_BITS} bits")
    return key


def sign(key: RSAPrivateKey, content: bytes) -> str:
    """Base64 of the signature, without line breaks."""
    return base64.b64encode(key.sign(content, padding.PKCS1v15(), hashes.SHA256())).decode("ascii")


def verify(key: RSAPublicKey, signature: str, content: bytes) -> bool:
    """Whether `signature` (base64) is by `key` over `content`; never raises."""
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, content, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
