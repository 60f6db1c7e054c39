"""Fixtures for every test: a real PostgreSQL, a fresh migrated database, a data directory.

Each pytest process (each worker under `-n`) has a server of its own, so test runs side by side
never meet. The schema is migrated once into a template and copied for each test that asks.
The fixtures of the whole running product are in `stack_fixtures`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg2
import pytest

from core_service.embedded_postgres import EmbeddedPostgres
from core_service.storage import migrator

pytest_plugins = ["tests.stack_fixtures", "tests.browser.fixtures"]

TEMPLATE = "novapay_template"

# A test loses nothing when the machine fails; tests of durability start servers of their own.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that is short enough for sockets and can be entered by any account."""
    yield from _temporary_folder()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server of this pytest process, with the migrated template in it."""
    for folder in _temporary_folder():
        with EmbeddedPostgres(folder, settings=FAST) as server:
            execute(server.url, f"CREATE DATABASE {TEMPLATE}")
            migrator.migrate(url_of(server, TEMPLATE))
            yield server


@pytest.fixture(scope="session")
def make_database(postgres: EmbeddedPostgres) -> Callable[[], str]:
    """A function that makes a fresh migrated database and returns its address."""
    numbers = count(1)

    def make() -> str:
        name = f"test_{next(numbers)}"
        execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return url_of(postgres, name)

    return make


@pytest.fixture
def database_url(make_database: Callable[[], str]) -> str:
    """Address of a fresh migrated database for one test."""
    return make_database()


@pytest.fixture(scope="module")
def module_database_url(make_database: Callable[[], str]) -> str:
    """Address of a fresh migrated database for all tests of one module."""
    return make_database()


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres, make_database: Callable[[], str]) -> str:
    """Address of a fresh database without any table."""
    name = make_database().partition("?")[0].rpartition("/")[2]
    execute(postgres.url, f"DROP DATABASE {name}")
    execute(postgres.url, f"CREATE DATABASE {name}")
    return url_of(postgres, name)


def url_of(server: EmbeddedPostgres, database: str) -> str:
    """Address of another database on the same server."""
    return server.url.replace("/novapay?", f"/{database}?")


def execute(database_url: str, statement: str) -> None:
    """Run one statement outside any transaction."""
    connection = psycopg2.connect(database_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def _temporary_folder() -> Iterator[Path]:
    # Not pytest's tmp_path: that is closed to the account that runs PostgreSQL for root.
    folder = Path(tempfile.mkdtemp(prefix="novapay-test-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
