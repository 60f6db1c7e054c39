"""A merchant's check of a callback, made with nothing but the contract's words (section 6)."""

import base64
import hashlib
import hmac
from collections.abc import Mapping


def callback_is_genuine(secret: str, headers: Mapping[str, str], raw: bytes) -> bool:
    """Both signatures, NovaPay's own and that of Standard Webhooks, verify."""
    signed = f"{headers['x-novapay-timestamp']}.".encode() + raw
    own = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
    standard = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return (
        headers["x-novapay-signature"] == own
        and f"v1,{standard}" in headers["webhook-signature"].split(" ")
        and headers["webhook-id"] == headers["x-novapay-delivery-id"]
    )
