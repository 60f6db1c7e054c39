"""What became of signed requests: written in batches, read newest first, purged after a week."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.database import Table, execute, fetch_all
from core_service.storage.paging import Page, PageRequest, Position, page_of
from core_service.storage.queries import rows_of

BATCH = 200


class SignedRequests(Table):
    """The table `signed_requests`."""

    merchant_id = peewee.TextField()
    id = peewee.TextField()
    at = DateTimeTZField()
    operation = peewee.TextField()
    outcome = peewee.TextField()
    detail = peewee.TextField(null=True)
    key_id = peewee.TextField()
    client_address = peewee.TextField(null=True)
    request_id = peewee.TextField()
    duration_ms = peewee.IntegerField()

    class Meta:
        """Two columns make the key."""

        primary_key = peewee.CompositeKey("merchant_id", "id")


@dataclass(frozen=True)
class SignedRequestRow:
    """A request as stored; the columns of `signed_requests`."""

    merchant_id: str
    id: str
    at: datetime
    operation: str
    outcome: str
    """OK, or the reason of the refusal."""
    detail: str | None
    key_id: str
    client_address: str | None
    request_id: str
    duration_ms: int


def owners_of(key_ids: Collection[str]) -> dict[str, str]:
    """Key ids that exist, and whose they are."""
    rows = fetch_all(
        "SELECT key_id, merchant_id FROM credentials WHERE key_id = ANY (%s)", (list(key_ids),)
    )
    return {row["key_id"]: row["merchant_id"] for row in rows}


_INSERT = """
    INSERT INTO signed_requests (merchant_id, id, at, operation, outcome, detail, key_id, client_address, request_id,
                                 duration_ms)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[],
                         %s::text[], %s::text[], %s::integer[])"""


def insert(rows: Sequence[SignedRequestRow]) -> None:
    """Adds requests, a batch in one statement of constant text: every signed request costs a row here."""
    for start in range(0, len(rows), BATCH):
        columns = zip(*(vars(row).values() for row in rows[start : start + BATCH]), strict=True)
        execute(_INSERT, [list(column) for column in columns])


def newest(
    merchant_id: str, *, refused: bool, key_id: str | None, wanted: PageRequest
) -> Page[SignedRequestRow]:
    """A merchant's requests, newest first."""
    query = SignedRequests.select().where(SignedRequests.merchant_id == merchant_id)
    if refused:
        query = query.where(SignedRequests.outcome != "OK")
    if key_id is not None:
        query = query.where(SignedRequests.key_id == key_id)
    if wanted.after is not None:
        query = query.where(SignedRequests.id < wanted.after.id)
    # Ids are sorted by time.
    query = query.order_by(SignedRequests.id.desc()).limit(wanted.size + 1)
    rows = [SignedRequestRow(**row) for row in rows_of(query)]
    return page_of(rows, wanted, lambda row: Position(row.at, row.id))
