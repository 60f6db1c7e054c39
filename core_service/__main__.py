"""`python -m core_service serve|work|migrate|check-config`: one process of the core.

Exit status: 0 after an orderly end, 1 when work was cut off, 2 when the process refuses to start;
what to do about that is on standard error.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from core_service.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from core_service.settings import Settings, SettingsError

REFUSED = 2


def main(arguments: list[str]) -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m core_service")
    parser.add_argument("command", choices=("serve", "work", "migrate", "check-config"))
    command = parser.parse_args(arguments).command
    try:
        settings = Settings.load(os.environ, serves_grpc=command in ("serve", "check-config"))
    except SettingsError as error:
        return _refused(*error.problems)
    if command == "check-config":
        return 0
    try:
        with _database_of(settings) as database_url:
            return _run(command, settings, database_url)
    except EmbeddedPostgresError as error:
        return _refused(str(error))


def _run(command: str, settings: Settings, database_url: str) -> int:
    # Imported here: what is not needed to say that a setting is wrong takes half a second.
    from core_service import bootstrap  # noqa: PLC0415
    from core_service.rpc.server import PortTaken  # noqa: PLC0415
    from core_service.storage import migrator  # noqa: PLC0415

    try:
        match command:
            case "serve":
                bootstrap.serve(settings, database_url)
                return 0
            case "work":
                return bootstrap.work(settings, database_url)
            case _:
                migrator.migrate(database_url)
                return 0
    except (bootstrap.StartRefused, migrator.MigrationError, PortTaken) as refusal:
        return _refused(str(refusal))


@contextmanager
def _database_of(settings: Settings) -> Iterator[str]:
    """The configured database, or the embedded one while this process runs."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    with EmbeddedPostgres(settings.data_dir) as postgres:
        yield postgres.url


def _refused(*problems: str) -> int:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return REFUSED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
