"""Reads the running stack's own database, for what no interface tells."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extras

from core_service.embedded_postgres import EmbeddedPostgres
from tests.stack import Stack


def database_url(stack: Stack) -> str:
    """Address of the embedded server that the stack has started."""
    return EmbeddedPostgres(stack.data, environ=stack.environment).url


@contextmanager
def connected(stack: Stack) -> Iterator[Any]:
    """A connection of its own; what is not committed is rolled back."""
    connection = psycopg2.connect(database_url(stack))
    try:
        yield connection
    finally:
        connection.close()


def rows(stack: Stack, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Rows of one statement as dicts."""
    with (
        connected(stack) as connection,
        connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
    ):
        cursor.execute(statement, parameters)
        return [dict(row) for row in cursor.fetchall()]


def events_of(stack: Stack, order_id: str) -> list[tuple[str | None, str]]:
    """(before, after) of the order's own events, oldest first."""
    found = rows(
        stack,
        "SELECT before_status, after_status FROM payment_events"
        " WHERE order_id = %s AND refund_id IS NULL ORDER BY at, id",
        [order_id],
    )
    return [(row["before_status"], row["after_status"]) for row in found]


def anomalies_of(stack: Stack, order_id: str) -> list[str]:
    """What a person should look at."""
    found = rows(stack, "SELECT kind FROM anomalies WHERE order_id = %s", [order_id])
    return [row["kind"] for row in found]
