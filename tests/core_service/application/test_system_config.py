"""Runtime settings: defaults, overrides, all or none, and how soon another process knows."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from core_service.application import system_config
from core_service.errors import CoreError
from core_service.settings import SYSTEM_CONFIG_DEFAULTS
from core_service.storage.database import execute
from tests.core_service.admin_setup import NOW, audit_rows, database_pool, operator_call

DEFAULTS = {key: str(value) for key, value in SYSTEM_CONFIG_DEFAULTS.items()}


@pytest.fixture(autouse=True)
def settings(database_url: str) -> Iterator[None]:
    system_config.configure(DEFAULTS)
    with database_pool(database_url):
        yield
    system_config.configure(DEFAULTS)


def values() -> dict[str, str]:
    return {entry.key: entry.value for entry in system_config.entries()}


def refused(changes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    with pytest.raises(CoreError) as refusal:
        system_config.update(operator_call(), changes, now=NOW)
    assert refusal.value.reason == "INVALID_REQUEST"
    return [(violation.field, violation.reason) for violation in refusal.value.violations]


def test_every_key_has_its_default_group_and_labels() -> None:
    entries = system_config.entries()
    assert {entry.key: entry.value for entry in entries} == DEFAULTS
    assert all(entry.group and "·" in entry.label and entry.updated_at for entry in entries)
    assert {key.upper(): str(value) for key, value in asdict(system_config.current()).items()} == (
        DEFAULTS
    )


def test_environment_gives_defaults_and_the_database_overrides() -> None:
    system_config.configure({**DEFAULTS, "PAYMENT_EXPIRE_MINUTES": "45"})
    assert system_config.current().payment_expire_minutes == 45
    assert values()["PAYMENT_EXPIRE_MINUTES"] == "45"
    changed = system_config.update(
        operator_call(), [("PAYMENT_EXPIRE_MINUTES", "60"), ("CALLBACK_MAX_ATTEMPTS", "3")], now=NOW
    )
    assert changed == 2
    assert system_config.current().payment_expire_minutes == 60
    assert system_config.current().callback_max_attempts == 3
    by_key = {entry.key: entry for entry in system_config.entries()}
    assert by_key["PAYMENT_EXPIRE_MINUTES"].updated_at == NOW


def test_v23_one_audit_record_for_one_update() -> None:
    system_config.update(operator_call(), [("SETTLEMENT_HOLD_DAYS", "2")], now=NOW)
    (row,) = audit_rows()
    assert (row["actor"], row["action"]) == ("ops@example.com", "system_config.update")
    assert json.loads(row["before"]) == {"SETTLEMENT_HOLD_DAYS": "1"}
    assert json.loads(row["after"]) == {"SETTLEMENT_HOLD_DAYS": "2"}
    assert (row["client_address"], row["request_id"]) == ("203.0.113.7", "req-1")


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("NO_SUCH_KEY", "1", "configs[1].key"),
        ("CALLBACK_MAX_ATTEMPTS", "4", "configs[1].key"),
        ("PAYMENT_EXPIRE_MINUTES", "soon", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", "", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", "0", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", "-1", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", "1.5", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", " 1", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", "٣", "configs[1].value"),
        ("PAYMENT_EXPIRE_MINUTES", "9" * 200, "configs[1].value"),
        ("MERCHANT_SIGNATURE_MAX_AGE_SECONDS", "3601", "configs[1].value"),
        ("IDEMPOTENCY_LEASE_SECONDS", "15", "configs[1].value"),
    ],
)
def test_one_wrong_change_refuses_all_and_is_named(key: str, value: str, field: str) -> None:
    ((named, reason),) = refused([("CALLBACK_MAX_ATTEMPTS", "3"), (key, value)])
    assert named == field
    assert key in reason
    assert values() == DEFAULTS
    assert audit_rows() == []


def test_shortest_lease_outlasts_the_longest_call() -> None:
    assert system_config.update(operator_call(), [("IDEMPOTENCY_LEASE_SECONDS", "16")], now=NOW)
    with pytest.raises(ValueError, match="IDEMPOTENCY_LEASE_SECONDS"):
        system_config.configure({**DEFAULTS, "IDEMPOTENCY_LEASE_SECONDS": "15"})


def test_stored_value_out_of_bounds_does_not_count() -> None:
    execute("INSERT INTO system_configs VALUES ('PAYMENT_EXPIRE_MINUTES', 'x', now(), 'hand')")
    execute("INSERT INTO system_configs VALUES ('RETIRED_KEY', '1', now(), 'hand')")
    system_config.refresh_now()
    assert system_config.current().payment_expire_minutes == 30
    assert values() == DEFAULTS


OTHER_PROCESS = """
import sys, time
from core_service.application import system_config
from core_service.storage import database
database.configure(sys.argv[1], max_connections=2)
system_config.start_refresher()
print(system_config.current().callback_max_attempts, flush=True)
deadline = time.monotonic() + 5
while system_config.current().callback_max_attempts != 3 and time.monotonic() < deadline:
    time.sleep(0.05)
print(system_config.current().callback_max_attempts, flush=True)
system_config.stop_refresher()
"""


def test_change_is_in_force_in_another_process_within_five_seconds(database_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, database_url], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "14"
        system_config.update(operator_call(), [("CALLBACK_MAX_ATTEMPTS", "3")], now=NOW)
        assert other.stdout.readline().strip() == "3"
        assert other.wait(timeout=10) == 0
