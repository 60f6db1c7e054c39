"""Makes test accounts: the defaults of the first start, registered ones, renewed certificates."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandbox import rsa_keys
from sandbox.accounts import (
    Account,
    AccountError,
    AlipayAccount,
    PlatformCertificate,
    WechatAccount,
)


def default_accounts() -> list[Account]:
    """The accounts of a fresh sandbox; every way of signing occurs once."""
    return [
        new_account({"provider": "alipay", "mode": "public_key", "appId": "2021009000000001",
                     "sellerId": "2088009000000001", "label": "支付宝 公钥模式 / public key mode"}),
        new_account({"provider": "alipay", "mode": "cert", "appId": "2021009000000002",
                     "sellerId": "2088009000000002",
                     "label": "支付宝 证书模式 / certificate mode"}),
        new_account({"provider": "wxpay", "mode": "platform_cert", "mchId": "1900900001",
                     "appId": "wx0000001900900001",
                     "label": "微信支付 平台证书 / platform certificates"}),
        new_account({"provider": "wxpay", "mode": "public_key", "mchId": "1900900002",
                     "appId": "wx0000001900900002", "label": "微信支付 公钥 / public key"}),
        new_account({"provider": "wxpay", "mode": "both", "mchId": "1900900003",
                     "appId": "wx0000001900900003",
                     "label": "微信支付 证书切换公钥 / moving from certificates to public key"}),
    ]  # fmt: skip


def new_account(spec: Mapping[str, Any]) -> Account:
    """An account from a registration body; whatever key material it leaves out is generated.

    Raises AccountError for an unknown provider or mode, or keys that do not parse.
    """
    try:
        if spec.get("provider") == "alipay":
            return _new_alipay(spec)
        if spec.get("provider") == "wxpay":
            return _new_wechat(spec)
        raise AccountError('provider must be "alipay" or "wxpay"')
    except (ValueError, KeyError, TypeError) as error:
        raise AccountError(f"key material not usable: {error}") from error


def _new_alipay(spec: Mapping[str, Any]) -> AlipayAccount:
    mode = spec.get("mode", "public_key")
    if mode not in ("public_key", "cert"):
        raise AccountError('alipay mode must be "public_key" or "cert"')
    app_id = str(spec.get("appId") or _digits("2021", 16))
    private_key, public_key = _merchant_keys(spec, "appPrivateKey", "appPublicKey")
    if not public_key and spec.get("appCert"):
        public_key = rsa_keys.public_key_pem(rsa_keys.load_public_key(spec["appCert"]))
    if not public_key:
        private_key = rsa_keys.new_private_key()
        public_key = rsa_keys.public_pem(private_key)
    account = AlipayAccount(
        app_id=app_id,
        seller_id=str(spec.get("sellerId") or _digits("2088", 16)),
        mode=mode,
        label=str(spec.get("label") or app_id),
        app_private_key=private_key,
        app_public_key=public_key,
        alipay_private_key=spec.get("alipayPrivateKey") or rsa_keys.new_private_key(),
    )
    if mode == "public_key":
        return account
    given = [str(spec.get(name) or "") for name in ("appCert", "alipayCert", "alipayRootCert")]
    if all(given):
        return replace(account, app_cert=given[0], alipay_cert=given[1], alipay_root_cert=given[2])
    if any(given):
        raise AccountError("give appCert, alipayCert and alipayRootCert, or none of them")
    return _with_certificates(account)


def _with_certificates(account: AlipayAccount) -> AlipayAccount:
    """Issues root bundle (two RSA roots around an EC one), app certificate chain, Alipay's own."""
    root_key, root = rsa_keys.self_signed_certificate("Sandbox Root R1")
    _, elliptic_root = rsa_keys.self_signed_certificate("Sandbox EC Root E1", "ec")
    _, second_root = rsa_keys.self_signed_certificate("Sandbox Root R2")
    class2_key = rsa_keys.new_private_key()
    class2 = rsa_keys.issue_certificate(
        "Sandbox Class 2 R1", rsa_keys.public_pem(class2_key), root_key, root, authority=True
    )
    app_leaf = rsa_keys.issue_certificate(
        account.app_id, account.app_public_key, class2_key, class2
    )
    alipay_cert = rsa_keys.issue_certificate(
        "Sandbox Alipay", rsa_keys.public_pem(account.alipay_private_key), class2_key, class2
    )
    return replace(
        account,
        app_cert=app_leaf + class2,
        alipay_cert=alipay_cert,
        alipay_root_cert=elliptic_root + root + second_root,
        issuer_private_key=class2_key,
        issuer_cert=class2,
    )


def _new_wechat(spec: Mapping[str, Any]) -> WechatAccount:
    mode = spec.get("mode", "platform_cert")
    if mode not in ("platform_cert", "public_key", "both"):
        raise AccountError('wxpay mode must be "platform_cert", "public_key" or "both"')
    mch_id = str(spec.get("mchId") or _digits("19", 10))
    private_key, public_key = _merchant_keys(spec, "merchantPrivateKey", "merchantPublicKey")
    serial = str(spec.get("merchantSerialNo") or "")
    if not public_key:
        private_key = rsa_keys.new_private_key()
        public_key = rsa_keys.public_pem(private_key)
    account = WechatAccount(
        mch_id=mch_id,
        app_id=str(spec.get("appId") or f"wx{mch_id:0>16}"),
        label=str(spec.get("label") or mch_id),
        merchant_private_key=private_key,
        merchant_public_key=public_key,
        merchant_serial_no=serial or f"{secrets.randbits(160):040X}",
        api_v3_key=str(spec.get("apiV3Key") or secrets.token_hex(16)),
    )
    if len(account.api_v3_key.encode()) != 32:
        raise AccountError("apiV3Key must have 32 bytes")
    if mode != "public_key":
        account = _with_platform_certificates(account, spec)
    if mode != "platform_cert":
        account = replace(
            account,
            public_key_id=str(spec.get("publicKeyId") or "PUB_KEY_ID_" + _digits("01", 34)),
            platform_private_key=spec.get("platformPrivateKey") or rsa_keys.new_private_key(),
        )
    return account


def _with_platform_certificates(account: WechatAccount, spec: Mapping[str, Any]) -> WechatAccount:
    """The given certificates, or two fresh ones of which one serial begins with a zero."""
    given = tuple(
        PlatformCertificate(
            serial_no=rsa_keys.serial_hex(item["cert"]),
            cert=item["cert"],
            private_key=item["privateKey"],
        )
        for item in spec.get("platformCertificates") or ()
    )
    if given:
        return replace(account, platform_certificates=given)
    issuer_key, issuer = rsa_keys.self_signed_certificate("Sandbox Tenpay Root")
    account = replace(account, issuer_private_key=issuer_key, issuer_cert=issuer)
    pair = (
        _platform_certificate(account, leading_zero_serial=True),
        _platform_certificate(account),
    )
    return replace(account, platform_certificates=pair)


def _platform_certificate(
    account: WechatAccount, *, leading_zero_serial: bool = False
) -> PlatformCertificate:
    private_key = rsa_keys.new_private_key()
    cert = rsa_keys.issue_certificate(
        "Sandbox Tenpay.com sign",
        rsa_keys.public_pem(private_key),
        account.issuer_private_key,
        account.issuer_cert,
        leading_zero_serial=leading_zero_serial,
    )
    return PlatformCertificate(rsa_keys.serial_hex(cert), cert, private_key)


def rotate_alipay(account: AlipayAccount, step: str) -> AlipayAccount:
    """A new Alipay certificate: `renew` keeps Alipay's key, `rekey` changes it too."""
    if account.mode != "cert":
        raise AccountError("only a certificate-mode app has certificates to renew")
    if not account.issuer_private_key:
        raise AccountError("the account was registered with its own certificates")
    if step not in ("renew", "rekey"):
        raise AccountError('step must be "renew" or "rekey"')
    key = rsa_keys.new_private_key() if step == "rekey" else account.alipay_private_key
    certificate = rsa_keys.issue_certificate(
        "Sandbox Alipay",
        rsa_keys.public_pem(key),
        account.issuer_private_key,
        account.issuer_cert,
    )
    return replace(account, alipay_private_key=key, alipay_cert=certificate)


def rotate_wechat(account: WechatAccount, step: str) -> WechatAccount:
    """A step of the platform's certificate rotation; see `Accounts.rotate`."""
    if not account.platform_certificates:
        raise AccountError("the merchant has no platform certificates")
    if not account.issuer_private_key:
        issuer_key, issuer = rsa_keys.self_signed_certificate("Sandbox Tenpay Root")
        account = replace(account, issuer_private_key=issuer_key, issuer_cert=issuer)
    certificates = account.platform_certificates
    active = account.active_certificate
    if step in ("add", "renew"):
        certificates = (*certificates, _platform_certificate(account))
    if step in ("switch", "renew"):
        active = len(certificates) - 1
    if step == "drop":
        if len(certificates) == 1:
            raise AccountError("the last certificate cannot be dropped")
        certificates, active = certificates[1:], max(active - 1, 0)
    if step not in ("add", "switch", "drop", "renew"):
        raise AccountError('step must be "add", "switch", "drop" or "renew"')
    return replace(account, platform_certificates=certificates, active_certificate=active)


def _merchant_keys(spec: Mapping[str, Any], private: str, public: str) -> tuple[str, str]:
    """The given pair, normalised: (private PEM or empty, public PEM or empty)."""
    if spec.get(private):
        key = rsa_keys.private_pem(rsa_keys.load_private_key(spec[private]))
        return key, rsa_keys.public_pem(key)
    if spec.get(public):
        return "", rsa_keys.public_key_pem(rsa_keys.load_public_key(spec[public]))
    return "", ""


def _digits(prefix: str, length: int) -> str:
    return prefix + "".join(secrets.choice("0123456789") for _ in range(length - len(prefix)))
