"""What tests of administration share: a pool on a fresh database, and calls to make changes with."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from core_service.calls import Call, OperatorIdentity, Principal
from core_service.storage import database

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@contextmanager
def database_pool(url: str) -> Iterator[None]:
    """The core's pool on `url`, with a connection for this thread."""
    database.configure(url, max_connections=8)
    try:
        with database.connection_scope():
            yield
    finally:
        database.database.close_all()


def operator_call(email: str = "ops@example.com", *, role: str = "SUPER_ADMIN") -> Call:
    """A call of an operator from a known address."""
    return Call(
        request_id="req-1",
        principal=Principal.OPERATOR,
        deadline=time.monotonic() + 10,
        client_address="203.0.113.7",
        operator=OperatorIdentity("op_1", email, role),
    )


def service_call() -> Call:
    """A call with the service token."""
    return Call(request_id="req-2", principal=Principal.SERVICE, deadline=time.monotonic() + 10)


def audit_rows() -> list[database.Row]:
    """Every audit record, oldest first."""
    return database.fetch_all("SELECT * FROM audit_records ORDER BY id")
