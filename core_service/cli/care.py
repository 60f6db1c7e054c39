"""Commands that look after an installation, and what they share with the ones that run it."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from core_service.cli.failure import CommandFailed, load_settings
from core_service.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from core_service.settings import Settings
from core_service.storage import migrator


def migrate(arguments: Namespace) -> int:
    """Apply pending migrations, or with `--check` only report them."""
    with database_of(load_settings()) as database_url:
        try:
            run = migrator.pending if arguments.check else migrator.migrate
            names = run(database_url)
        except migrator.MigrationError as error:
            raise CommandFailed(str(error)) from error
    word = "pending" if arguments.check else "applied"
    if arguments.json:
        print(json.dumps({word: names}))
    else:
        print("\n".join(f"{word}: {name}" for name in names) or "the schema is up to date")
    return 1 if arguments.check and names else 0


def demo(arguments: Namespace) -> int:
    """Run the demonstration of the sandbox."""
    del arguments
    return int(import_module("sandbox.demo").main() or 0)


def routes(arguments: Namespace) -> int:
    """List the edge's routes."""
    del arguments
    return int(import_module("rest_edge.routes").main() or 0)


@contextmanager
def database_of(settings: Settings) -> Iterator[str]:
    """Address of the database while the block runs; an embedded server is started if none runs."""
    try:
        database, url = open_database(settings)
    except EmbeddedPostgresError as error:
        raise CommandFailed(str(error)) from error
    try:
        yield url
    finally:
        if database:
            database.stop()


def open_database(settings: Settings) -> tuple[EmbeddedPostgres | None, str]:
    """Return the embedded server, running, unless the settings name another; and the address."""
    if settings.database_url:
        return None, settings.database_url
    sys.stderr.write(f"novapay: PostgreSQL in {settings.data_dir}\n")
    database = EmbeddedPostgres(settings.data_dir)
    return database, database.ensure_running()


def refuse_pending_migrations(database_url: str) -> None:
    """Raise CommandFailed unless the schema is the one that this program was written for."""
    try:
        names = migrator.pending(database_url)
    except migrator.MigrationError as error:
        raise CommandFailed(str(error)) from error
    if names:
        raise CommandFailed(f"the schema lacks {', '.join(names)}: run `novapay migrate` first")
