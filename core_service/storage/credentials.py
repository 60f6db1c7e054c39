"""Merchants' API keys."""

from dataclasses import dataclass
from datetime import datetime

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.database import Table
from core_service.storage.queries import row_of, rows_of, run


class Credentials(Table):
    """The table `credentials`."""

    merchant_id = peewee.TextField()
    key_id = peewee.TextField()
    secret_sealed = peewee.BlobField()
    label = peewee.TextField()
    enabled = peewee.BooleanField()
    expires_at = DateTimeTZField(null=True)
    last_used_at = DateTimeTZField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Two columns make the key."""

        primary_key = peewee.CompositeKey("merchant_id", "key_id")


@dataclass(frozen=True)
class CredentialRow:
    """An API key without its secret, and whose it is."""

    merchant_id: str
    merchant_code: str
    key_id: str
    label: str
    enabled: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


def insert(row: CredentialRow, secret_sealed: bytes) -> None:
    """Adds a key."""
    values = {name: value for name, value in vars(row).items() if name != "merchant_code"}
    run(Credentials.insert({**values, "secret_sealed": secret_sealed}))


def disable(row: CredentialRow) -> None:
    """Switches a key off."""
    here = (Credentials.merchant_id == row.merchant_id) & (Credentials.key_id == row.key_id)
    run(Credentials.update({"enabled": False}).where(here))


def merchant_id_of(key_id: str) -> str | None:
    """Whose key this is."""
    row = row_of(Credentials.select(Credentials.merchant_id).where(Credentials.key_id == key_id))
    return None if row is None else row["merchant_id"]


def of_merchant(merchant_id: str, merchant_code: str) -> list[CredentialRow]:
    """A merchant's keys, newest first."""
    query = (
        Credentials.select(
            Credentials.merchant_id,
            Credentials.key_id,
            Credentials.label,
            Credentials.enabled,
            Credentials.expires_at,
            Credentials.last_used_at,
            Credentials.created_at,
        )
        .where(Credentials.merchant_id == merchant_id)
        .order_by(Credentials.created_at.desc(), Credentials.key_id.desc())
    )
    return [CredentialRow(merchant_code=merchant_code, **row) for row in rows_of(query)]
