"""The provider vectors that a gateway checks. NOVAPAY_VECTORS names another file of this form."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox import alipay_signing, wechat_signing
from sandbox.account_factory import new_account
from sandbox.accounts import AlipayAccount, WechatAccount
from sandbox.rsa_keys import sign_sha256

_PUBLIC = Path(__file__).parent.parent / "data" / "provider-vectors.json"
VECTORS = json.loads(Path(os.environ.get("NOVAPAY_VECTORS") or _PUBLIC).read_text())
KEYS = VECTORS["keys"]


def cases(*kinds: str) -> pytest.MarkDecorator:
    chosen = [c for c in VECTORS["cases"] if c["kind"] in kinds]
    return pytest.mark.parametrize("case", chosen, ids=[c["name"] for c in chosen])


@pytest.fixture(scope="module")
def alipay_accounts() -> dict[str, AlipayAccount]:
    accounts = {}
    for keys in KEYS["alipay"].values():
        account = new_account(
            {
                "provider": "alipay",
                "mode": keys["mode"],
                "appId": keys["app_id"],
                "sellerId": keys["seller_id"],
                "appPublicKey": keys["app_public_key"],
                "alipayPrivateKey": keys["alipay_private_key_pkcs8"],
                "appCert": keys.get("app_cert"),
                "alipayCert": keys.get("alipay_cert"),
                "alipayRootCert": keys.get("alipay_root_cert"),
            }
        )
        assert isinstance(account, AlipayAccount)
        accounts[account.app_id] = account
    return accounts


@pytest.fixture(scope="module")
def wechat_accounts() -> dict[str, WechatAccount]:
    accounts = {}
    for keys in KEYS["wechat"].values():
        account = new_account(
            {
                "provider": "wxpay",
                "mode": "both" if "wechatpay_public_key_id" in keys else "platform_cert",
                "mchId": keys["mchid"],
                "appId": keys["appid"],
                "merchantPublicKey": keys["merchant_public_key"],
                "merchantSerialNo": keys["merchant_serial_no"],
                "apiV3Key": keys["apiv3_key"],
                "publicKeyId": keys.get("wechatpay_public_key_id"),
                "platformPrivateKey": keys.get("wechatpay_private_key_pkcs8"),
                "platformCertificates": [
                    {"cert": c["cert"], "privateKey": c["private_key_pkcs8"]}
                    for c in keys["platform_certs"]
                ],
            }
        )
        assert isinstance(account, WechatAccount)
        accounts[account.mch_id] = account
    return accounts


@cases("alipay.page_pay_url", "alipay.gateway_request")
def test_alipay_request(case: dict[str, Any], alipay_accounts: dict[str, AlipayAccount]) -> None:
    inputs, expected = case["inputs"], case["expected"]
    query = inputs["query"] if "query" in inputs else urlsplit(inputs["url"]).query
    outcome = "accept"
    parameters: dict[str, str] = {}
    try:
        parameters, charset = alipay_signing.parse_parameters(
            query.encode(), inputs.get("body", "").encode()
        )
        alipay_signing.check_request(parameters, charset, alipay_accounts)
    except alipay_signing.AlipayError as refusal:
        outcome = refusal.sub_code
    if expected["result"] == "accept":
        assert outcome == "accept"
    else:
        codes = {
            "bad_signature": {"isv.invalid-signature"},
            "missing_signature": {"isv.missing-signature"},
            "unsupported_sign_type": {"isv.invalid-signature-type"},
            "duplicate_parameter": {"isv.invalid-parameter"},
            "invalid_timestamp": {"isv.invalid-timestamp"},
            "wrong_cert_sn": {"isv.app-cert-not-exist", "isv.invalid-alipay-root-cert-sn"},
            "missing_cert_sn": {"isv.missing-app-cert-sn", "isv.missing-alipay-root-cert-sn"},
        }
        assert outcome in codes.get(expected["reason"], {outcome} - {"accept"})
    if "string_to_sign" in expected:
        text = alipay_signing.request_string_to_sign(parameters)
        assert text == expected["string_to_sign"]
        private_key = KEYS["alipay"][inputs["merchant"]]["app_private_key_pkcs8"]
        assert sign_sha256(private_key, text.encode()) == expected["signature"]


@cases("alipay.cert_sn")
def test_alipay_certificate_serial(case: dict[str, Any]) -> None:
    inputs = case["inputs"]
    is_root = inputs["which"] == "alipay_root_cert_sn"
    serial = alipay_signing.root_certificate_sn if is_root else alipay_signing.certificate_sn
    assert serial(inputs["pem"]) == case["expected"]["sn"]


@cases("wechat.authorization")
def test_wechat_authorization(
    case: dict[str, Any], wechat_accounts: dict[str, WechatAccount]
) -> None:
    inputs, expected = case["inputs"], case["expected"]
    body = inputs["body"].encode()
    headers = {name.lower(): value for name, value in inputs["headers"].items()}
    answer: dict[str, Any] = {"result": "accept"}
    try:
        account = wechat_signing.check_request(
            inputs["method"],
            inputs["url"],
            headers,
            body,
            accounts=wechat_accounts,
            now=inputs["now"],
        )
        assert account.mch_id == KEYS["wechat"][inputs["merchant"]]["mchid"]
    except wechat_signing.WechatError as refusal:
        answer = {"result": "reject", "error": {"http": refusal.status, "code": refusal.code}}
    assert answer["result"] == expected["result"]
    if "error" in expected:
        assert answer["error"] == expected["error"]
    if "string_to_sign" in expected:
        text = wechat_signing.request_string_to_sign(
            inputs["method"], inputs["url"], str(inputs["timestamp"]), inputs["nonce"], body
        )
        assert text.decode() == expected["string_to_sign"]
        private_key = KEYS["wechat"][inputs["merchant"]]["merchant_private_key_pkcs8"]
        assert sign_sha256(private_key, text) == expected["signature"]


def test_root_serial_of_windows_files_without_empty_lines(
    alipay_accounts: dict[str, AlipayAccount],
) -> None:
    cert_mode = next(a for a in alipay_accounts.values() if a.mode == "cert")
    bundle = cert_mode.alipay_root_cert
    expected = alipay_signing.root_certificate_sn(bundle)
    squeezed = "".join(line for line in bundle.splitlines(keepends=True) if line.strip())
    unreadable = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert alipay_signing.root_certificate_sn(squeezed.replace("\n", "\r\n")) == expected
    assert alipay_signing.root_certificate_sn(unreadable + squeezed) == expected
