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
from core_service.providers.base import AccountConfigInvalid, AccountField, ProviderAccount
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

FIELDS: tuple[AccountField, ...] = (
    AccountField("appId", True, False, "应用 APPID", "App id"),
    AccountField("privateKey", True, True, "应用私钥", "App private key", "pem"),
    AccountField("alipayPublicKey", False, False, "支付宝公钥", "Alipay public key", "pem"),
    AccountField("sellerId", False, False, "商户 PID(2088 开头)", "Seller id (2088…)"),
    AccountField("appCert", False, False, "应用公钥证书", "App certificate", "pem"),
    AccountField("alipayCert", False, False, "支付宝公钥证书", "Alipay certificate", "pem"),
    AccountField("alipayRootCert", False, False, "支付宝根证书", "Alipay root bundle", "pem"),
    AccountField("gatewayUrl", False, False, "网关地址", "Gateway address", "url"),
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
        for name in _CERTIFICATE_FIELDS:
            checker.require(name, "certificate mode needs appCert, alipayCert and alipayRootCert")
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
        checker.require("alipayPublicKey", "required unless certificates are given")
        alipay_keys = checker.parsed("alipayPublicKey", load_public_keys) or ()
    name_of_key = "alipayCert" if certificate_mode else "alipayPublicKey"
    if private_key and any(same_public_key(k, private_key.public_key()) for k in alipay_keys):
        checker.refuse(name_of_key, "is the app's own public key; use the one of Alipay")
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
