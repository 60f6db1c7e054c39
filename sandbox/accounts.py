"""Test accounts at the simulated providers: their keys, and what a merchant copies from a console.

All keys made here are TEST KEYS and protect nothing.
"""

from dataclasses import dataclass
from typing import Any, Literal

from sandbox import rsa_keys

AlipayMode = Literal["public_key", "cert"]


class AccountError(Exception):
    """The registration of an account makes no sense; the text says why."""


@dataclass(frozen=True)
class AlipayAccount:
    """An app at Alipay. `app_private_key` may be empty when the merchant keeps its own."""

    app_id: str
    seller_id: str
    mode: AlipayMode
    label: str
    app_private_key: str
    app_public_key: str
    alipay_private_key: str
    app_cert: str = ""
    alipay_cert: str = ""
    alipay_root_cert: str = ""
    issuer_private_key: str = ""
    issuer_cert: str = ""

    provider = "alipay"
    channel = "alipay.page"

    @property
    def account_id(self) -> str:
        """The key under which the gateway knows the account."""
        return self.app_id

    def merchant_config(self, base_url: str) -> dict[str, Any]:
        """The account configuration that NovaPay takes, pointing at this sandbox."""
        config: dict[str, Any] = {
            "appId": self.app_id,
            "privateKey": self.app_private_key,
            "alipayPublicKey": rsa_keys.public_pem(self.alipay_private_key),
            "sellerId": self.seller_id,
            "gatewayUrl": f"{base_url}/alipay/gateway.do",
        }
        if self.mode == "cert":
            config |= {
                "appCert": self.app_cert,
                "alipayCert": self.alipay_cert,
                "alipayRootCert": self.alipay_root_cert,
            }
        return config


@dataclass(frozen=True)
class PlatformCertificate:
    """A platform certificate of WeChat Pay with its private key."""

    serial_no: str
    cert: str
    private_key: str


@dataclass(frozen=True)
class WechatAccount:
    """A merchant at WeChat Pay. Has platform certificates, a platform public key, or both."""

    mch_id: str
    app_id: str
    label: str
    merchant_private_key: str
    merchant_public_key: str
    merchant_serial_no: str
    api_v3_key: str
    platform_certificates: tuple[PlatformCertificate, ...] = ()
    active_certificate: int = 0
    public_key_id: str = ""
    platform_private_key: str = ""
    grey_percent: int = 0
    issuer_private_key: str = ""
    issuer_cert: str = ""

    provider = "wxpay"
    channel = "wxpay.native"

    @property
    def account_id(self) -> str:
        """The key under which the platform knows the merchant."""
        return self.mch_id

    @property
    def mode(self) -> str:
        """`platform_cert`, `public_key`, or `both` in the period of change between them."""
        if self.platform_certificates and self.public_key_id:
            return "both"
        return "platform_cert" if self.platform_certificates else "public_key"

    def merchant_config(self, base_url: str) -> dict[str, Any]:
        """The account configuration that NovaPay takes, pointing at this sandbox."""
        config: dict[str, Any] = {
            "appId": self.app_id,
            "mchId": self.mch_id,
            "mchSerialNo": self.merchant_serial_no,
            "privateKey": self.merchant_private_key,
            "apiV3Key": self.api_v3_key,
            "apiBaseUrl": f"{base_url}/wechat",
        }
        if self.public_key_id:
            config["platformPublicKey"] = rsa_keys.public_pem(self.platform_private_key)
            config["platformPublicKeyId"] = self.public_key_id
        if self.platform_certificates:
            config["platformCertificates"] = [c.cert for c in self.platform_certificates]
        return config


Account = AlipayAccount | WechatAccount
