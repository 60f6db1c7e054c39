"""Certificate serials ("sn") as Alipay's SDKs compute them.

sn = md5(issuer in RFC 2253 form + serial number in decimal). MD5 here is a name, not a protection.
Source: `AntCertificationUtil` of alipay-sdk-java-all, `getSNFromPath` of alipay-sdk-nodejs-all.
"""

import hashlib

from cryptography import x509

from core_service.providers.keys import load_certificates

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
