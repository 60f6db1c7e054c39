"""A rehearsal of the worst day: a base backup, the archived log, and the database as it was at a chosen second."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
import pytest

from core_service.application import merchant_cache
from core_service.embedded_postgres import EmbeddedPostgres, find_binaries
from core_service.storage import database, migrator
from core_service.storage.database import connection_scope, fetch_all, fetch_one
from tests.factories import TEST_BOX, TestMerchant, make_account, make_merchant, make_order
from tests.stack import wait_until

pytestmark = pytest.mark.slow  # two servers


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="novapay-restore-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # the account that runs PostgreSQL for root must get through
        yield Path(name)


@contextmanager
def core_on(server: EmbeddedPostgres) -> Iterator[None]:
    database.configure(server.url, max_connections=4)
    merchant_cache.configure(TEST_BOX, "https://pay.example")
    with connection_scope():
        yield
    database.database.close_all()


def is_leader(server: EmbeddedPostgres) -> bool:
    connection = psycopg2.connect(server.url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOT pg_is_in_recovery()")
        (answer,) = cursor.fetchall()
    connection.close()
    return bool(answer[0])


def order_ids() -> list[str]:
    return [row["id"] for row in fetch_all("SELECT id FROM payment_orders ORDER BY id")]


def test_every_order_up_to_the_chosen_second_is_there_and_none_after_it(folder: Path) -> None:
    archive = folder / "archive"
    source = EmbeddedPostgres(
        folder / "lost",
        settings={"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"},
    )
    restored = EmbeddedPostgres(
        folder / "restored", settings={"restore_command": f"cp {archive}/%f %p"}
    )
    source._own(archive)
    with source:
        # The backup holds the password, which the address is made with.
        shutil.copy2(source._password_file, restored._password_file)
        migrator.migrate(source.url)
        with core_on(source):
            merchant = make_merchant()
            account = make_account(merchant, config={"appId": "2021"})
            kept = [make_order(merchant, account_id=account) for _ in range(5)]
            restored._own(restored._data)
            restored._run(
                [source._bin / "pg_basebackup", "--pgdata", restored._data, "--dbname", source.url,
                 "--checkpoint", "fast", "--wal-method", "stream"]
            )  # fmt: skip
            kept += [make_order(merchant, account_id=account) for _ in range(5)]
            chosen = fetch_one("SELECT clock_timestamp()::text AS moment")
            assert chosen is not None
            after = [make_order(merchant, account_id=account) for _ in range(5)]
            last = fetch_one("SELECT pg_walfile_name(pg_switch_wal()) AS name")
            assert last is not None
            wait_until((archive / last["name"]).exists, what="the log to be archived")
    shutil.rmtree(folder / "lost")

    restored._settings["recovery_target_time"] = chosen["moment"]
    restored._settings["recovery_target_action"] = "promote"
    (restored._data / "recovery.signal").touch()
    with restored:
        wait_until(lambda: is_leader(restored), what="the end of the recovery")
        assert_restored(restored, merchant, account, kept, after)


def assert_restored(
    restored: EmbeddedPostgres,
    merchant: TestMerchant,
    account: str,
    kept: list[str],
    after: list[str],
) -> None:
    with core_on(restored):
        assert order_ids() == sorted(kept)
        assert not set(after) & set(order_ids())
        assert migrator.pending(restored.url) == []
        # The master keys are kept apart from the backup; with them every sealed secret opens.
        snapshot = merchant_cache.by_id(merchant.id)
        assert snapshot.accounts[account].provider_account.config == {"appId": "2021"}
        make_order(merchant, account_id=account)
        assert len(order_ids()) == len(kept) + 1, "and it takes orders again"


def test_the_programs_that_a_backup_needs_come_along() -> None:
    for program in ("pg_basebackup", "pg_dump", "pg_restore", "pg_verifybackup"):
        assert (find_binaries() / program).exists(), program
