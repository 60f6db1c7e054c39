"""The demo merchant: both signature checks, its books, its bad moods."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import urllib3

from sandbox.server import SandboxServer

BODY = json.dumps(
    {"event": "payment.order.updated", "order": {"id": "po_1", "status": "SUCCEEDED"}}
)


def signed(
    secret: str, body: str = BODY, *, key: bytes | None = None, age: int = 0
) -> dict[str, str]:
    """Headers as the contract describes them, made here without any code of the sandbox."""
    moment = datetime.now(UTC) - timedelta(seconds=age)
    timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    unix = str(int(moment.timestamp()))
    standard = hmac.new(key or secret.encode(), f"dlv_1.{unix}.{body}".encode(), hashlib.sha256)
    return {
        "content-type": "application/json",
        "x-novapay-event": "payment.order.updated",
        "x-novapay-order-id": "po_1",
        "x-novapay-delivery-id": "dlv_1",
        "x-novapay-timestamp": timestamp,
        "x-novapay-signature": hmac.new(
            secret.encode(), f"{timestamp}.{body}".encode(), hashlib.sha256
        ).hexdigest(),
        "webhook-id": "dlv_1",
        "webhook-timestamp": unix,
        "webhook-signature": "v1," + base64.b64encode(standard.digest()).decode(),
    }


@pytest.fixture
def shop(sandbox: SandboxServer) -> dict[str, Any]:
    made = sandbox.control("merchants", name="shop", notifySecret="geheim-密钥", merchantCode="M1")
    sandbox.control("merchants/shop/behaviour")
    return made


def deliver(
    shop: dict[str, Any], headers: dict[str, str], body: str = BODY
) -> urllib3.BaseHTTPResponse:
    return urllib3.request(
        "POST", shop["callbackUrl"], body=body.encode(), headers=headers, redirect=False,
        retries=False, timeout=10,
    )  # fmt: skip


def test_good_deliveries_are_booked_and_repeats_dropped(
    sandbox: SandboxServer, shop: dict[str, Any]
) -> None:
    headers = signed("geheim-密钥")
    assert deliver(shop, headers).status == 200
    assert deliver(shop, headers).status == 200
    first, second = sandbox.get("/merchant/shop/deliveries?orderId=po_1")["deliveries"]
    assert (first["novapay"], first["standardWebhooks"]) == ("valid", "valid")
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert first["headers"]["x-novapay-event"] == "payment.order.updated"
    assert first["body"] == BODY
    (order,) = sandbox.get("/merchant/shop/books")["orders"]
    assert (order["status"], order["statuses"]) == ("SUCCEEDED", ["SUCCEEDED"])


def test_whsec_secrets_are_base64(sandbox: SandboxServer) -> None:
    shop = sandbox.control("merchants", name="shop2")
    secret = shop["notifySecret"]
    assert secret.startswith("whsec_")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert deliver(shop, signed(secret, key=key)).status == 200
    assert deliver(shop, signed(secret)).status == 401


@pytest.mark.parametrize(
    ("change", "novapay", "standard"),
    [
        ({"x-novapay-signature": "0" * 64}, "wrong signature", "valid"),
        ({"webhook-signature": "v1,AAAA"}, "valid", "wrong signature"),
        ({"webhook-id": "dlv_2"}, "valid", "wrong signature"),
        ({"x-novapay-timestamp": ""}, "missing", "valid"),
        ({"webhook-timestamp": ""}, "valid", "missing"),
    ],
)
def test_wrong_signatures_are_refused(
    sandbox: SandboxServer,
    shop: dict[str, Any],
    change: dict[str, str],
    novapay: str,
    standard: str,
) -> None:
    assert deliver(shop, signed("geheim-密钥") | change).status == 401
    (delivery,) = sandbox.get("/merchant/shop/deliveries")["deliveries"]
    assert delivery["novapay"].startswith(novapay)
    assert delivery["standardWebhooks"].startswith(standard)
    assert sandbox.get("/merchant/shop/books")["orders"] == []


def test_old_deliveries_and_other_bodies_are_refused(shop: dict[str, Any]) -> None:
    old = deliver(shop, signed("geheim-密钥", age=400))
    assert old.status == 401
    assert "timestamp" in old.json()["novapay"]
    assert "timestamp" in old.json()["standard"]
    assert deliver(shop, signed("geheim-密钥"), BODY + " ").status == 401
    assert deliver(shop, signed("another")).status == 401


def test_two_webhook_signatures_during_a_change_of_secret(shop: dict[str, Any]) -> None:
    headers = signed("geheim-密钥")
    headers["webhook-signature"] = "v1,b2xk " + headers["webhook-signature"]
    assert deliver(shop, headers).status == 200


def test_bad_moods(sandbox: SandboxServer, shop: dict[str, Any]) -> None:
    headers = signed("geheim-密钥")
    call = "merchants/shop/behaviour"
    sandbox.control(call, status=503, retryAfter="2", times=2)
    for expected in (503, 503, 200):
        answer = deliver(shop, headers)
        assert answer.status == expected
        assert answer.headers.get("retry-after") == ("2" if expected == 503 else None)
    sandbox.control(call, status=302, redirectTo="http://169.254.169.254/")
    assert deliver(shop, headers).headers["location"] == "http://169.254.169.254/"
    sandbox.control(call, bodyBytes=1_000_000)
    assert len(deliver(shop, headers).data) == 1_000_000
    for broken in ("reset", "hold"):
        sandbox.control(call, **{broken: True}, times=1)
        with pytest.raises(urllib3.exceptions.HTTPError):
            urllib3.request(
                "POST", shop["callbackUrl"], body=BODY.encode(), headers=headers, retries=False,
                timeout=0.5,
            )  # fmt: skip
        assert deliver(shop, headers).status == 200
    with pytest.raises(RuntimeError, match="400"):
        sandbox.control(call, colour="red")


def test_a_slow_shop(sandbox: SandboxServer, shop: dict[str, Any]) -> None:
    sandbox.control("merchants/shop/behaviour", delaySeconds=0.3)
    before = time.monotonic()
    assert deliver(shop, signed("geheim-密钥")).status == 200
    assert time.monotonic() - before >= 0.3
