"""The other side of the wire for adapter tests.

Answers are signed by independent SDKs, not by our code.
"""

import base64
import json
from datetime import UTC, datetime
from typing import Any

from alipay import AliPay
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from wechatpayv3 import utils as wechat_sdk

from core_service.providers.base import NotificationRequest, PaymentRequest, RefundRequest
from tests.core_service.providers.canned_server import CannedAnswer
from tests.core_service.providers.vectors import KEYS, VECTORS

NOW = datetime.fromtimestamp(VECTORS["now"], UTC)
ORDER_ID = "po_01kt1qzv8m3j5s9w2x4y6z7a8b"
REFUND_ID = "rf_01kt1qzv8m3j5s9w2x4y6z7a8c"

PAYMENT = PaymentRequest(
    order_id=ORDER_ID,
    amount_fen=8888,
    subject="一年会员",
    description=None,
    expire_at=datetime(2026, 6, 1, 4, 30, tzinfo=UTC),
    return_url="https://pay.example.com/pay/x/return",
)
REFUND = RefundRequest(
    refund_id=REFUND_ID,
    order_id=ORDER_ID,
    gateway_order_id=None,
    amount_fen=1000,
    order_amount_fen=8888,
    reason="商品已售完",
)


def alipay_sdk(ref: str = "A1", *, as_alipay: bool = False) -> AliPay:
    """python-alipay-sdk as the merchant or as the gateway.

    `as_alipay`: with Alipay's key pair, so that it signs and verifies like the gateway.
    """
    keys = KEYS["alipay"][ref]
    private = keys["alipay_private_key_pkcs8" if as_alipay else "app_private_key_pkcs1"]
    public = keys["app_public_key" if as_alipay else "alipay_public_key"]
    return AliPay(
        appid=keys["app_id"],
        app_private_key_string=private,
        alipay_public_key_string=public,
    )


def alipay_answer(
    method: str, fields: dict[str, Any], ref: str = "A1", *, is_ascii: bool = False
) -> CannedAnswer:
    node = json.dumps(fields, ensure_ascii=is_ascii)
    signature = alipay_sdk(ref, as_alipay=True)._sign(node)
    name = method.replace(".", "_") + "_response"
    body = f'{{"{name}":{node},"sign":"{signature}"}}'
    return CannedAnswer(200, {"Content-Type": "text/html;charset=utf-8"}, body.encode())


def alipay_refusal(method: str, sub_code: str, code: str = "40004") -> CannedAnswer:
    fields = {"code": code, "msg": "", "sub_code": sub_code, "sub_msg": "…"}
    return alipay_answer(method, fields)


def wechat_headers(
    body: bytes, *, ref: str = "W1", serial: str | None = None, signature: str | None = None
) -> dict[str, str]:
    """Signed by the platform certificate with `serial` (the first one), or by the "public key"."""
    keys = KEYS["wechat"][ref]
    if serial == "public key":
        serial, private = keys["wechatpay_public_key_id"], keys["wechatpay_private_key_pkcs8"]
    else:
        entry = next(e for e in keys["platform_certs"] if serial in (None, e["serial_no"]))
        serial, private = entry["serial_no"], entry["private_key_pkcs8"]
    stamp, nonce = str(int(NOW.timestamp())), "5e0c1f7a"
    key = wechat_sdk.load_private_key(private)
    made = wechat_sdk.rsa_sign(key, f"{stamp}\n{nonce}\n{body.decode()}\n")
    return {
        "Wechatpay-Timestamp": stamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": signature or made,
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
    }


def wechat_answer(
    fields: dict[str, Any] | None, *, status: int = 200, **signing: Any
) -> CannedAnswer:
    body = json.dumps(fields, ensure_ascii=False).encode() if fields is not None else b""
    return CannedAnswer(status, wechat_headers(body, **signing), body)


def wechat_error(status: int, code: str) -> CannedAnswer:
    """Unsigned, as WeChat Pay sends them."""
    body = json.dumps({"code": code, "message": "…"}).encode()
    return CannedAnswer(status, {"Content-Type": "application/json"}, body)


def wechat_encrypted(plain: bytes, associated_data: str, ref: str = "W1") -> dict[str, str]:
    key = KEYS["wechat"][ref]["apiv3_key"].encode()
    nonce = "0123456789ab"
    ciphertext = AESGCM(key).encrypt(nonce.encode(), plain, associated_data.encode())
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": nonce,
        "associated_data": associated_data,
        "ciphertext": base64.b64encode(ciphertext).decode(),
    }


def wechat_certificates_answer(ref: str = "W1", **signing: Any) -> CannedAnswer:
    """What GET /v3/certificates answers during a rotation.

    Every platform certificate of the merchant.
    """
    entries = [
        {
            "serial_no": entry["serial_no"],
            "effective_time": "2025-06-01T00:00:00+08:00",
            "expire_time": "2030-06-01T00:00:00+08:00",
            "encrypt_certificate": wechat_encrypted(entry["cert"].encode(), "certificate", ref),
        }
        for entry in KEYS["wechat"][ref]["platform_certs"]
    ]
    return wechat_answer({"data": entries}, ref=ref, **signing)


def wechat_notification(
    event_type: str, inner: dict[str, Any], *, ref: str = "W1", **signing: Any
) -> NotificationRequest:
    plain = json.dumps(inner, ensure_ascii=False).encode()
    envelope = {
        "id": "EV-1",
        "event_type": event_type,
        "resource_type": "encrypt-resource",
        "resource": wechat_encrypted(plain, "transaction", ref),
    }
    body = json.dumps(envelope).encode()
    headers = wechat_headers(body, ref=ref, **signing)
    return NotificationRequest(
        "POST", {name.lower(): value for name, value in headers.items()}, b"", body
    )
