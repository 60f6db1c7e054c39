"""The provider vectors and accounts made from them.

`NOVAPAY_VECTORS` names another file of the same form.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core_service.providers.base import ProviderAccount

_OWN_COPY = Path(__file__).parents[2] / "data" / "provider-vectors.json"
VECTORS: dict[str, Any] = json.loads(
    Path(os.environ.get("NOVAPAY_VECTORS") or _OWN_COPY).read_text(encoding="utf-8")
)
CASES: list[dict[str, Any]] = VECTORS["cases"]
KEYS: dict[str, Any] = VECTORS["keys"]

CALLBACK_URL = "https://pay.example.com/api/payments/callback/provider/acc1/tok1"


def cases_of(*kinds: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["kind"] in kinds]


def moment(inputs: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(inputs.get("now", VECTORS["now"]), UTC)


def alipay_account(ref: str, **config: Any) -> ProviderAccount:
    keys = KEYS["alipay"][ref]
    own: dict[str, Any] = {
        "appId": keys["app_id"],
        "privateKey": keys["app_private_key_pkcs8"],
        "sellerId": keys["seller_id"],
    }
    if keys["mode"] == "cert":
        own |= {
            "appCert": keys["app_cert"],
            "alipayCert": keys["alipay_cert"],
            "alipayRootCert": keys["alipay_root_cert"],
        }
    else:
        own["alipayPublicKey"] = keys["alipay_public_key"]
    return ProviderAccount("acc1", "mch1", "alipay.page", own | config, CALLBACK_URL)


def wechat_account(ref: str, serials: list[str] | None = None, **config: Any) -> ProviderAccount:
    """`serials`: trust only these; None trusts every key of the merchant."""
    keys = KEYS["wechat"][ref]
    own: dict[str, Any] = {
        "appId": keys["appid"],
        "mchId": keys["mchid"],
        "mchSerialNo": keys["merchant_serial_no"],
        "privateKey": keys["merchant_private_key_pkcs8"],
        "apiV3Key": keys["apiv3_key"],
    }
    certificates = [
        entry["cert"]
        for entry in keys["platform_certs"]
        if serials is None or entry["serial_no"] in serials
    ]
    if certificates:
        own["platformCertificates"] = certificates
    public_key_id = keys.get("wechatpay_public_key_id")
    if public_key_id and (serials is None or public_key_id in serials):
        own["platformPublicKeyId"] = public_key_id
        own["platformPublicKey"] = keys["wechatpay_public_key"]
    return ProviderAccount("acc1", "mch1", "wxpay.native", own | config, CALLBACK_URL)
