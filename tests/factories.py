"""Rows that make sense by default, written with plain SQL: the ground for other tests.

Every function uses the connection of the running test (`connection_scope()` or a transaction) and
makes rows that belong together: an order without a merchant makes one. Secrets are sealed with
TEST_BOX; give the code under test the same box.
"""

import base64
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from core_service.domain.ids import new_id
from core_service.storage import sealed_places
from core_service.storage.database import execute
from core_service.storage.secret_box import SecretBox

TEST_KEYS = {"test-only": b"test-only master key, 32 bytes.."}
TEST_BOX = SecretBox(TEST_KEYS)


@dataclass(frozen=True)
class TestMerchant:
    """A merchant that was written, with what the other side needs to know about it."""

    id: str
    code: str
    notify_secret: str

    __test__ = False


def make_merchant(
    *,
    code: str | None = None,
    status: str = "APPROVED",
    callback_base: str | None = None,
    notify_secret: str | None = None,
    box: SecretBox = TEST_BOX,
    **columns: Any,
) -> TestMerchant:
    """An approved merchant with a complete profile; `columns` overrides any other column."""
    merchant_id = new_id("mch")
    merchant = TestMerchant(
        merchant_id,
        code or f"shop-{merchant_id[-8:]}",
        notify_secret or "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
    )
    sealed = box.seal(merchant.notify_secret.encode(), sealed_places.notify_secret(merchant.id))
    now = datetime.now(UTC)
    values = {
        "id": merchant.id,
        "code": merchant.code,
        "name": "Test Shop",
        "status": status,
        "legal_name": "Test Shop Ltd",
        "contact_name": "Contact",
        "contact_email": "contact@example.com",
        "contact_phone": "+86 10 0000 0000",
        "company_registration_id": "91110000TEST",
        "callback_base": callback_base,
        "notify_secret_sealed": sealed,
        "notify_secret_mask": "whse********",
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    _insert("merchants", values)
    return merchant


def make_account(
    merchant: TestMerchant,
    *,
    channel_code: str = "alipay.page",
    config: dict[str, Any] | None = None,
    callback_token: str | None = None,
    box: SecretBox = TEST_BOX,
    **columns: Any,
) -> str:
    """A channel account of the merchant, with an empty configuration; returns its id."""
    account_id = new_id("acc")
    clear = {
        "config": config or {},
        "callbackToken": callback_token or secrets.token_urlsafe(24),
    }
    place = sealed_places.account_config(merchant.id, account_id)
    now = datetime.now(UTC)
    values = {
        "merchant_id": merchant.id,
        "id": account_id,
        "channel_code": channel_code,
        "display_name": "Test account",
        "config_sealed": box.seal(json.dumps(clear).encode(), place),
        "config_masked": "{}",
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    _insert("channel_accounts", values)
    return account_id


def make_order(
    merchant: TestMerchant | None = None,
    *,
    account_id: str | None = None,
    status: str = "PENDING",
    amount_fen: int = 8810,
    channel_code: str = "alipay.page",
    **columns: Any,
) -> str:
    """An order of 88.10 yuan; returns its id. A SUCCEEDED one is paid in full."""
    merchant = merchant or make_merchant()
    account_id = account_id or make_account(merchant, channel_code=channel_code)
    now = datetime.now(UTC)
    order_id = new_id("po")
    paid = status == "SUCCEEDED"
    values = {
        "merchant_id": merchant.id,
        "id": order_id,
        "external_order_id": f"ext-{order_id[-10:]}",
        "channel_code": channel_code,
        "account_id": account_id,
        "amount_fen": amount_fen,
        "currency": "CNY",
        "fee_rate": Decimal("0.0060"),
        "fee_fen": round(amount_fen * Decimal("0.0060")),
        "subject": "Test goods",
        "status": status,
        "provider_status": "TRADE_SUCCESS" if paid else None,
        "gateway_order_id": f"gw{order_id[-12:]}" if paid else None,
        "paid_amount_fen": amount_fen if paid else 0,
        "expire_at": now + timedelta(minutes=30),
        "paid_at": now if paid else None,
        "completed_at": now if status in {"SUCCEEDED", "FAILED", "CANCELLED"} else None,
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    _insert("payment_orders", values)
    return order_id


def make_refund(
    merchant: TestMerchant,
    order_id: str,
    *,
    status: str = "SUCCEEDED",
    amount_fen: int = 100,
    **columns: Any,
) -> str:
    """A refund of a paid order, reserved on it unless FAILED; returns its id."""
    now = datetime.now(UTC)
    refund_id = new_id("rf")
    values = {
        "merchant_id": merchant.id,
        "id": refund_id,
        "order_id": order_id,
        "external_refund_id": f"ext-{refund_id[-10:]}",
        "amount_fen": amount_fen,
        "fee_fen": 0,
        "status": status,
        "refunded_at": now if status == "SUCCEEDED" else None,
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    _insert("refunds", values)
    execute(
        """
        UPDATE payment_orders
        SET refund_reserved_fen = refund_reserved_fen + %s, refunded_fen = refunded_fen + %s
        WHERE merchant_id = %s AND id = %s
        """,
        (
            0 if status == "FAILED" else amount_fen,
            amount_fen if status == "SUCCEEDED" else 0,
            merchant.id,
            order_id,
        ),
    )
    return refund_id


def _insert(table: str, values: dict[str, Any]) -> None:
    names = ", ".join(values)
    places = ", ".join(f"%({name})s" for name in values)
    execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)
