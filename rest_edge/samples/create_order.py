"""Signs and sends one request. Needs NOVAPAY_BASE, NOVAPAY_MERCHANT, NOVAPAY_KEY, NOVAPAY_SECRET."""

import hashlib
import hmac
import json
import os
import secrets
import time
import urllib.error
import urllib.request


def post(path: str, fields: dict[str, object], idempotency_key: str) -> tuple[int, str]:
    """Status and body of the answer."""
    body = json.dumps({"merchantCode": os.environ["NOVAPAY_MERCHANT"], **fields}).encode()
    timestamp, nonce = str(int(time.time())), secrets.token_hex(12)
    signed = f"{timestamp}.{nonce}.".encode() + body
    signature = hmac.new(os.environ["NOVAPAY_SECRET"].encode(), signed, hashlib.sha256).hexdigest()
    headers = {
        "x-novapay-key": os.environ["NOVAPAY_KEY"],
        "x-novapay-timestamp": timestamp,
        "x-novapay-nonce": nonce,
        "x-novapay-signature": signature,
        "Idempotency-Key": idempotency_key,
        "Content-Type": "application/json",
    }
    # The bytes that were signed are the bytes that are sent.
    request = urllib.request.Request(os.environ["NOVAPAY_BASE"] + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:  # 4xx and 5xx have a body too
        return error.code, error.read().decode()


if __name__ == "__main__":
    order = f"shop-{secrets.token_hex(8)}"
    status, text = post(
        "/api/payment-orders",
        {
            "channelCode": "alipay.page",
            "externalOrderId": order,
            "amount": "88.10",
            "subject": "年度会员",
        },
        idempotency_key=order,
    )
    print(text)
    raise SystemExit(status != 200)
