"""RSA keys and certificates: parsing every form the consoles give, signing, making test keys."""

import base64
import binascii
import secrets
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

CertificateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def new_private_key() -> str:
    """A fresh RSA-2048 test key, PKCS#8 PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return private_pem(key)


def private_pem(key: CertificateKey) -> str:
    """PKCS#8 PEM without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem(private_key_text: str) -> str:
    """The public half of a private key, SubjectPublicKeyInfo PEM."""
    return public_key_pem(load_private_key(private_key_text).public_key())


def public_key_pem(key: rsa.RSAPublicKey) -> str:
    """SubjectPublicKeyInfo PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


@lru_cache(maxsize=256)
def load_private_key(text: str) -> rsa.RSAPrivateKey:
    """PEM (PKCS#8 or PKCS#1) or the bare base64 of either; ValueError otherwise."""
    if "-----BEGIN" in text:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    else:
        key = serialization.load_der_private_key(_bare_base64(text), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA private key")  # noqa: TRY004 - the text is wrong, not its type
    return key


@lru_cache(maxsize=256)
def load_public_key(text: str) -> rsa.RSAPublicKey:
    """PEM public key, PEM certificate, or bare base64 of a public key; ValueError otherwise."""
    if "-----BEGIN CERTIFICATE" in text:
        key: object = load_certificate(text).public_key()
    elif "-----BEGIN" in text:
        key = serialization.load_pem_public_key(text.encode())
    else:
        key = serialization.load_der_public_key(_bare_base64(text))
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA public key")  # noqa: TRY004 - the text is wrong, not its type
    return key


@lru_cache(maxsize=256)
def load_certificate(text: str) -> x509.Certificate:
    """The first certificate of a PEM text."""
    return x509.load_pem_x509_certificate(text.encode())


def sign_sha256(private_key_text: str, message: bytes) -> str:
    """SHA256withRSA (PKCS#1 v1.5), base64 without line breaks."""
    signature = load_private_key(private_key_text).sign(
        message, padding.PKCS1v15(), hashes.SHA256()
    )
    return base64.b64encode(signature).decode()


def verify_sha256(public_key_text: str, message: bytes, signature: str) -> bool:
    """Whether the base64 signature fits; False for anything unreadable."""
    try:
        raw = base64.b64decode(signature, validate=True)
        load_public_key(public_key_text).verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def serial_hex(certificate_text: str) -> str:
    """Certificate serial as WeChat Pay writes it: upper-case hex, 40 digits, zeros kept."""
    return f"{load_certificate(certificate_text).serial_number:040X}"


def self_signed_certificate(
    common_name: str, algorithm: Literal["rsa", "ec"] = "rsa", organisation: str = "Sandbox Test"
) -> tuple[str, str]:
    """A test root: (private key PEM, certificate PEM)."""
    key: CertificateKey
    if algorithm == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name, organisation)
    certificate = _certificate(name, name, key.public_key(), key, authority=True)
    return private_pem(key), certificate


def issue_certificate(
    common_name: str,
    public_key_text: str,
    issuer_private_key: str,
    issuer_certificate: str,
    *,
    authority: bool = False,
    leading_zero_serial: bool = False,
) -> str:
    """A test certificate for a public key, signed by the issuer; PEM.

    `leading_zero_serial` gives a serial whose 40-digit hex form begins with zeros, which careless
    formatting of serials loses.
    """
    issuer = load_certificate(issuer_certificate).subject
    serial = secrets.randbits(120) | 1 << 119 if leading_zero_serial else None
    return _certificate(
        _name(common_name, "Sandbox Test"),
        issuer,
        load_public_key(public_key_text),
        load_private_key(issuer_private_key),
        authority=authority,
        serial=serial,
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    signer: CertificateKey,
    *,
    authority: bool,
    serial: int | None = None,
) -> str:
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=5 * 365))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common_name: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "TEST KEYS ONLY"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _bare_base64(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)
