"""The configuration of a WeChat Pay merchant, checked and parsed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from core_service.providers.base import (
    OWN_KEY,
    AccountConfigInvalid,
    AccountField,
    AccountFieldGroup,
    FieldKind,
    ProviderAccount,
)
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

_PUBLIC_KEY = AccountFieldGroup(
    "publicKey",
    "微信支付公钥模式",
    "Public key mode",
    "商户平台“API 安全”里有“微信支付公钥”时填写，两项一起填。新商户都是这种模式。",
    "When the merchant platform shows a “WeChat Pay public key”: both fields. All new merchants.",
)
_CERTIFICATE = AccountFieldGroup(
    "certificate",
    "平台证书模式",
    "Platform certificate mode",
    "较早开通的商户。可以留空：NovaPay 会用 APIv3 密钥自动下载并更新平台证书。",
    "Merchants of earlier years. May stay empty: the certificates are fetched with the APIv3 key.",
)
FIELDS: tuple[AccountField, ...] = (
    AccountField(
        "mchId",
        required=True,
        secret=False,
        label_zh="商户号",
        label_en="Merchant id",
        help_zh="商户平台的商户号，8 到 10 位数字。",
        help_en="The number at the merchant platform, 8 to 10 digits.",
    ),
    AccountField(
        "appId",
        required=True,
        secret=False,
        label_zh="AppID",
        label_en="App id",
        help_zh="已与商户号绑定的公众号、小程序或应用，wx 开头。",
        help_en="Of an official account, mini program or app bound to the merchant; begins with wx.",
    ),
    AccountField(
        "mchSerialNo",
        required=True,
        secret=False,
        label_zh="商户 API 证书序列号",
        label_en="Merchant certificate serial",
        help_zh="商户平台“API 安全 - 商户 API 证书”里的序列号，40 位十六进制。",
        help_en="The serial of the merchant API certificate at the platform, 40 hexadecimal digits.",
    ),
    AccountField(
        "privateKey",
        required=True,
        secret=True,
        label_zh="商户 API 私钥",
        label_en="Merchant API private key",
        kind=FieldKind.PEM,
        help_zh="商户 API 证书的 apiclient_key.pem 的内容。",
        help_en="What the file apiclient_key.pem of the merchant API certificate holds.",
    ),
    AccountField(
        "apiV3Key",
        required=True,
        secret=True,
        label_zh="APIv3 密钥",
        label_en="APIv3 key",
        help_zh="在商户平台“API 安全”里设置的 32 个字符。",
        help_en="The 32 characters that were set at the merchant platform.",
    ),
    AccountField(
        "platformPublicKeyId",
        required=True,
        secret=False,
        label_zh="微信支付公钥 ID",
        label_en="WeChat Pay public key id",
        help_zh="PUB_KEY_ID_ 开头。",
        help_en="Begins with PUB_KEY_ID_.",
        group=_PUBLIC_KEY,
    ),
    AccountField(
        "platformPublicKey",
        required=True,
        secret=False,
        label_zh="微信支付公钥",
        label_en="WeChat Pay public key",
        kind=FieldKind.PEM,
        help_zh="文件 pub_key.pem 的内容。",
        help_en="What the file pub_key.pem holds.",
        group=_PUBLIC_KEY,
    ),
    AccountField(
        "platformCertificates",
        required=False,
        secret=False,
        label_zh="微信支付平台证书",
        label_en="Platform certificates",
        kind=FieldKind.PEM_LIST,
        help_zh="一个或几个平台证书，依次粘贴。",
        help_en="One or several platform certificates, one after the other.",
        group=_CERTIFICATE,
    ),
    AccountField(
        "apiBaseUrl",
        required=False,
        secret=False,
        label_zh="接口地址",
        label_en="API address",
        kind=FieldKind.URL,
        help_zh="留空即为微信支付正式环境。",
        help_en="Empty: WeChat Pay's production address.",
    ),
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
            checker.refuse(name, OWN_KEY)
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
