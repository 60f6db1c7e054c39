"""Where each kind of secret lives: writer and reader of a sealed value name the same place."""

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
