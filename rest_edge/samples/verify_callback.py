"""Verifies a callback: standard input has its headers, an empty line and the body, byte for byte.

Needs NOVAPAY_NOTIFY_SECRET. Exit status 0: genuine. One of the two formats is enough for a shop.
"""

import base64
import hashlib
import hmac
import os
import sys
import time
from collections.abc import Mapping
from datetime import datetime

TOLERANCE_SECONDS = 300


def is_fresh(seconds: float) -> bool:
    """Refuses what was recorded and is played again later."""
    return abs(time.time() - seconds) < TOLERANCE_SECONDS


def verify_novapay(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """x-novapay-signature: hex over `{timestamp}.{body}`."""
    timestamp = headers["x-novapay-timestamp"]
    signed = timestamp.encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return is_fresh(datetime.fromisoformat(timestamp).timestamp()) and hmac.compare_digest(
        expected, headers["x-novapay-signature"]
    )


def verify_standard_webhooks(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """webhook-signature: base64 over `{id}.{timestamp}.{body}`; several while a secret is being replaced."""
    timestamp = headers["webhook-timestamp"]
    signed = f"{headers['webhook-id']}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return is_fresh(int(timestamp)) and any(
        hmac.compare_digest(f"v1,{digest}", item) for item in headers["webhook-signature"].split()
    )


if __name__ == "__main__":
    head, _, raw = sys.stdin.buffer.read().replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
    received = {name.lower(): value for name, value in fields.items()}
    notify_secret = os.environ["NOVAPAY_NOTIFY_SECRET"]
    genuine = verify_novapay(received, raw, notify_secret) and verify_standard_webhooks(
        received, raw, notify_secret
    )
    print("genuine" if genuine else "refused")
    raise SystemExit(not genuine)
