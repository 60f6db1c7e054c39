"""WeChat Pay v3 signing rules, seen from the platform: request check, answers, encryption."""

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandbox.accounts import WechatAccount
from sandbox.rsa_keys import sign_sha256, verify_sha256

SCHEME = "WECHATPAY2-SHA256-RSA2048"
SIGNTEST_PREFIX = "WECHATPAY/SIGNTEST/"
MAX_CLOCK_SKEW_SECONDS = 300

_PARAMETER = re.compile(r'\s*([a-z_]+)="([^"]*)"\s*')
_REQUIRED = {"mchid", "nonce_str", "signature", "timestamp", "serial_no"}


class WechatError(Exception):
    """An unsigned error answer: HTTP status, code, message and optional detail object."""

    def __init__(
        self, status: int, code: str, message: str, detail: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail


@dataclass(frozen=True)
class PlatformKey:
    """A key of the platform: serial as in `Wechatpay-Serial`, private key PEM."""

    serial: str
    private_key: str


def request_string_to_sign(
    method: str, wire_url: str, timestamp: str, nonce: str, body: bytes
) -> bytes:
    """Method, path with query exactly as on the wire, timestamp, nonce, body: a line each."""
    head = f"{method}\n{wire_url}\n{timestamp}\n{nonce}\n".encode()
    return head + body + b"\n"


def check_request(
    method: str,
    wire_url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    accounts: Mapping[str, WechatAccount],
    now: float,
) -> WechatAccount:
    """All checks that come before the business of a call; returns the merchant or refuses.

    `headers` has lower-case names, `accounts` maps mchids to accounts, `now` is Unix seconds.
    """
    if not headers.get("user-agent") or "application/json" not in headers.get("accept", ""):
        raise WechatError(400, "PARAM_ERROR", "Http头缺少Accept或User-Agent")
    given = _parse_authorization(headers.get("authorization", ""))
    if not given["timestamp"].isascii() or not given["timestamp"].isdigit():
        raise _sign_error("Http头Authorization中的timestamp不正确", "timestamp")
    if abs(int(given["timestamp"]) - now) > MAX_CLOCK_SKEW_SECONDS:
        raise _sign_error(
            "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟", "timestamp"
        )
    account = accounts.get(given["mchid"])
    if account is None:
        raise _sign_error("商户号不存在", "mchid")
    if given["serial_no"] != account.merchant_serial_no:
        raise _sign_error("商户证书序列号有误", "serial_no")
    if not re.fullmatch(r"[0-9A-Za-z]{1,32}", given["nonce_str"]):
        raise _sign_error("Http头Authorization中的nonce_str不正确", "nonce_str")
    text = request_string_to_sign(method, wire_url, given["timestamp"], given["nonce_str"], body)
    if not verify_sha256(account.merchant_public_key, text, given["signature"]):
        raise _sign_error("签名错误，请检查后再试", "signature", method, wire_url, text)
    _check_body_merchant(body, account)
    return account


def _parse_authorization(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    if scheme != SCHEME or not rest:
        raise _sign_error("Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》")
    values: dict[str, str] = {}
    for piece in rest.split(","):
        match = _PARAMETER.fullmatch(piece)
        if match is None or match[1] in values:
            raise _sign_error("Http头Authorization值格式错误")
        values[match[1]] = match[2]
    if not values.keys() >= _REQUIRED:
        raise _sign_error("Http头Authorization缺少参数")
    return values


def _check_body_merchant(body: bytes, account: WechatAccount) -> None:
    """A body that names a merchant must name the one that signed."""
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        raise WechatError(400, "PARAM_ERROR", "请求体不是有效的JSON") from None
    if not isinstance(parsed, dict):
        raise WechatError(400, "PARAM_ERROR", "请求体不是JSON对象")
    if "mchid" in parsed and parsed["mchid"] != account.mch_id:
        raise WechatError(400, "PARAM_ERROR", "商户号与签名使用的商户号不一致", {"field": "/mchid"})


def _sign_error(
    message: str,
    field: str = "authorization",
    method: str | None = None,
    wire_url: str | None = None,
    text: bytes | None = None,
) -> WechatError:
    detail: dict[str, Any] = {
        "field": field,
        "location": "authorization",
        "issue": "sign not match" if text is not None else message,
    }
    if text is not None:
        shown = text.decode("utf-8", "backslashreplace")
        detail["sign_information"] = {
            "method": method,
            "url": wire_url,
            "sign_message_length": len(text),
            # The real platform shortens this; the sandbox shows all of it for comparison.
            "sandbox_string_to_sign": shown,
        }
    return WechatError(401, "SIGN_ERROR", message, detail)


def signature_headers(key: PlatformKey, body: bytes, now: float) -> dict[str, str]:
    """The five Wechatpay-* headers over an answer or a notification."""
    timestamp, nonce = str(int(now)), secrets.token_hex(16)
    message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": sign_sha256(key.private_key, message),
        "Wechatpay-Serial": key.serial,
        "Wechatpay-Signature-Type": SCHEME,
    }


def answer_key(account: WechatAccount, requested_serial: str) -> PlatformKey:
    """The key an answer is signed with: the one asked for, else certificate, else public key."""
    for key in all_keys(account):
        if key.serial == requested_serial:
            return key
    return default_key(account)


def default_key(account: WechatAccount) -> PlatformKey:
    """The active platform certificate; for a merchant without certificates the public key."""
    if account.platform_certificates:
        certificate = account.platform_certificates[account.active_certificate]
        return PlatformKey(certificate.serial_no, certificate.private_key)
    return PlatformKey(account.public_key_id, account.platform_private_key)


def notification_key(account: WechatAccount, count: int) -> PlatformKey:
    """The key of the notification number `count`; in the grey period a share takes the new key."""
    if account.platform_certificates and account.public_key_id:
        # Spread evenly: 50 percent alternates, 10 percent is every tenth.
        before, after = count * account.grey_percent // 100, (count + 1) * account.grey_percent
        if after // 100 > before:
            return PlatformKey(account.public_key_id, account.platform_private_key)
    return default_key(account)


def all_keys(account: WechatAccount) -> list[PlatformKey]:
    """Every live key of the platform for this merchant."""
    keys = [PlatformKey(c.serial_no, c.private_key) for c in account.platform_certificates]
    if account.public_key_id:
        keys.append(PlatformKey(account.public_key_id, account.platform_private_key))
    return keys


def encrypt_resource(
    api_v3_key: str, plaintext: bytes, associated_data: str | None
) -> dict[str, str]:
    """AES-256-GCM object of notifications and certificates; None leaves associated_data out."""
    nonce = secrets.token_hex(6)
    aad = (associated_data or "").encode()
    ciphertext = AESGCM(api_v3_key.encode()).encrypt(nonce.encode(), plaintext, aad)
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": base64.b64encode(ciphertext).decode(),
        "nonce": nonce,
    }
    if associated_data is not None:
        resource["associated_data"] = associated_data
    return resource
