"""The demo shop's side of the API: signs requests as any merchant's program would."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

_HTTP = urllib3.PoolManager(retries=False, timeout=30)


@dataclass(frozen=True)
class Answer:
    """HTTP status and parsed body."""

    status: int
    json: Any


@dataclass(frozen=True)
class Shop:
    """One merchant credential and where NovaPay listens."""

    base: str
    code: str
    key_id: str
    secret: str

    @classmethod
    def from_environment(cls, settings: Mapping[str, str]) -> "Shop":
        """From the names in `demo.env`."""
        return cls(
            settings["NOVAPAY_DEMO_BASE"],
            settings["NOVAPAY_DEMO_MERCHANT"],
            settings["NOVAPAY_DEMO_KEY"],
            settings["NOVAPAY_DEMO_SECRET"],
        )

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Signs and sends; `merchantCode` is added."""
        raw = json.dumps({"merchantCode": self.code, **body}, ensure_ascii=False).encode()
        timestamp, nonce = str(int(time.time())), secrets.token_hex(12)
        signed = f"{timestamp}.{nonce}.".encode() + raw
        headers = {
            "content-type": "application/json",
            "x-novapay-key": self.key_id,
            "x-novapay-timestamp": timestamp,
            "x-novapay-nonce": nonce,
            "x-novapay-signature": hmac.new(
                self.secret.encode(), signed, hashlib.sha256
            ).hexdigest(),
        }
        answer = _HTTP.request("POST", self.base + path, body=raw, headers=headers)
        return Answer(answer.status, json.loads(answer.data))
