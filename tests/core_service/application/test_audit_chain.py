"""The audit log's chain: written by the database, checked by the core, and what tampering looks like."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from core_service.application import audit_log
from core_service.application.audit_log import Problem
from core_service.domain import audit_chain
from core_service.errors import CoreError
from core_service.storage import audit
from core_service.storage.audit import AuditFilter
from core_service.storage.database import connection_scope, execute, fetch_all, transact
from tests.core_service.admin_setup import database_pool, operator_call

ROLLED_BACK = (
    "UPDATE audit_chain SET sequence = 4, "
    "hash = (SELECT hash FROM audit_records WHERE sequence = 4)"
)
AWKWARD = {"note": '换行\n"引号" \\ 反斜杠 \t é 😀', "empty": ""}


@pytest.fixture(autouse=True)
def pool(database_url: str) -> Iterator[None]:
    with database_pool(database_url):
        yield


def write(target: str = "merchant:mch_1", reason: str | None = "because: 因为") -> None:
    call = operator_call()
    call.reason = reason
    transact(
        lambda: audit.record(
            call, action="merchant.update", target=target, before=None, after=AWKWARD
        )
    )


def tamper(statement: str) -> None:
    """As somebody would who has the database to themselves."""
    execute("ALTER TABLE audit_records DISABLE TRIGGER USER")
    execute(statement)
    execute("ALTER TABLE audit_records ENABLE TRIGGER USER")


def test_the_database_and_the_core_compute_the_same(pool: None) -> None:
    write()
    write(reason=None)
    first, second = audit.stretch(1, 10)
    assert (1, 2) == (first.sequence, second.sequence)
    assert first.hash == audit_chain.link(audit_chain.BEGINNING, first.content)
    assert second.hash == audit_chain.link(first.hash, second.content)
    end = audit.chain_end()
    assert (2, second.hash) == (end.sequence, end.hash)


def test_an_empty_log_and_a_whole_one_are_intact(pool: None) -> None:
    found = audit_log.verify()
    assert (0, None, None) == (found.checked, found.problem, found.next_sequence)
    for _ in range(5):
        write()
    found = audit_log.verify()
    assert (5, None, None) == (found.checked, found.problem, found.next_sequence)


def test_a_long_log_is_walked_in_stretches(pool: None) -> None:
    for _ in range(7):
        write()
    first = audit_log.verify(limit=3)
    assert (3, 4, None) == (first.checked, first.next_sequence, first.problem)
    second = audit_log.verify(4, limit=4)
    assert (4, None, None) == (second.checked, second.next_sequence, second.problem)
    assert 0 == audit_log.verify(8).checked
    with pytest.raises(CoreError, match="INVALID_REQUEST"):
        audit_log.verify(9)


@pytest.mark.parametrize(
    ("statement", "broken_at", "problem"),
    [
        ("UPDATE audit_records SET actor = 'x' WHERE sequence = 3", 3, Problem.CHANGED),
        ("UPDATE audit_records SET after = replace(after, 'é', 'e') WHERE sequence = 1", 1,
         Problem.CHANGED),
        ("UPDATE audit_records SET reason = NULL WHERE sequence = 5", 5, Problem.CHANGED),
        ("UPDATE audit_records SET at = at + interval '1 microsecond' WHERE sequence = 2", 2,
         Problem.CHANGED),
        ("UPDATE audit_records SET hash = sha256('x') WHERE sequence = 4", 4, Problem.CHANGED),
        # What was `before` may not become `after`.
        ("UPDATE audit_records SET before = after, after = before WHERE sequence = 2", 2,
         Problem.CHANGED),
        ("DELETE FROM audit_records WHERE sequence = 2", 2, Problem.MISSING),
        ("DELETE FROM audit_records WHERE sequence = 5", 5, Problem.MISSING),
        ("DELETE FROM audit_records", 1, Problem.MISSING),
        (ROLLED_BACK, 4, Problem.NOT_AT_THE_END),
        ("UPDATE audit_chain SET hash = sha256('x')", 5, Problem.NOT_AT_THE_END),
    ],
)  # fmt: skip
def test_tampering_is_found(pool: None, statement: str, broken_at: int, problem: Problem) -> None:
    for _ in range(5):
        write()
    tamper(statement)
    found = audit_log.verify()
    assert (broken_at, problem) == (found.broken_at, found.problem)
    assert found.next_sequence is None


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_records SET actor = 'x'", "DELETE FROM audit_records", "TRUNCATE audit_records"]
)  # fmt: skip
def test_records_are_never_changed(pool: None, statement: str) -> None:
    write()
    with pytest.raises(Exception, match="append-only"):
        execute(statement)


def test_appending_at_once_leaves_one_chain(pool: None) -> None:
    def append(_: int) -> None:
        with connection_scope():
            for _ in range(5):
                write()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(append, range(6)))
    found = audit_log.verify()
    assert (30, None) == (found.checked, found.problem)
    sequences = [row["sequence"] for row in fetch_all("SELECT sequence FROM audit_records")]
    assert list(range(1, 31)) == sorted(sequences)


def test_a_transaction_that_is_undone_leaves_no_gap(pool: None) -> None:
    def fail() -> None:
        call = operator_call()
        audit.record(call, action="x", target="y", before=None, after=None)
        raise KeyError("undone")

    with pytest.raises(KeyError, match="undone"):
        transact(fail)
    write()
    assert 1 == audit_log.verify().checked


def test_whoever_writes_while_it_is_walked_breaks_nothing(pool: None, database_url: str) -> None:
    """A record whose transaction is open when the walk begins is not in it, and not missed."""
    write()
    other = psycopg2.connect(database_url)
    try:
        with other.cursor() as cursor:
            cursor.execute(
                "INSERT INTO audit_records (id, at, actor, action, target, request_id) "
                "VALUES ('aud_x', now(), 'a', 'b', 'c', 'd')"
            )
            assert (1, None) == (audit_log.verify().checked, audit_log.verify().problem)
        other.commit()
    finally:
        other.close()
    assert 2 == audit_log.verify().checked


def test_records_are_found_by_what_they_are_about(pool: None) -> None:
    write("merchant:mch_1")
    write("merchant:mch_2")
    for which, count in (
        (AuditFilter(), 2),
        (AuditFilter(target="merchant:mch_2"), 1),
        (AuditFilter(actor="ops@example.com"), 2),
        (AuditFilter(actor="ops@example.com", target="merchant:mch_1"), 1),
        (AuditFilter(action="merchant.create"), 0),
        (AuditFilter(action="a\0b"), 0),
    ):
        page = audit_log.newest(which, page_size=None, page_token=None)
        assert count == len(page.items), which
