"""What is asked of the installation: each scenario prepares its requests beforehand and names the right answer."""

import base64
import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench.installation import Installation, Shop
from bench.load import http
from tests.notifications import ALIPAY, BEIJING

AMOUNT, AMOUNT_FEN = "88.10", 8810


@dataclass(frozen=True)
class Scenario:
    """One kind of request. `prepare(installation, count)` makes at most so many, different ones."""

    name: str
    prepare: Callable[[Installation, int], list[bytes]]
    expected: str
    """What a right answer (200) contains, head or body."""
    most_per_second: int
    """More than any machine of ours does; bounds what is prepared."""


def _create(channel: str) -> Callable[[Installation, int], list[bytes]]:
    def prepare(installation: Installation, count: int) -> list[bytes]:
        return [signed_create(shop, channel) for shop in _shops(installation, count)]

    return prepare


def signed_create(
    shop: Shop, channel: str, *, key: str | None = None, name: str = "", amount: str = AMOUNT
) -> bytes:
    """A whole request for a new order; `name`: the merchant's own number of it."""
    body = {
        "merchantCode": shop.merchant.code,
        "channelCode": channel,
        "externalOrderId": name or f"bench-{secrets.token_hex(10)}",
        "amount": amount,
        "subject": "一年会员 annual plan",
        "description": "order of the bench",
        "returnUrl": "https://shop.example.com/return",
        "metadata": {"cart": "c-1", "lines": 3},
    }
    return _signed(
        shop, "/api/payment-orders", body, {"Idempotency-Key": key or secrets.token_hex(12)}
    )


def _query(installation: Installation, count: int) -> list[bytes]:
    names = _orders(installation, "true", count)
    turns = itertools.islice(itertools.cycle(names), count)
    shops = {shop.merchant.code: shop for shop in installation.shops}
    return [signed_query(shops[code], order_id) for code, order_id, _ in turns]


def signed_query(shop: Shop, order_id: str) -> bytes:
    """A whole request for what is known of an order."""
    body = {"merchantCode": shop.merchant.code, "sync": False}
    return _signed(shop, f"/api/payment-orders/{order_id}", body, {})


def _replay(installation: Installation, count: int) -> list[bytes]:
    """One key of each merchant, used once before."""
    key, name = secrets.token_hex(12), f"bench-{secrets.token_hex(10)}"
    for shop in installation.shops:
        head, _, body = signed_create(shop, "alipay.page", key=key, name=name).partition(
            b"\r\n\r\n"
        )
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        answer = shop.merchant.http.request(
            "POST", "/api/payment-orders", body=body, headers=headers
        )
        assert answer.status == 200, answer.raw
    return [
        signed_create(shop, "alipay.page", key=key, name=name)
        for shop in _shops(installation, count)
    ]


def _notification(installation: Installation, count: int) -> list[bytes]:
    """Each pays another order, which has not been paid yet."""
    paths = {shop.merchant.code: shop.notification_path for shop in installation.shops}
    unpaid = _orders(installation, "o.status = 'PENDING' AND o.channel_code = 'alipay.page'", count)
    return [
        paid_notification(paths[code], order_id, amount_fen)
        for code, order_id, amount_fen in unpaid
    ]


def paid_notification(path: str, order_id: str, amount_fen: int) -> bytes:
    """A whole request by which Alipay tells at a shop's path that an order was paid."""
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    return http(path, _trade_success(order_id, amount_fen), kind)


def _trade_success(order_id: str, amount_fen: int) -> bytes:
    now = datetime.now(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    amount = f"{amount_fen // 100}.{amount_fen % 100:02d}"
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
        "out_trade_no": order_id,
        "total_amount": amount,
        "receipt_amount": amount,
        "subject": "bench",
        "trade_status": "TRADE_SUCCESS",
    }
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    signature = _alipay_key().sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    sign = base64.b64encode(signature).decode()
    return urlencode({**fields, "sign_type": "RSA2", "sign": sign}).encode()


@cache
def _alipay_key() -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(ALIPAY["alipay_private_key_pkcs8"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def _health(_installation: Installation, count: int) -> list[bytes]:
    return [http("/api/health")] * count


SCENARIOS = (
    Scenario("create alipay.page", _create("alipay.page"), '"created":true', 3000),
    Scenario("create wxpay.native", _create("wxpay.native"), '"created":true', 1500),
    Scenario("query", _query, '"order":{', 8000),
    Scenario("replay", _replay, "idempotency-status: replayed", 6000),
    Scenario("notification", _notification, "success", 3000),
    Scenario("health", _health, '"ok"', 20000),
)


def _shops(installation: Installation, count: int) -> Iterator[Shop]:
    return itertools.islice(itertools.cycle(installation.shops), count)


def _signed(shop: Shop, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    raw = json.dumps(body, ensure_ascii=False).encode()
    signed = shop.merchant.sign(raw, timestamp=str(int(time.time())))
    return http(path, raw, {"Content-Type": "application/json", **signed, **headers})


def _orders(installation: Installation, where: str, count: int) -> list[tuple[str, str, int]]:
    """Merchant code, order id and amount of orders that `where` (ours) chooses, newest first."""
    sql = (
        "SELECT m.code, o.id, o.amount_fen FROM payment_orders o "  # noqa: S608 (a constant of ours)
        f"JOIN merchants m ON m.id = o.merchant_id WHERE {where} "
        "ORDER BY o.created_at DESC LIMIT %s"
    )
    rows = installation.rows(sql, count)
    return [(code, order_id, amount_fen) for code, order_id, amount_fen in rows]
