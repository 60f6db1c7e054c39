"""Merchants as administration sees them.

Whoever changes a merchant, or anything that belongs to it, locks its row first and bumps its
version in the same transaction: caches notice the version, and changes to one merchant queue up.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.errors import CoreError
from core_service.storage.channel_accounts import ChannelAccounts
from core_service.storage.credentials import Credentials
from core_service.storage.database import Table, execute
from core_service.storage.paging import Page, PageRequest, Position, page_of
from core_service.storage.queries import row_of, rows_of, run

_CODE_CONSTRAINT = "merchants_code_key"


class Merchants(Table):
    """The table `merchants`."""

    id = peewee.TextField(primary_key=True)
    code = peewee.TextField(unique=True)
    name = peewee.TextField()
    status = peewee.TextField()
    legal_name = peewee.TextField(null=True)
    contact_name = peewee.TextField(null=True)
    contact_email = peewee.TextField(null=True)
    contact_phone = peewee.TextField(null=True)
    company_registration_id = peewee.TextField(null=True)
    onboarding_note = peewee.TextField(null=True)
    review_note = peewee.TextField(null=True)
    approved_at = DateTimeTZField(null=True)
    approved_by = peewee.TextField(null=True)
    status_changed_at = DateTimeTZField(null=True)
    callback_base = peewee.TextField(null=True)
    notify_secret_sealed = peewee.BlobField()
    notify_secret_mask = peewee.TextField()
    previous_notify_secret_sealed = peewee.BlobField(null=True)
    previous_notify_secret_until = DateTimeTZField(null=True)
    api_ip_whitelist = peewee.TextField(null=True)
    callback_enabled = peewee.BooleanField()
    refund_callback_enabled = peewee.BooleanField()
    return_delay_seconds = peewee.IntegerField()
    logo_etag = peewee.TextField(null=True)
    callback_confirmed_at = DateTimeTZField(null=True)
    version = peewee.BigIntegerField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()


@dataclass(frozen=True)
class MerchantRow:
    """A merchant as stored; the columns of `merchants`."""

    id: str
    code: str
    name: str
    status: str
    legal_name: str | None
    contact_name: str | None
    contact_email: str | None
    contact_phone: str | None
    company_registration_id: str | None
    onboarding_note: str | None
    review_note: str | None
    approved_at: datetime | None
    approved_by: str | None
    status_changed_at: datetime | None
    callback_base: str | None
    notify_secret_sealed: bytes
    notify_secret_mask: str
    previous_notify_secret_sealed: bytes | None
    """Still signs beside the new one until the time that follows."""
    previous_notify_secret_until: datetime | None
    api_ip_whitelist: str | None
    callback_enabled: bool
    refund_callback_enabled: bool
    return_delay_seconds: int
    logo_etag: str | None
    callback_confirmed_at: datetime | None
    """When `callback_base`, as it is, first answered a test event with a 2xx."""
    version: int
    created_at: datetime
    updated_at: datetime


def insert(row: MerchantRow) -> None:
    """Adds a merchant. Raises MERCHANT_CODE_TAKEN."""
    _run_unless_taken(Merchants.insert(vars(row)))


def save(row: MerchantRow) -> MerchantRow:
    """Writes a locked merchant back, at its next version. Raises MERCHANT_CODE_TAKEN."""
    saved = replace(row, version=row.version + 1)
    _run_unless_taken(Merchants.update(vars(saved)).where(Merchants.id == row.id))
    return saved


def confirm_callback(merchant_id: str, url: str, *, now: datetime) -> None:
    """Notes that `url` answered a test event, while it still is the merchant's address."""
    execute(
        "UPDATE merchants SET callback_confirmed_at = %s "
        "WHERE id = %s AND callback_base = %s AND callback_confirmed_at IS NULL",
        (now, merchant_id, url),
    )


def bump(merchant_id: str) -> None:
    """Tells caches that something which belongs to the merchant has changed."""
    execute("UPDATE merchants SET version = version + 1 WHERE id = %s", (merchant_id,))


def by_reference(reference: str, *, lock: bool = False) -> MerchantRow | None:
    """By id, else by code; `lock` keeps it as it is until the end of the transaction."""
    return _first((Merchants.id == reference) | (Merchants.code == reference), reference, lock=lock)


def by_code(code: str, *, lock: bool = False) -> MerchantRow | None:
    """By code alone."""
    return _first(Merchants.code == code, code, lock=lock)


@dataclass(frozen=True)
class MerchantFilter:
    """Which merchants a list shows; None: whatever."""

    code: str | None = None
    search: str | None = None
    """Part of code, name, legal name or contact e-mail, or the whole id of an account or API key; in any case."""
    status: str | None = None


def newest(chosen: MerchantFilter, wanted: PageRequest) -> Page[MerchantRow]:
    """The chosen merchants, newest first."""
    query = Merchants.select()
    if chosen.code is not None:
        query = query.where(Merchants.code == chosen.code)
    if chosen.status is not None:
        query = query.where(Merchants.status == chosen.status)
    if chosen.search is not None:
        own_id = chosen.search.lower()
        accounts = ChannelAccounts.select(ChannelAccounts.merchant_id)
        keys = Credentials.select(Credentials.merchant_id)
        query = query.where(
            Merchants.code.contains(chosen.search)
            | Merchants.name.contains(chosen.search)
            | Merchants.legal_name.contains(chosen.search)
            | Merchants.contact_email.contains(chosen.search)
            | Merchants.id.in_(accounts.where(ChannelAccounts.id == own_id))
            | Merchants.id.in_(keys.where(Credentials.key_id == own_id))
        )
    if wanted.after is not None:
        here = peewee.Tuple(Merchants.created_at, Merchants.id)
        query = query.where(here < (wanted.after.created_at, wanted.after.id))
    query = query.order_by(Merchants.created_at.desc(), Merchants.id.desc())
    rows = [_row(row) for row in rows_of(query.limit(wanted.size + 1))]
    return page_of(rows, wanted, lambda row: Position(row.created_at, row.id))


def _first(condition: Any, reference: str, *, lock: bool) -> MerchantRow | None:
    # Somebody may choose a code that is another merchant's id: the id goes first.
    query = Merchants.select().where(condition).order_by((Merchants.id == reference).desc())
    if lock:
        query = query.for_update()
    row = row_of(query.limit(1))
    return None if row is None else _row(row)


def _row(row: dict[str, Any]) -> MerchantRow:
    previous = row["previous_notify_secret_sealed"]
    sealed = {
        "notify_secret_sealed": bytes(row["notify_secret_sealed"]),
        "previous_notify_secret_sealed": None if previous is None else bytes(previous),
    }
    return MerchantRow(**{**row, **sealed})


def _run_unless_taken(query: Any) -> None:
    try:
        run(query)
    except peewee.IntegrityError as violation:
        constraint = getattr(getattr(violation, "orig", None), "diag", None)
        if getattr(constraint, "constraint_name", None) != _CODE_CONSTRAINT:
            raise
        raise CoreError("MERCHANT_CODE_TAKEN") from violation
