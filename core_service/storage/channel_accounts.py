"""Merchants' accounts at providers; configurations are sealed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.database import Table
from core_service.storage.queries import row_of, rows_of, run


class ChannelAccounts(Table):
    """The table `channel_accounts`."""

    merchant_id = peewee.TextField()
    id = peewee.TextField()
    channel_code = peewee.TextField()
    display_name = peewee.TextField()
    enabled = peewee.BooleanField()
    config_sealed = peewee.BlobField()
    config_masked = peewee.TextField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Two columns make the key."""

        primary_key = peewee.CompositeKey("merchant_id", "id")


@dataclass(frozen=True)
class ChannelAccountRow:
    """An account as stored; the columns of `channel_accounts`."""

    merchant_id: str
    id: str
    channel_code: str
    display_name: str
    enabled: bool
    config_sealed: bytes
    config_masked: str
    """The configuration as JSON with every secret masked."""
    created_at: datetime
    updated_at: datetime


def insert(row: ChannelAccountRow) -> None:
    """Adds an account."""
    run(ChannelAccounts.insert(vars(row)))


def save(row: ChannelAccountRow) -> None:
    """Writes an account back."""
    here = (ChannelAccounts.merchant_id == row.merchant_id) & (ChannelAccounts.id == row.id)
    run(ChannelAccounts.update(vars(row)).where(here))


def by_id(account_id: str) -> ChannelAccountRow | None:
    """An account of whatever merchant."""
    row = row_of(ChannelAccounts.select().where(ChannelAccounts.id == account_id))
    return None if row is None else _row(row)


def of_merchant(merchant_id: str) -> list[ChannelAccountRow]:
    """A merchant's accounts, newest first."""
    query = (
        ChannelAccounts.select()
        .where(ChannelAccounts.merchant_id == merchant_id)
        .order_by(ChannelAccounts.created_at.desc(), ChannelAccounts.id.desc())
    )
    return [_row(row) for row in rows_of(query)]


def _row(row: dict[str, Any]) -> ChannelAccountRow:
    return ChannelAccountRow(**{**row, "config_sealed": bytes(row["config_sealed"])})
