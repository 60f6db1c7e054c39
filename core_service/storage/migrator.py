"""Applies the numbered SQL files of `migrations/`, each once and in order.

Each file runs in one transaction together with its row in `schema_migrations`, so a file that
fails leaves nothing behind. An advisory lock inside that transaction lets any number of processes
start the migration at once: one applies a file, the others then find it applied. A file that was
changed after it was applied, and a database that is ahead of this program, are refused.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 (it is a class)

from core_service.failpoints import failpoint
from core_service.storage import servers

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK_KEY = 0x6E6F7661706179  # "novapay" in ASCII
CONNECT_TIMEOUT_SECONDS = 10

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(Exception):
    """The database is out of reach, or it and the files do not fit together; the text says how."""


@dataclass(frozen=True)
class Migration:
    """One file: `0001_initial.sql` is version 1; the checksum is the hex SHA-256 of its bytes."""

    version: int
    name: str
    checksum: str
    sql: str


def migrate(database_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply every pending migration; return the names of those that this call applied."""
    migrations = read_migrations(folder)
    applied = []
    connection = _connect(database_url)
    try:
        while (migration := _apply_next(connection, migrations)) is not None:
            applied.append(migration.name)
    finally:
        connection.close()
    return applied


def pending(database_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Return the names of the migrations that the database lacks, without changing anything."""
    migrations = read_migrations(folder)
    connection = _connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
            row = cursor.fetchone()
            if row is None or not row[0]:
                return [migration.name for migration in migrations]
            return [migration.name for migration in _not_applied(connection, migrations)]
    finally:
        connection.close()


def read_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Read the files of `folder` in order; each has a number of its own, and a number may be unused."""
    migrations: list[Migration] = []
    paths = sorted(folder.glob("*.sql"))
    if not paths:
        raise MigrationError(f"{folder} holds no migrations: this installation is not whole")
    for path in paths:
        number = path.name.split("_")[0]
        if not (number.isdecimal() and len(number) == 4):
            raise MigrationError(f"{path.name} should begin with a number of four digits")
        if migrations and migrations[-1].version == int(number):
            raise MigrationError(f"{path.name} has the number of {migrations[-1].name}")
        content = path.read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        migrations.append(Migration(int(number), path.stem, checksum, content.decode()))
    return migrations


def _connect(database_url: str) -> Connection:
    try:
        connection: Connection = servers.connect(
            database_url, connect_timeout=CONNECT_TIMEOUT_SECONDS
        )
    except psycopg2.OperationalError as error:
        raise MigrationError(f"the database cannot be reached: {error}".strip()) from error
    return connection


def _apply_next(connection: Connection, migrations: Sequence[Migration]) -> Migration | None:
    with connection, connection.cursor() as cursor:
        # Limits are for requests; a pooler or the role may have set them for every session.
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        # Held to the end of the transaction; a session lock would not pass a pooler.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        cursor.execute(_TABLE)
        missing = _not_applied(connection, migrations)
        if not missing:
            return None
        migration = missing[0]
        failpoint("m1")
        try:
            cursor.execute(migration.sql)
        except psycopg2.Error as error:
            raise MigrationError(f"{migration.name} failed: {error}".strip()) from error
        cursor.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.checksum],
        )
        failpoint("m2")
        return migration


def _not_applied(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Compare the files with the table; raises MigrationError when they contradict each other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version, name, checksum FROM schema_migrations")
        applied = {version: (name, checksum) for version, name, checksum in cursor.fetchall()}
    known = {migration.version: migration for migration in migrations}
    for version, (name, checksum) in sorted(applied.items()):
        if version not in known:
            raise MigrationError(
                f"the database has migration {name}, which this program does not know:"
                " it was migrated by a newer one"
            )
        if known[version].checksum != checksum:
            raise MigrationError(
                f"{known[version].name} was changed after it had been applied;"
                " restore the file and put the change into a new migration"
            )
    return [migration for migration in migrations if migration.version not in applied]
