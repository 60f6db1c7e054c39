"""Genuine provider notifications, made with the test keys of the public vectors and nothing of ours."""

import base64
import json
import secrets
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEYS: Any = json.loads((Path(__file__).parent / "data" / "provider-vectors.json").read_text())[
    "keys"
]
ALIPAY: Any = KEYS["alipay"]["A1"]
WXPAY: Any = KEYS["wechat"]["W1"]
BEIJING = timezone(timedelta(hours=8))


def alipay(
    order: dict[str, Any], *, key: str = ALIPAY["alipay_private_key_pkcs8"], **changes: str
) -> bytes:
    """The form body of TRADE_SUCCESS for an order of the contract; `changes` are made before signing."""
    now = datetime.now(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    fields = {
        "app_id": ALIPAY["app_id"],
        "auth_app_id": ALIPAY["app_id"],
        "seller_id": ALIPAY["seller_id"],
        "charset": "utf-8",
        "version": "1.0",
        "notify_type": "trade_status_sync",
        "notify_id": secrets.token_hex(16),
        "notify_time": now,
        "gmt_create": now,
        "gmt_payment": now,
        "trade_no": f"2026{secrets.randbelow(10**24):024d}",
        "out_trade_no": order["id"],
        "total_amount": order["amount"],
        "receipt_amount": order["amount"],
        "subject": order["subject"],
        "trade_status": "TRADE_SUCCESS",
        **changes,
    }
    fields = {name: value for name, value in fields.items() if value}
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    return urlencode({**fields, "sign_type": "RSA2", "sign": _sign(key, text.encode())}).encode()


def wxpay(
    order: dict[str, Any], *, key: str | None = None, at: int | None = None, **changes: Any
) -> tuple[dict[str, str], bytes]:
    """Headers and body of TRANSACTION.SUCCESS; `changes` are made to the plaintext, None removes."""
    fen = int(order["amount"].replace(".", ""))
    plaintext = {
        "mchid": WXPAY["mchid"],
        "appid": WXPAY["appid"],
        "out_trade_no": order["id"],
        "transaction_id": f"42{secrets.randbelow(10**26):026d}",
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": "",
        "success_time": datetime.now(BEIJING).isoformat(timespec="seconds"),
        "payer": {"openid": "test-openid"},
        "amount": {"total": fen, "payer_total": fen, "currency": "CNY", "payer_currency": "CNY"},
        **changes,
    }
    plaintext = {name: value for name, value in plaintext.items() if value is not None}
    nonce = secrets.token_hex(6)
    sealed = AESGCM(WXPAY["apiv3_key"].encode()).encrypt(
        nonce.encode(), json.dumps(plaintext, ensure_ascii=False).encode(), b"transaction"
    )
    body = json.dumps(
        {
            "id": secrets.token_hex(16),
            "create_time": datetime.now(UTC).isoformat(timespec="seconds"),
            "event_type": "TRANSACTION.SUCCESS",
            "resource_type": "encrypt-resource",
            "summary": "支付成功",
            "resource": {
                "original_type": "transaction",
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": base64.b64encode(sealed).decode(),
                "nonce": nonce,
                "associated_data": "transaction",
            },
        },
        ensure_ascii=False,
    ).encode()
    certificate = WXPAY["platform_certs"][0]
    stamp, request_nonce = str(at or int(time.time())), secrets.token_hex(16)
    signed = f"{stamp}\n{request_nonce}\n".encode() + body + b"\n"
    headers = {
        "content-type": "application/json",
        "wechatpay-timestamp": stamp,
        "wechatpay-nonce": request_nonce,
        "wechatpay-serial": certificate["serial_no"],
        "wechatpay-signature": _sign(key or certificate["private_key_pkcs8"], signed),
        "wechatpay-signature-type": "WECHATPAY2-SHA256-RSA2048",
    }
    return headers, body


def _sign(pem: str, content: bytes) -> str:
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return base64.b64encode(key.sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()
