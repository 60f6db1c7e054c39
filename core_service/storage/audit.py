"""The audit log: who changed what, from where. Rows are only ever inserted.

The database gives each row its place in the chain of hashes (migration 0003), under a lock that lasts to the end of the
transaction: only changes by people write here, never a merchant's payment.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.calls import Call
from core_service.domain.ids import new_id
from core_service.storage.database import Row, Table, fetch_one
from core_service.storage.paging import Page, PageRequest, Position, page_of
from core_service.storage.queries import rows_of, run


class AuditRecords(Table):
    """The table `audit_records`."""

    id = peewee.TextField(primary_key=True)
    at = DateTimeTZField()
    actor = peewee.TextField()
    action = peewee.TextField()
    target = peewee.TextField()
    before = peewee.TextField(null=True)
    after = peewee.TextField(null=True)
    client_address = peewee.TextField(null=True)
    request_id = peewee.TextField()
    reason = peewee.TextField(null=True)
    sequence = peewee.BigIntegerField(unique=True)
    hash = peewee.BlobField()


@dataclass(frozen=True)
class AuditEntry:
    """A record as stored; `before` and `after` are JSON objects, secrets masked."""

    id: str
    at: datetime
    actor: str
    action: str
    target: str
    before: str | None
    after: str | None
    client_address: str | None
    request_id: str
    reason: str | None
    sequence: int
    hash: bytes

    @property
    def content(self) -> tuple[str | None, ...]:
        """What the hash covers, in the order of `audit_link`."""
        at = self.at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return (
            str(self.sequence), self.id, at, self.actor, self.action, self.target, self.before,
            self.after, self.reason, self.client_address, self.request_id,
        )  # fmt: skip


@dataclass(frozen=True)
class ChainEnd:
    """The newest link."""

    sequence: int
    hash: bytes


@dataclass(frozen=True)
class AuditFilter:
    """Which records are wanted; None: all."""

    target: str | None = None
    actor: str | None = None
    action: str | None = None


def who(call: Call) -> str:
    """The caller as the log names it: an operator's email address, or what kind of caller it is."""
    return call.actor if call.operator is None else call.operator.email


def record(
    call: Call,
    *,
    action: str,
    target: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """Writes one record; to be called once, inside the transaction of the change.

    `action` is such as merchant.update, `target` kind and id (`merchant:mch_…`). The caller
    masks secrets in `before` and `after`; None means that there was, or is, nothing.
    """
    run(
        AuditRecords.insert(
            id=new_id("aud"),
            at=datetime.now(UTC),
            actor=who(call),
            action=action,
            target=target,
            before=_json(before),
            after=_json(after),
            client_address=call.client_address,
            request_id=call.request_id,
            reason=call.reason,
        )
    )


def newest(which: AuditFilter, wanted: PageRequest) -> Page[AuditEntry]:
    """Records, newest first."""
    query = AuditRecords.select()
    for column, value in (
        (AuditRecords.target, which.target),
        (AuditRecords.actor, which.actor),
        (AuditRecords.action, which.action),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.after is not None:
        query = query.where(AuditRecords.id < wanted.after.id)
    # Ids are sorted by time; each index ends with them.
    query = query.order_by(AuditRecords.id.desc()).limit(wanted.size + 1)
    entries = [_entry(row) for row in rows_of(query)]
    return page_of(entries, wanted, lambda entry: Position(entry.at, entry.id))


def chain_end() -> ChainEnd:
    """What the newest record must be."""
    row = fetch_one("SELECT sequence, hash FROM audit_chain")
    assert row is not None
    return ChainEnd(row["sequence"], bytes(row["hash"]))


def last_sequence() -> int:
    """The highest place that a record has; 0 without any."""
    row = fetch_one("SELECT coalesce(max(sequence), 0) AS last FROM audit_records")
    assert row is not None
    return int(row["last"])


def stretch(first: int, count: int) -> list[AuditEntry]:
    """Up to `count` records from the place `first` on, in the order of the chain."""
    query = (
        AuditRecords.select()
        .where(AuditRecords.sequence >= first)
        .order_by(AuditRecords.sequence)
        .limit(count)
    )
    return [_entry(row) for row in rows_of(query)]


def _entry(row: Row) -> AuditEntry:
    return AuditEntry(**{**row, "hash": bytes(row["hash"])})


def _json(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
