import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from core_service.storage import migrator
from tests.proof_line import tell


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (id int);")
    (tmp_path / "0002_second.sql").write_text("CREATE TABLE second (note text DEFAULT '%s');")
    return tmp_path


def tables(database_url: str) -> set[str]:
    connection = psycopg2.connect(database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            return {name for (name,) in cursor.fetchall()}
    finally:
        connection.close()


def test_applies_in_order_and_only_once(empty_database_url: str, folder: Path) -> None:
    assert ["0001_first", "0002_second"] == migrator.pending(empty_database_url, folder)
    assert set() == tables(empty_database_url)
    assert ["0001_first", "0002_second"] == migrator.migrate(empty_database_url, folder)
    assert [] == migrator.migrate(empty_database_url, folder)
    assert [] == migrator.pending(empty_database_url, folder)
    assert {"first", "second", "schema_migrations"} == tables(empty_database_url)


def test_four_parallel_runs_apply_each_file_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(migrator.migrate, [empty_database_url] * 4))
    names = [migration.name for migration in migrator.read_migrations()]
    assert sorted(names) == sorted(name for run in runs for name in run)


def test_the_time_limits_of_requests_do_not_bind_a_migration(
    empty_database_url: str, folder: Path
) -> None:
    """As behind a pooler, which gives them to every session."""
    (folder / "0002_second.sql").write_text("SELECT pg_sleep(0.3);")
    limited = f"{empty_database_url}&options=-c%20statement_timeout%3D100"
    assert migrator.migrate(limited, folder) == ["0001_first", "0002_second"]


def test_a_failing_file_leaves_nothing_and_keeps_those_before_it(
    empty_database_url: str, folder: Path
) -> None:
    (folder / "0002_second.sql").write_text("CREATE TABLE second (id int); SELECT 1/0;")
    with pytest.raises(migrator.MigrationError, match="0002_second failed: division by zero"):
        migrator.migrate(empty_database_url, folder)
    assert {"first", "schema_migrations"} == tables(empty_database_url)
    assert ["0002_second"] == migrator.pending(empty_database_url, folder)


@pytest.mark.parametrize(("point", "applied"), [("m1@2", 1), ("m2@1", 0), ("m2@2", 1)])
def test_kill_inside_a_migration_leaves_it_for_the_next_run(
    empty_database_url: str, folder: Path, point: str, applied: int
) -> None:
    """SIGKILL before or after the statements of a file: it is whole or absent."""
    point, _, hit = point.partition("@")
    code = (
        "import sys; from pathlib import Path; from core_service.storage.migrator import migrate;"
        "migrate(sys.argv[1], Path(sys.argv[2]))"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, empty_database_url, str(folder)],
        env=os.environ | {"NOVAPAY_FAILPOINTS": f"{point}=kill@{hit}"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    tell("kill", point=point)
    names = ["0001_first", "0002_second"]
    assert migrator.migrate(empty_database_url, folder) == names[applied:]
    assert tables(empty_database_url) == {"first", "second", "schema_migrations"}


def test_an_edited_file_is_refused(empty_database_url: str, folder: Path) -> None:
    migrator.migrate(empty_database_url, folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE first (id bigint);")
    for run in (migrator.migrate, migrator.pending):
        with pytest.raises(migrator.MigrationError, match="0001_first was changed"):
            run(empty_database_url, folder)


def test_a_newer_database_is_refused(empty_database_url: str, folder: Path) -> None:
    migrator.migrate(empty_database_url, folder)
    (folder / "0002_second.sql").unlink()
    for run in (migrator.migrate, migrator.pending):
        with pytest.raises(migrator.MigrationError, match="newer"):
            run(empty_database_url, folder)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("0002_twice.sql", "the number of"), ("3_third.sql", "four digits")],
)
def test_a_number_that_does_not_fit_is_refused(folder: Path, name: str, problem: str) -> None:
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(migrator.MigrationError, match=problem):
        migrator.read_migrations(folder)


def test_a_file_that_came_later_is_applied_whatever_its_number(
    empty_database_url: str, folder: Path
) -> None:
    (folder / "0004_fourth.sql").write_text("CREATE TABLE fourth (id int);")
    migrator.migrate(empty_database_url, folder)
    (folder / "0003_third.sql").write_text("CREATE TABLE third (id int);")
    assert ["0003_third"] == migrator.migrate(empty_database_url, folder)


def test_a_database_out_of_reach_is_said_in_words() -> None:
    with pytest.raises(migrator.MigrationError, match="cannot be reached"):
        migrator.migrate("postgresql://nobody:wrong@127.0.0.1:1/nowhere")


def test_an_installation_without_its_migrations_is_not_up_to_date(
    empty_database_url: str, tmp_path: Path
) -> None:
    with pytest.raises(migrator.MigrationError, match="not whole"):
        migrator.migrate(empty_database_url, tmp_path)
