"""A demo merchant: receives NovaPay's callbacks, verifies both signatures, keeps its own books.

`/merchant/callback/{name}` takes deliveries, `/merchant/{name}/deliveries` and
`/merchant/{name}/books` show what the shop believes. It can be told to misbehave.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import falcon

from sandbox.clock import utc_iso
from sandbox.database import Database
from sandbox.wire_faults import WireFault, inject

MAX_AGE_SECONDS = 300
_SCHEMA = """
CREATE TABLE IF NOT EXISTS merchants (
  name TEXT PRIMARY KEY,
  notify_secret TEXT NOT NULL,
  merchant_code TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
  id INTEGER PRIMARY KEY,
  merchant TEXT NOT NULL REFERENCES merchants,
  at REAL NOT NULL,
  headers TEXT NOT NULL,
  body BLOB NOT NULL,
  novapay_verdict TEXT NOT NULL,
  standard_verdict TEXT NOT NULL,
  event TEXT NOT NULL,
  order_id TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  repeated INTEGER NOT NULL,
  answered TEXT NOT NULL
);
"""


@dataclass
class Behaviour:
    """How the shop answers. The defaults are a good shop; `times` counts down to good again."""

    status: int = 200
    times: int | None = None
    retry_after: str | None = None
    delay_seconds: float = 0.0
    redirect_to: str | None = None
    body_bytes: int = 0
    reset: bool = False
    hold: bool = False


def behaviour_from(body: Mapping[str, Any]) -> Behaviour:
    """Reads `{"status", "times", "retryAfter", …}`; ValueError for an unknown name."""
    names = {_camel(f.name): f.name for f in fields(Behaviour)}
    unknown = set(body) - set(names)
    if unknown:
        raise ValueError(f"unknown {unknown.pop()!r}, known: {sorted(names)}")
    return Behaviour(**{names[key]: value for key, value in body.items()})


class MerchantSite:
    """All demo merchants of this sandbox."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self._behaviours: dict[str, Behaviour] = {}
        self._lock = threading.Lock()

    def register(self, name: str, notify_secret: str, merchant_code: str) -> None:
        """Adds a shop or gives it a new secret."""
        self._database.execute(
            "INSERT INTO merchants VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " notify_secret = excluded.notify_secret, merchant_code = excluded.merchant_code",
            name, notify_secret, merchant_code,
        )  # fmt: skip

    def misbehave(self, name: str, behaviour: Behaviour) -> None:
        """From now on the shop answers like this."""
        with self._lock:
            self._behaviours[name] = behaviour

    def names(self) -> list[str]:
        """All shops."""
        return [row["name"] for row in self._database.rows("SELECT name FROM merchants")]

    def clear(self) -> None:
        """Forgets deliveries and behaviours; the shops stay."""
        self._database.execute("DELETE FROM deliveries")
        with self._lock:
            self._behaviours.clear()

    def close(self) -> None:
        """Closes the books."""
        self._database.close()

    # -- HTTP

    def on_post_callback(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """A delivery from NovaPay."""
        merchant = self._merchant(name)
        body = req.bounded_stream.read()
        headers = {key.lower(): value for key, value in req.headers.items()}
        secret = merchant["notify_secret"]
        verdicts = (verify_novapay(headers, body, secret), verify_standard(headers, body, secret))
        behaviour = self._take_behaviour(name)
        self._record(name, headers, body, verdicts, behaviour)
        if behaviour.delay_seconds:
            time.sleep(behaviour.delay_seconds)
        if behaviour.hold:
            inject(req.env, WireFault("hold"))
        if behaviour.reset:
            inject(req.env, WireFault("reset"))
        resp.status = behaviour.status
        if behaviour.retry_after is not None:
            resp.set_header("Retry-After", behaviour.retry_after)
        if behaviour.redirect_to is not None:
            resp.set_header("Location", behaviour.redirect_to)
        if behaviour.status == 200 and verdicts != ("valid", "valid"):
            resp.status = falcon.HTTP_401  # a good shop refuses what it cannot verify
        if behaviour.body_bytes:
            resp.data = b"x" * behaviour.body_bytes
        else:
            resp.media = {"received": True, "novapay": verdicts[0], "standard": verdicts[1]}

    def on_get_deliveries(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Every delivery as received, oldest first; `?orderId=` filters."""
        self._merchant(name)
        order_id = req.get_param("orderId")
        resp.media = {"deliveries": self.deliveries(name, order_id)}

    def on_get_books(self, _req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """What the shop believes from verified deliveries, repeats dropped."""
        self._merchant(name)
        orders: dict[str, dict[str, Any]] = {}
        for delivery in self.deliveries(name, None):
            valid = delivery["novapay"] == "valid" and delivery["standardWebhooks"] == "valid"
            if not valid or delivery["repeated"] or not isinstance(delivery["json"], dict):
                continue
            order = delivery["json"].get("order") or {}
            entry = orders.setdefault(
                delivery["orderId"], {"orderId": delivery["orderId"], "statuses": [], "events": []}
            )
            entry["events"].append(delivery["json"])
            if order.get("status"):
                entry["statuses"].append(order["status"])
                entry["status"] = order["status"]
        resp.media = {"orders": list(orders.values())}

    def deliveries(self, name: str, order_id: str | None) -> list[dict[str, Any]]:
        """Deliveries of a shop as JSON-ready dictionaries."""
        rows = self._database.rows(
            "SELECT * FROM deliveries WHERE merchant = ? AND (? IS NULL OR order_id = ?)"
            " ORDER BY id",
            name, order_id, order_id,
        )  # fmt: skip
        return [_delivery_json(row) for row in rows]

    def _merchant(self, name: str) -> dict[str, Any]:
        merchant = self._database.row("SELECT * FROM merchants WHERE name = ?", name)
        if merchant is None:
            raise falcon.HTTPNotFound(
                title="no such merchant", description="register it with POST /control/merchants"
            )
        return merchant

    def _take_behaviour(self, name: str) -> Behaviour:
        with self._lock:
            behaviour = self._behaviours.get(name, Behaviour())
            if behaviour.times == 0:
                return Behaviour()
            if behaviour.times is not None:
                behaviour.times -= 1
            return behaviour

    def _record(
        self,
        name: str,
        headers: dict[str, str],
        body: bytes,
        verdicts: tuple[str, str],
        behaviour: Behaviour,
    ) -> None:
        delivery_id = headers.get("x-novapay-delivery-id", "")
        with self._database.transaction():
            known = self._database.row(
                "SELECT 1 FROM deliveries WHERE merchant = ? AND delivery_id = ?"
                " AND novapay_verdict = 'valid' AND answered = '200'",
                name, delivery_id,
            )  # fmt: skip
            self._database.insert(
                "deliveries",
                merchant=name,
                at=time.time(),
                headers=json.dumps(headers),
                body=body,
                novapay_verdict=verdicts[0],
                standard_verdict=verdicts[1],
                event=headers.get("x-novapay-event", ""),
                order_id=headers.get("x-novapay-order-id", ""),
                delivery_id=delivery_id,
                repeated=int(known is not None and delivery_id != ""),
                answered="no answer" if behaviour.reset or behaviour.hold
                else str(behaviour.status),
            )  # fmt: skip


def verify_novapay(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """Checks x-novapay-signature: `valid` or the reason why not."""
    timestamp = headers.get("x-novapay-timestamp", "")
    given = headers.get("x-novapay-signature", "")
    if not timestamp or not given:
        return "missing x-novapay-timestamp or x-novapay-signature"
    expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    if not hmac.compare_digest(expected.hexdigest().encode(), given.encode()):
        return "wrong signature"
    try:
        sent_at = datetime.fromisoformat(timestamp)
    except ValueError:
        return "timestamp is not ISO 8601"
    if sent_at.tzinfo is None or abs(sent_at.timestamp() - time.time()) > MAX_AGE_SECONDS:
        return "timestamp too far from now"
    return "valid"


def verify_standard(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """Checks the Standard Webhooks headers: `valid` or the reason why not."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")
    if not message_id or not timestamp or not given:
        return "missing webhook-id, webhook-timestamp or webhook-signature"
    try:
        key = standard_key(secret)
    except binascii.Error:
        return "the secret after whsec_ is not base64"
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    if not any(hmac.compare_digest(expected, part.encode()) for part in given.split(" ")):
        return "wrong signature"
    if not (timestamp.isascii() and timestamp.isdigit()):
        return "timestamp is not Unix seconds"
    if abs(int(timestamp) - time.time()) > MAX_AGE_SECONDS:
        return "timestamp too far from now"
    return "valid"


def standard_key(secret: str) -> bytes:
    """`whsec_` + base64, or any other text whose UTF-8 bytes are the key."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def new_notify_secret() -> str:
    """A fresh secret for a shop that brings none."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def _delivery_json(row: Mapping[str, Any]) -> dict[str, Any]:
    body: bytes = row["body"]
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    return {
        "id": row["id"],
        "at": utc_iso(row["at"]),
        "event": row["event"],
        "orderId": row["order_id"],
        "deliveryId": row["delivery_id"],
        "headers": json.loads(row["headers"]),
        "body": body.decode("utf-8", "backslashreplace"),
        "json": parsed,
        "novapay": row["novapay_verdict"],
        "standardWebhooks": row["standard_verdict"],
        "repeated": bool(row["repeated"]),
        "answered": row["answered"],
    }


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)
