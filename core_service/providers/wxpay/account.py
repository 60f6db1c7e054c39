"""The configuration of a WeChat Pay merchant, checked and parsed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from core_service.providers.base import AccountConfigInvalid, AccountField, ProviderAccount
from core_service.providers.config import ConfigChecker
from core_service.providers.keys import load_private_key, load_public_keys, same_public_key
from core_service.providers.wxpay.platform_keys import (
    PUBLIC_KEY_PREFIX,
    PlatformKeys,
    TrustedKey,
    trusted_certificates,
)

PRODUCTION_BASE = "https://api.mch.weixin.qq.com"
OFFICIAL_BASES = (PRODUCTION_BASE, "https://api2.mch.weixin.qq.com")

FIELDS: tuple[AccountField, ...] = (
    AccountField("appId", True, False, "公众号/小程序 AppID", "App id"),
    AccountField("mchId", True, False, "商户号", "Merchant id"),
    AccountField("mchSerialNo", True, False, "商户 API 证书序列号", "Merchant certificate serial"),
    AccountField("privateKey", True, True, "商户 API 私钥", "Merchant API private key", "pem"),
    AccountField("apiV3Key", True, True, "APIv3 密钥", "APIv3 key"),
    AccountField("platformPublicKey", False, False, "微信支付公钥", "WeChat Pay public key", "pem"),
    AccountField(
        "platformPublicKeyId", False, False, "微信支付公钥 ID", "WeChat Pay public key id"
    ),
    AccountField(
        "platformCertificates", False, False, "微信支付平台证书", "Platform certificates", "pem"
    ),
    AccountField("apiBaseUrl", False, False, "接口地址", "API address", "url"),
)

_CACHE = "wxpay"
_API_V3_KEY_BYTES = 32
_SERIAL = re.compile(r"[0-9A-F]{1,40}", re.ASCII)
_PUBLIC_KEY_ID = re.compile(PUBLIC_KEY_PREFIX + r"[0-9A-Za-z_]{1,100}", re.ASCII)
_IDENTIFIER = re.compile(r"[0-9A-Za-z_-]{1,32}", re.ASCII)


@dataclass(frozen=True)
class WxpayKeys:
    """What a call or a notification needs of an account, parsed once."""

    app_id: str
    mch_id: str
    serial_no: str
    private_key: RSAPrivateKey
    api_v3_key: bytes = field(repr=False)
    base_url: str
    """Without a slash at the end."""
    public_key_id: str | None
    """In public-key mode, sent along so that answers are signed with that key."""
    platform: PlatformKeys


def keys_of(account: ProviderAccount) -> WxpayKeys:
    """The parsed keys and the platform certificates downloaded so far.

    Cached in the account.
    """
    cached = account.parsed.get(_CACHE)
    if cached is None:
        cached = account.parsed.setdefault(_CACHE, parse(account.config, check_private_key=False))
    keys: WxpayKeys = cached
    return keys


def parse(config: Mapping[str, Any], *, check_private_key: bool) -> WxpayKeys:
    """Raises AccountConfigInvalid that names every bad field."""
    checker = ConfigChecker(config, FIELDS)
    private_key = checker.parsed(
        "privateKey", lambda text: load_private_key(text, check=check_private_key)
    )
    for name in ("appId", "mchId"):
        checker.parsed(name, _identifier)
    serial_no = checker.parsed("mchSerialNo", _serial)
    api_v3_key = checker.parsed("apiV3Key", _api_v3_key)
    public_key_id = checker.parsed("platformPublicKeyId", _public_key_id)
    public_keys = checker.parsed("platformPublicKey", load_public_keys)
    trusted: dict[str, TrustedKey] = {}
    if public_key_id and public_keys:
        trusted[public_key_id] = TrustedKey(public_keys[0])
    elif checker.text("platformPublicKeyId") or checker.text("platformPublicKey"):
        for name in ("platformPublicKeyId", "platformPublicKey"):
            checker.require(name, "platformPublicKey and platformPublicKeyId belong together")
    trusted.update(
        checker.attempt(
            "platformCertificates",
            lambda: _configured_certificates(config.get("platformCertificates")),
        )
        or {}
    )
    for serial, entry in trusted.items():
        if private_key and same_public_key(entry.key, private_key.public_key()):
            name = "platformPublicKey" if serial == public_key_id else "platformCertificates"
            checker.refuse(name, "is the merchant's own; use the one of WeChat Pay")
    checker.raise_violations()
    if private_key is None or api_v3_key is None or serial_no is None:
        raise AccountConfigInvalid({"privateKey": "required"})
    return WxpayKeys(
        app_id=checker.text("appId"),
        mch_id=checker.text("mchId"),
        serial_no=serial_no,
        private_key=private_key,
        api_v3_key=api_v3_key,
        base_url=(checker.text("apiBaseUrl") or PRODUCTION_BASE).rstrip("/"),
        public_key_id=public_key_id,
        platform=PlatformKeys(trusted),
    )


def _configured_certificates(value: object) -> dict[str, TrustedKey]:
    """Reads `platformCertificates`. Raises ValueError.

    It is PEM text, a list of such texts, or a list of objects with the text in one of their fields,
    as tools export them beside the serial.
    """
    if not value:
        return {}
    found: dict[str, TrustedKey] = {}
    for entry in value if isinstance(value, list) else [value]:
        parts = list(entry.values()) if isinstance(entry, dict) else [entry]
        texts = [part for part in parts if isinstance(part, str) and "BEGIN CERTIFICATE" in part]
        if not texts:
            raise ValueError("must be PEM certificates")
        for text in texts:
            found.update(trusted_certificates(text))
    return found


def _identifier(text: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise ValueError("must be up to 32 letters and digits")
    return text


def _serial(text: str) -> str:
    serial = text.upper()
    if not _SERIAL.fullmatch(serial):
        raise ValueError("must be the hexadecimal serial of the merchant API certificate")
    return serial


def _api_v3_key(text: str) -> bytes:
    key = text.encode("utf-8")
    if len(key) != _API_V3_KEY_BYTES or not text.isascii():
        raise ValueError("must be 32 ASCII characters")
    return key


def _public_key_id(text: str) -> str:
    if not _PUBLIC_KEY_ID.fullmatch(text):
        raise ValueError(f"must begin with {PUBLIC_KEY_PREFIX}")
    return text
