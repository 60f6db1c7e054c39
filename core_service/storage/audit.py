"""The audit log: who changed what, from where. Rows are only ever inserted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.calls import Call
from core_service.domain.ids import new_id
from core_service.storage.database import Table
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
    entry = AuditEntry(
        id=new_id("aud"),
        at=datetime.now(UTC),
        actor=who(call),
        action=action,
        target=target,
        before=_json(before),
        after=_json(after),
        client_address=call.client_address,
        request_id=call.request_id,
    )
    run(AuditRecords.insert(vars(entry)))


def newest(target: str | None, wanted: PageRequest) -> Page[AuditEntry]:
    """Records about one target, or about all, newest first."""
    query = AuditRecords.select()
    if target is not None:
        query = query.where(AuditRecords.target == target)
    if wanted.after is not None:
        query = query.where(AuditRecords.id < wanted.after.id)
    # Ids are sorted by time, and the primary key is their index.
    query = query.order_by(AuditRecords.id.desc()).limit(wanted.size + 1)
    entries = [AuditEntry(**row) for row in rows_of(query)]
    return page_of(entries, wanted, lambda entry: Position(entry.at, entry.id))


def _json(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
