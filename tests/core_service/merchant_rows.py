"""Merchants put straight into the tables, sealed as the core seals them."""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core_service.domain import signature
from core_service.domain.ids import new_id
from core_service.storage import sealed_places
from core_service.storage.database import connection_scope, execute
from core_service.storage.secret_box import SecretBox

TEST_KEYS = {"test": bytes(range(32))}  # a test key


@dataclass(frozen=True)
class KnownKey:
    """An API key that a test knows."""

    key_id: str
    secret: str


@dataclass(frozen=True)
class KnownMerchant:
    """A merchant with one live key."""

    id: str
    code: str
    key: KnownKey


def insert_merchant(box: SecretBox, **columns: Any) -> KnownMerchant:
    """An approved merchant with a whole profile; `columns` overrides."""
    now = datetime.now(UTC)
    merchant_id = new_id("mch")
    row = {
        "id": merchant_id,
        "code": f"M{secrets.token_hex(6)}",
        "name": "Test",
        "status": "APPROVED",
        "notify_secret_sealed": box.seal(b"notify", sealed_places.notify_secret(merchant_id)),
        "notify_secret_mask": "noti****tify",
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    _insert("merchants", row)
    return KnownMerchant(merchant_id, row["code"], insert_key(box, merchant_id))


def insert_key(box: SecretBox, merchant_id: str, **columns: Any) -> KnownKey:
    """A live API key; `columns` overrides."""
    key = KnownKey(signature.new_key_id(), signature.new_secret())
    place = sealed_places.credential_secret(merchant_id, key.key_id)
    row = {
        "merchant_id": merchant_id,
        "key_id": key.key_id,
        "secret_sealed": box.seal(key.secret.encode(), place),
        "created_at": datetime.now(UTC),
        **columns,
    }
    _insert("credentials", row)
    change(merchant_id)
    return key


def insert_account(box: SecretBox, merchant_id: str, config: dict[str, Any]) -> str:
    """A channel account for alipay.page; its id."""
    account_id = new_id("acc")
    now = datetime.now(UTC)
    _insert(
        "channel_accounts",
        {
            "merchant_id": merchant_id,
            "id": account_id,
            "channel_code": "alipay.page",
            "display_name": "Test",
            "config_sealed": seal_config(box, merchant_id, account_id, config),
            "config_masked": "{}",
            "created_at": now,
            "updated_at": now,
        },
    )
    change(merchant_id)
    return account_id


def seal_config(box: SecretBox, merchant_id: str, account_id: str, config: dict[str, Any]) -> bytes:
    sealed = json.dumps({"config": config, "callbackToken": "t0ken"}).encode()
    return box.seal(sealed, sealed_places.account_config(merchant_id, account_id))


def change(
    merchant_id: str, statement: str | None = None, parameters: tuple[Any, ...] = ()
) -> None:
    """Run a statement about what belongs to a merchant and bump its version."""
    with connection_scope():
        if statement is not None:
            execute(statement, parameters)
        execute("UPDATE merchants SET version = version + 1 WHERE id = %s", (merchant_id,))


def _insert(table: str, row: dict[str, Any]) -> None:
    marks = ", ".join(["%s"] * len(row))
    with connection_scope():
        execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
