"""Which account serves which channel of a merchant, with limits and fee."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.channel_accounts import ChannelAccounts
from core_service.storage.database import Table
from core_service.storage.merchants import Merchants
from core_service.storage.paging import Page, PageRequest, Position, page_of
from core_service.storage.queries import row_of, rows_of, run


class Bindings(Table):
    """The table `bindings`."""

    merchant_id = peewee.TextField()
    channel_code = peewee.TextField()
    id = peewee.TextField()
    enabled = peewee.BooleanField()
    account_id = peewee.TextField(null=True)
    min_amount_fen = peewee.BigIntegerField(null=True)
    max_amount_fen = peewee.BigIntegerField(null=True)
    fee_rate = peewee.DecimalField(max_digits=5, decimal_places=4)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Two columns make the key."""

        primary_key = peewee.CompositeKey("merchant_id", "channel_code")


@dataclass(frozen=True)
class BindingRow:
    """A binding as stored; the columns of `bindings`."""

    merchant_id: str
    channel_code: str
    id: str
    enabled: bool
    account_id: str | None
    """None: the newest enabled account of the channel."""
    min_amount_fen: int | None
    max_amount_fen: int | None
    fee_rate: Decimal
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class BoundAccount:
    """What is shown of a binding's account."""

    id: str
    display_name: str
    channel_code: str
    enabled: bool


@dataclass(frozen=True)
class BindingView:
    """A binding with the names of what it points at."""

    row: BindingRow
    merchant_code: str
    account: BoundAccount | None


def insert(row: BindingRow) -> None:
    """Adds a binding."""
    run(Bindings.insert(vars(row)))


def save(row: BindingRow) -> None:
    """Writes a binding back."""
    here = (Bindings.merchant_id == row.merchant_id) & (Bindings.channel_code == row.channel_code)
    run(Bindings.update(vars(row)).where(here))


def find(merchant_id: str, channel_code: str) -> BindingView | None:
    """The binding of one merchant and channel."""
    here = (Bindings.merchant_id == merchant_id) & (Bindings.channel_code == channel_code)
    row = row_of(_views().where(here))
    return None if row is None else _view(row)


def newest(merchant_code: str | None, wanted: PageRequest) -> Page[BindingView]:
    """Bindings of one merchant, or of all, newest first."""
    query = _views()
    if merchant_code is not None:
        query = query.where(Merchants.code == merchant_code)
    if wanted.after is not None:
        here = peewee.Tuple(Bindings.created_at, Bindings.id)
        query = query.where(here < (wanted.after.created_at, wanted.after.id))
    query = query.order_by(Bindings.created_at.desc(), Bindings.id.desc())
    views = [_view(row) for row in rows_of(query.limit(wanted.size + 1))]
    return page_of(views, wanted, lambda view: Position(view.row.created_at, view.row.id))


def _views() -> Any:
    of_the_same_merchant = ChannelAccounts.merchant_id == Bindings.merchant_id
    return (
        Bindings.select(
            Bindings,
            Merchants.code.alias("merchant_code"),
            ChannelAccounts.display_name.alias("account_name"),
            ChannelAccounts.channel_code.alias("account_channel"),
            ChannelAccounts.enabled.alias("account_enabled"),
        )
        .join(Merchants, on=(Merchants.id == Bindings.merchant_id))
        .join(
            ChannelAccounts,
            peewee.JOIN.LEFT_OUTER,
            on=(of_the_same_merchant & (ChannelAccounts.id == Bindings.account_id)),
        )
    )


def _view(row: dict[str, Any]) -> BindingView:
    columns = {name: row[name] for name in BindingRow.__dataclass_fields__}
    account = None
    if row["account_id"] is not None:
        account = BoundAccount(
            row["account_id"], row["account_name"], row["account_channel"], row["account_enabled"]
        )
    return BindingView(BindingRow(**columns), row["merchant_code"], account)
