"""The configuration of an Alipay account: fields, checks, and the parsed keys that calls use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from core_service.providers.alipay.certificates import (
    AlipayCertificates,
    app_cert_sn,
    root_cert_sn,
)
from core_service.providers.base import (
    OWN_KEY,
    AccountConfigInvalid,
    AccountField,
    AccountFieldGroup,
    FieldKind,
    ProviderAccount,
)
from core_service.providers.config import ConfigChecker
from core_service.providers.keys import (
    certificate_key,
    load_certificates,
    load_private_key,
    load_public_keys,
    same_public_key,
)

PRODUCTION_GATEWAY = "https://openapi.alipay.com/gateway.do"
OFFICIAL_GATEWAYS = (
    PRODUCTION_GATEWAY,
    "https://openapi-sandbox.dl.alipaydev.com/gateway.do",
)

_PUBLIC_KEY = AccountFieldGroup(
    "publicKey",
    "公钥模式",
    "Public key mode",
    "开放平台“开发设置 - 接口加签方式”选择“公钥”时填写。",
    "When “interface signing” of the app at the open platform is set to “public key”.",
)
_CERTIFICATE = AccountFieldGroup(
    "certificate",
    "证书模式",
    "Certificate mode",
    "接口加签方式选择“公钥证书”时填写，三个文件都要。填写后以证书为准，公钥模式的字段不再使用。",
    "When it is set to “certificate”: all three files. Certificates go before the public key.",
)
FIELDS: tuple[AccountField, ...] = (
    AccountField(
        "appId",
        required=True,
        secret=False,
        label_zh="应用 APPID",
        label_en="App id",
        help_zh="开放平台控制台的应用编号，16 位数字。",
        help_en="The app's number at the open platform, 16 digits.",
    ),
    AccountField(
        "sellerId",
        required=False,
        secret=False,
        label_zh="商户 PID",
        label_en="Seller id",
        help_zh="2088 开头的 16 位数字。填写后会核对通知中的收款方。",
        help_en="16 digits that begin with 2088. Notifications for other sellers are refused then.",
    ),
    AccountField(
        "privateKey",
        required=True,
        secret=True,
        label_zh="应用私钥",
        label_en="App private key",
        kind=FieldKind.PEM,
        help_zh="密钥工具生成的应用私钥（PKCS1 或 PKCS8），不是支付宝公钥。",
        help_en="The app's own private key (PKCS#1 or PKCS#8), made with the key tool.",
    ),
    AccountField(
        "alipayPublicKey",
        required=True,
        secret=False,
        label_zh="支付宝公钥",
        label_en="Alipay public key",
        kind=FieldKind.PEM,
        help_zh="上传应用公钥后由支付宝给出的“支付宝公钥”，不是应用公钥。",
        help_en="The key that Alipay shows after the app's public key was uploaded; not the app's own.",
        group=_PUBLIC_KEY,
    ),
    AccountField(
        "appCert",
        required=True,
        secret=False,
        label_zh="应用公钥证书",
        label_en="App certificate",
        kind=FieldKind.PEM,
        help_zh="文件 appCertPublicKey_….crt 的内容。",
        help_en="What the file appCertPublicKey_….crt holds.",
        group=_CERTIFICATE,
    ),
    AccountField(
        "alipayCert",
        required=True,
        secret=False,
        label_zh="支付宝公钥证书",
        label_en="Alipay certificate",
        kind=FieldKind.PEM,
        help_zh="文件 alipayCertPublicKey_RSA2.crt 的内容。",
        help_en="What the file alipayCertPublicKey_RSA2.crt holds.",
        group=_CERTIFICATE,
    ),
    AccountField(
        "alipayRootCert",
        required=True,
        secret=False,
        label_zh="支付宝根证书",
        label_en="Alipay root bundle",
        kind=FieldKind.PEM_LIST,
        help_zh="文件 alipayRootCert.crt 的全部内容。",
        help_en="All that the file alipayRootCert.crt holds.",
        group=_CERTIFICATE,
    ),
    AccountField(
        "gatewayUrl",
        required=False,
        secret=False,
        label_zh="网关地址",
        label_en="Gateway address",
        kind=FieldKind.URL,
        help_zh="留空即为支付宝正式环境。",
        help_en="Empty: Alipay's production gateway.",
    ),
)

_CERTIFICATE_FIELDS = ("appCert", "alipayCert", "alipayRootCert")
_CACHE = "alipay"


@dataclass(frozen=True)
class AlipayKeys:
    """What a call or a notification needs of an account, parsed once."""

    app_id: str
    seller_id: str | None
    gateway_url: str
    private_key: RSAPrivateKey
    public_keys: tuple[RSAPublicKey, ...]
    """In public-key mode: every key that Alipay may sign with."""
    certificates: AlipayCertificates | None
    """In certificate mode: the same, as certificates that Alipay renews."""
    certificate_parameters: Mapping[str, str]
    """`app_cert_sn` and `alipay_root_cert_sn`, sent with every request in certificate mode."""

    @property
    def alipay_keys(self) -> tuple[RSAPublicKey, ...]:
        """Every key that Alipay may sign with."""
        return self.public_keys if self.certificates is None else self.certificates.keys()


def keys_of(account: ProviderAccount) -> AlipayKeys:
    """The parsed keys, cached in the account.

    Two threads may both parse the first time; one result stays.
    """
    cached = account.parsed.get(_CACHE)
    if cached is None:
        cached = account.parsed.setdefault(_CACHE, parse(account.config, check_private_key=False))
    keys: AlipayKeys = cached
    return keys


def parse(config: Mapping[str, Any], *, check_private_key: bool) -> AlipayKeys:
    """Raises AccountConfigInvalid that names every bad field."""
    checker = ConfigChecker(config, FIELDS)
    private_key = checker.parsed(
        "privateKey", lambda text: load_private_key(text, check=check_private_key)
    )
    certificate_mode = any(config.get(name) for name in _CERTIFICATE_FIELDS)
    alipay_keys: tuple[RSAPublicKey, ...] = ()
    certificates: AlipayCertificates | None = None
    parameters: dict[str, str] = {}
    if certificate_mode:
        others = (checker.text("appCert"), checker.text("alipayRootCert"))
        certificates = checker.parsed("alipayCert", lambda text: AlipayCertificates(text, *others))
        alipay_keys = () if certificates is None else certificates.keys()
        compute: tuple[tuple[str, str, Callable[[str], str]], ...] = (
            ("app_cert_sn", "appCert", app_cert_sn),
            ("alipay_root_cert_sn", "alipayRootCert", root_cert_sn),
        )
        for parameter, name, serial_of in compute:
            parameters[parameter] = checker.parsed(name, serial_of) or ""
        app_certificates = checker.parsed("appCert", load_certificates)
        if private_key and app_certificates:
            own = checker.attempt("appCert", lambda: certificate_key(app_certificates[0]))
            if own and not same_public_key(own, private_key.public_key()):
                checker.refuse("appCert", "does not belong to privateKey")
    else:
        if not config.get("alipayPublicKey"):
            checker.refuse("alipayPublicKey", "required unless certificates are given")
        alipay_keys = checker.parsed("alipayPublicKey", load_public_keys) or ()
    name_of_key = "alipayCert" if certificate_mode else "alipayPublicKey"
    if private_key and any(same_public_key(k, private_key.public_key()) for k in alipay_keys):
        checker.refuse(name_of_key, OWN_KEY)
    checker.raise_violations()
    if private_key is None:
        raise AccountConfigInvalid({"privateKey": "required"})
    return AlipayKeys(
        app_id=checker.text("appId"),
        seller_id=checker.text("sellerId") or None,
        gateway_url=checker.text("gatewayUrl") or PRODUCTION_GATEWAY,
        private_key=private_key,
        public_keys=alipay_keys,
        certificates=certificates,
        certificate_parameters=parameters,
    )
