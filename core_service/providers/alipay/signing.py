"""Alipay's signed texts: requests, and messages in form fields.

Notifications and browser returns come as form fields.
"""

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from core_service.providers.alipay.account import AlipayKeys
from core_service.providers.keys import sign, verify

_READABLE_CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "gbk": "gb18030", "gb2312": "gb18030"}
_FIELD_LIMIT = 200


class FormRejected(Exception):
    """A form message that must not be believed; `reason` is a stable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def request_text(parameters: Mapping[str, str]) -> str:
    """The string a request signature covers.

    `sign_type` belongs to it, `sign` and empty values do not.
    """
    return "&".join(
        f"{name}={value}" for name, value in sorted(parameters.items()) if name != "sign" and value
    )


def signed_parameters(keys: AlipayKeys, parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that are not empty, and their `sign`."""
    sent = {name: value for name, value in parameters.items() if value}
    sent["sign"] = sign(keys.private_key, request_text(sent).encode("utf-8"))
    return sent


def split_form(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values, decoded exactly once.

    They stay bytes: what was signed does not depend on a charset.
    """
    pairs = []
    for piece in raw.split(b"&"):
        if piece:
            name, _, value = piece.replace(b"+", b" ").partition(b"=")
            pairs.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return pairs


def verified_form(keys: AlipayKeys, raw: bytes) -> dict[str, str]:
    """The fields of a genuine form message, without `sign` and `sign_type`. Raises FormRejected.

    Sources disagree whether empty values are part of the signed text, so the text without them is
    tried first and the text with them second; a forger gains nothing by that.
    """
    pairs = split_form(raw)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormRejected("duplicate_parameter")
    if len(fields) > _FIELD_LIMIT:
        raise FormRejected("malformed_body")
    signature = fields.pop(b"sign", b"")
    if not signature:
        raise FormRejected("missing_signature")
    if fields.pop(b"sign_type", b"RSA2") != b"RSA2":
        raise FormRejected("unsupported_sign_type")
    if keys.certificates is not None:
        serial = fields.get(b"alipay_cert_sn")
        if serial and keys.certificates.key(serial.decode("latin-1")) is None:
            raise FormRejected("unknown_alipay_cert_sn")
    if not _is_signed(keys, fields, signature.decode("latin-1")):
        raise FormRejected("bad_signature")
    if any(b"\0" in name or b"\0" in value for name, value in fields.items()):
        raise FormRejected("malformed_body")
    charset = _READABLE_CHARSETS.get(fields.get(b"charset", b"utf-8").decode("latin-1").lower())
    try:
        return {
            name.decode("ascii"): value.decode(charset or "ascii") for name, value in fields.items()
        }
    except UnicodeDecodeError as problem:
        raise FormRejected("malformed_body") from problem


def _is_signed(keys: AlipayKeys, fields: Mapping[bytes, bytes], signature: str) -> bool:
    ordered = sorted(fields.items())
    texts = [b"&".join(name + b"=" + value for name, value in ordered if value)]
    if not all(fields.values()):
        texts.append(b"&".join(name + b"=" + value for name, value in ordered))
    return any(verify(key, signature, text) for text in texts for key in keys.alipay_keys)
