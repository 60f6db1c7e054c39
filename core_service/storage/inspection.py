"""What `novapay doctor` reads from the database: a connection of its own, nothing is changed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from core_service.storage import sealed_places, servers
from core_service.storage.sealed_places import SEALED_COLUMNS
from core_service.storage.secret_box import Place

CONNECT_TIMEOUT_SECONDS = 5
BATCH_ROWS = 500


class DatabaseUnreachable(Exception):
    """No connection could be made; the text is PostgreSQL's."""


@dataclass(frozen=True)
class ServerFacts:
    """The server as it is now. `version` is PostgreSQL's number, 150004 for 15.4."""

    version: int
    is_read_only: bool
    clock: datetime


@dataclass(frozen=True)
class SealedValue:
    """A stored secret and the place that it was sealed for."""

    place: Place
    sealed: bytes


@dataclass(frozen=True)
class SealedAccount:
    """An enabled channel account; the opened value is JSON `{"config": {…}, …}`."""

    merchant_code: str
    account_id: str
    channel_code: str
    value: SealedValue


def server_facts(database_url: str) -> ServerFacts:
    """Ask the server about itself. Raises DatabaseUnreachable."""
    with _reading(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery(), clock_timestamp()")
        is_read_only, clock = cursor.fetchall()[0]
        return ServerFacts(connection.info.server_version, is_read_only, clock)


def sealed_values(database_url: str) -> Iterator[SealedValue]:
    """Every stored secret, in batches: a whole table need not fit into memory."""
    with _reading(database_url) as connection:
        for column in SEALED_COLUMNS:
            statement = (
                f"SELECT {column.merchant}, {column.row}, {column.column} FROM {column.table}"
                f" WHERE {column.column} IS NOT NULL"
            )
            for merchant_id, row_id, sealed in _rows(connection, statement):
                yield SealedValue(column.place(merchant_id, row_id), bytes(sealed))


def enabled_accounts(database_url: str) -> Iterator[SealedAccount]:
    """Every enabled channel account."""
    statement = (
        "SELECT m.id, m.code, a.id, a.channel_code, a.config_sealed"
        " FROM channel_accounts a JOIN merchants m ON m.id = a.merchant_id WHERE a.enabled"
    )
    with _reading(database_url) as connection:
        for merchant_id, code, account_id, channel_code, sealed in _rows(connection, statement):
            place = sealed_places.account_config(merchant_id, account_id)
            yield SealedAccount(code, account_id, channel_code, SealedValue(place, bytes(sealed)))


@contextmanager
def _reading(database_url: str) -> Iterator[Connection]:
    try:
        connection = servers.connect(database_url, connect_timeout=CONNECT_TIMEOUT_SECONDS)
    except psycopg2.OperationalError as error:
        raise DatabaseUnreachable(str(error).strip()) from error
    try:
        connection.set_session(readonly=True)
        yield connection
    finally:
        connection.close()


def _rows(connection: Connection, statement: str) -> Iterator[tuple[Any, ...]]:
    with connection.cursor(name="doctor") as cursor:
        cursor.itersize = BATCH_ROWS
        cursor.execute(statement)
        yield from cursor
