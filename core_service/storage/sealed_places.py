"""Where each kind of secret lives: writer and reader of a sealed value name the same place."""

from collections.abc import Callable
from dataclasses import dataclass

from core_service.storage.secret_box import Place


def notify_secret(merchant_id: str) -> Place:
    """The secret that signs a merchant's callbacks; the value is its UTF-8 bytes."""
    return Place("merchants", merchant_id, "notify_secret", merchant_id)


def previous_notify_secret(merchant_id: str) -> Place:
    """The secret that signed a merchant's callbacks before; the value is its UTF-8 bytes."""
    return Place("merchants", merchant_id, "previous_notify_secret", merchant_id)


def credential_secret(merchant_id: str, key_id: str) -> Place:
    """An API secret; the value is its UTF-8 bytes, `nps_…`."""
    return Place("credentials", key_id, "secret", merchant_id)


def account_config(merchant_id: str, account_id: str) -> Place:
    """A channel account; the value is JSON: `{"config": {…}, "callbackToken": "…"}`."""
    return Place("channel_accounts", account_id, "config", merchant_id)


def operator_totp(operator_id: str) -> Place:
    """An operator's TOTP key; the value is its raw bytes. Operators belong to no merchant."""
    return Place("operators", operator_id, "totp", "")


def pending_operator_totp(operator_id: str) -> Place:
    """A TOTP key that its operator has not confirmed yet; the value is its raw bytes."""
    return Place("operators", operator_id, "pending_totp", "")


@dataclass(frozen=True)
class SealedColumn:
    """A column of sealed values; `merchant` and `row` are the columns that name the place."""

    table: str
    merchant: str
    row: str
    column: str
    place: Callable[[str, str], Place]
    """Of merchant id and row id."""


SEALED_COLUMNS: tuple[SealedColumn, ...] = (
    SealedColumn(
        "merchants", "id", "id", "notify_secret_sealed", lambda merchant, _: notify_secret(merchant)
    ),
    SealedColumn(
        "merchants",
        "id",
        "id",
        "previous_notify_secret_sealed",
        lambda merchant, _: previous_notify_secret(merchant),
    ),
    SealedColumn("credentials", "merchant_id", "key_id", "secret_sealed", credential_secret),
    SealedColumn("channel_accounts", "merchant_id", "id", "config_sealed", account_config),
    SealedColumn("operators", "id", "id", "totp_sealed", lambda _, row: operator_totp(row)),
    SealedColumn(
        "operators", "id", "id", "pending_totp_sealed", lambda _, row: pending_operator_totp(row)
    ),
)
"""Every column of the schema that holds sealed values."""
