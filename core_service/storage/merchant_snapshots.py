"""Reads that the snapshot cache is made of, and the statement that spends a nonce.

The merchant's row is read first: every write to what belongs to it bumps `merchants.version` in the
same transaction, so whatever is read after it is at least as new as that version.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core_service.storage.database import Prepared, Row, execute, fetch_all, fetch_one


@dataclass(frozen=True)
class MerchantRows:
    """Everything that belongs to one merchant, as stored; secrets are sealed."""

    merchant: Row
    credentials: list[Row]
    accounts: list[Row]
    bindings: list[Row]


@dataclass(frozen=True)
class VersionOf:
    """Which merchant something belongs to, and how new that merchant is."""

    merchant_id: str
    version: int


def load(merchant_id: str) -> MerchantRows | None:
    """Read one merchant whole."""
    merchant = fetch_one("SELECT * FROM merchants WHERE id = %s", (merchant_id,))
    if merchant is None:
        return None
    return MerchantRows(
        merchant=merchant,
        credentials=fetch_all("SELECT * FROM credentials WHERE merchant_id = %s", (merchant_id,)),
        accounts=fetch_all(
            "SELECT * FROM channel_accounts WHERE merchant_id = %s ORDER BY created_at, id",
            (merchant_id,),
        ),
        bindings=fetch_all("SELECT * FROM bindings WHERE merchant_id = %s", (merchant_id,)),
    )


_BY_ID = Prepared("SELECT id, version FROM merchants WHERE id = %s")
_BY_CODE = Prepared("SELECT id, version FROM merchants WHERE code = %s")
_BY_KEY = Prepared(
    "SELECT m.id, m.version FROM credentials c JOIN merchants m ON m.id = c.merchant_id "
    "WHERE c.key_id = %s"
)
_BY_ACCOUNT = Prepared(
    "SELECT m.id, m.version FROM channel_accounts a JOIN merchants m ON m.id = a.merchant_id "
    "WHERE a.id = %s"
)


def version_by_id(merchant_id: str) -> VersionOf | None:
    """None: no such merchant."""
    return _version(_BY_ID, merchant_id)


def version_by_code(code: str) -> VersionOf | None:
    """None: no such merchant."""
    return _version(_BY_CODE, code)


def version_by_key(key_id: str) -> VersionOf | None:
    """None: no such key."""
    return _version(_BY_KEY, key_id)


def version_by_account(account_id: str) -> VersionOf | None:
    """None: no such channel account."""
    return _version(_BY_ACCOUNT, account_id)


class NonceOutcome(StrEnum):
    """What became of an attempt to spend a nonce."""

    SPENT = "SPENT"
    REPLAYED = "REPLAYED"
    STALE = "STALE"
    """The merchant changed since it was read: nothing was spent."""


@dataclass(frozen=True)
class Nonce:
    """A nonce to be remembered until `expires_at`, if the merchant is still at `merchant_version`."""

    merchant_id: str
    nonce: str
    expires_at: datetime
    merchant_version: int


SPENDING = """
WITH merchant AS (
    SELECT 1 FROM merchants WHERE id = %(merchant_id)s AND version = %(merchant_version)s
), spent AS (
    INSERT INTO nonces AS n (merchant_id, nonce, expires_at)
    SELECT %(merchant_id)s, %(nonce)s, %(nonce_expires_at)s FROM merchant
    ON CONFLICT (merchant_id, nonce) DO UPDATE SET expires_at = EXCLUDED.expires_at
    WHERE n.expires_at < now()
    RETURNING 1
)"""
"""The beginning of every statement that spends a nonce; to be followed by more, or by `SPENT`."""

SPENT = """
SELECT EXISTS (SELECT 1 FROM merchant) AS current, EXISTS (SELECT 1 FROM spent) AS spent"""

_SPEND_NONCE = Prepared(SPENDING + SPENT)


def nonce_parameters(nonce: Nonce) -> dict[str, Any]:
    """What `SPENDING` needs."""
    return {
        "merchant_id": nonce.merchant_id,
        "nonce": nonce.nonce,
        "nonce_expires_at": nonce.expires_at,
        "merchant_version": nonce.merchant_version,
    }


def nonce_outcome(row: Row | None) -> NonceOutcome:
    """What `SPENT` says."""
    if row is None or not row["current"]:
        return NonceOutcome.STALE
    return NonceOutcome.SPENT if row["spent"] else NonceOutcome.REPLAYED


def spend_nonce(nonce: Nonce) -> NonceOutcome:
    """Remember a nonce, unless the merchant is no longer as it was.

    One statement decides, so two requests with one nonce never both pass, in whatever processes.
    """
    return nonce_outcome(fetch_one(_SPEND_NONCE, nonce_parameters(nonce)))


def nonce_exists(merchant_id: str, nonce: str) -> bool:
    """Whether a nonce was spent; asked when a connection broke at COMMIT."""
    return (
        fetch_one(
            "SELECT 1 AS found FROM nonces WHERE merchant_id = %s AND nonce = %s",
            (merchant_id, nonce),
        )
        is not None
    )


def record_last_use(uses: Iterable[tuple[str, str, datetime]]) -> None:
    """Note when keys were last used: (merchant id, key id, when). Bumps no version."""
    for merchant_id, key_id, used_at in uses:
        execute(
            "UPDATE credentials SET last_used_at = greatest(last_used_at, %s) "
            "WHERE merchant_id = %s AND key_id = %s",
            (used_at, merchant_id, key_id),
        )


def _version(sql: Prepared, parameter: str) -> VersionOf | None:
    row = fetch_one(sql, (parameter,))
    return None if row is None else VersionOf(row["id"], row["version"])
