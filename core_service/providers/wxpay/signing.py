"""WeChat Pay's signed texts: our requests, and its answers and notifications."""

import re
from collections.abc import Mapping
from datetime import datetime

from core_service.providers.keys import sign, verify
from core_service.providers.wxpay.account import WxpayKeys
from core_service.providers.wxpay.platform_keys import MessageRejected, TrustedKey

SCHEME = "WECHATPAY2-SHA256-RSA2048"
CLOCK_TOLERANCE_SECONDS = 300

_PROBE = "WECHATPAY/SIGNTEST/"
_HEADERS = (
    "wechatpay-timestamp",
    "wechatpay-nonce",
    "wechatpay-signature",
    "wechatpay-serial",
)
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def request_text(method: str, path: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """`path` with its query, exactly as on the wire."""
    return f"{method}\n{path}\n{timestamp}\n{nonce}\n".encode("ascii") + body + b"\n"


def authorization(
    keys: WxpayKeys, method: str, path: str, body: bytes, *, timestamp: str, nonce: str
) -> str:
    """The value of the Authorization header."""
    signature = sign(keys.private_key, request_text(method, path, timestamp, nonce, body))
    return (
        f'{SCHEME} mchid="{keys.mch_id}",nonce_str="{nonce}",signature="{signature}",'
        f'timestamp="{timestamp}",serial_no="{keys.serial_no}"'
    )


def check_message(
    keys: WxpayKeys,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    brought: Mapping[str, TrustedKey] | None = None,
) -> None:
    """Whether WeChat Pay signed `body` for this merchant, now. Header names are lower-case.

    `brought`: certificates inside the very answer, which may have signed it. Raises
    MessageRejected; the order of the checks follows the provider's own libraries.
    """
    timestamp, nonce, signature, serial = (headers.get(name, "") for name in _HEADERS)
    if not (timestamp and nonce and signature and serial):
        raise MessageRejected("missing_header")
    if headers.get("wechatpay-signature-type", SCHEME) != SCHEME:
        raise MessageRejected("unsupported_algorithm")
    if signature.startswith(_PROBE):
        raise MessageRejected("signtest")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise MessageRejected("timestamp_expired")
    if abs(int(timestamp) - now.timestamp()) > CLOCK_TOLERANCE_SECONDS:
        raise MessageRejected("timestamp_expired")
    key = keys.platform.find(serial, now)
    if key is None and brought and serial in brought:
        key = brought[serial].key
    if key is None:
        raise MessageRejected("unknown_serial")
    content = f"{timestamp}\n{nonce}\n".encode("latin-1", "replace") + body + b"\n"
    if not verify(key, signature, content):
        raise MessageRejected("bad_signature")
