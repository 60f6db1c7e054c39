"""Operators: their creation, their passwords, and the first one."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from core_service.application import administration, passwords
from core_service.errors import CoreError
from core_service.settings import AdminBootstrap
from core_service.storage.database import connection_scope, fetch_all
from tests.core_service.admin_setup import NOW, audit_rows, database_pool, operator_call

PASSWORD = "a long test password"  # a test password
BOOTSTRAP = AdminBootstrap("First@Example.com", PASSWORD, "第一个")


@pytest.fixture(autouse=True)
def pool(database_url: str) -> Iterator[None]:
    with database_pool(database_url):
        yield


def create(email: str = "Ops@Example.com", password: str = PASSWORD) -> None:
    administration.create_operator(
        operator_call(), email=email, name="", role="OPS_ADMIN", password=password, now=NOW
    )


def test_operator_is_stored_without_the_password() -> None:
    create()
    (row,) = fetch_all("SELECT * FROM operators")
    assert (row["email"], row["name"]) == ("ops@example.com", "ops@example.com")
    assert (row["role"], row["enabled"]) == ("OPS_ADMIN", True)
    assert row["password_hash"].startswith("$argon2id$")
    assert passwords.is_password(PASSWORD, row["password_hash"])
    (record,) = audit_rows()
    assert record["action"] == "operator.create"
    assert json.loads(record["after"]).keys() == {
        "email", "name", "role", "enabled", "totpEnabled",
    }  # fmt: skip


def test_address_is_taken_in_any_case() -> None:
    create()
    with pytest.raises(CoreError) as refusal:
        create("OPS@example.COM")
    assert [violation.field for violation in refusal.value.violations] == ["email"]
    assert len(audit_rows()) == 1


@pytest.mark.parametrize(
    "password", ["short-test", "x" * 257, "ababababababab", "ops@EXAMPLE.com", ""]
)
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(CoreError) as refusal:
        create(password=password)
    assert [violation.field for violation in refusal.value.violations] == ["password"]
    assert password not in str(refusal.value) or not password
    assert fetch_all("SELECT * FROM operators") == []


def test_first_operator_is_made_once_by_any_number_of_processes() -> None:
    def start(_: int) -> None:
        with connection_scope():
            administration.ensure_first_operator(BOOTSTRAP, now=NOW)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(start, range(4)))
    (row,) = fetch_all("SELECT * FROM operators")
    assert (row["email"], row["role"], row["name"]) == (
        "first@example.com",
        "SUPER_ADMIN",
        "第一个",
    )
    (record,) = audit_rows()
    assert (record["actor"], record["action"]) == ("service", "operator.create")


def test_first_operator_is_not_made_beside_others() -> None:
    create()
    administration.ensure_first_operator(BOOTSTRAP, now=NOW)
    administration.ensure_first_operator(None, now=NOW)
    assert len(fetch_all("SELECT * FROM operators")) == 1
