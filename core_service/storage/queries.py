"""Runs Peewee queries like constant statements: dicts out, failures as callers know them."""

from typing import Any

from core_service.storage.database import Row, execute, fetch_all


def rows_of(query: Any) -> list[Row]:
    """Rows of a SELECT, or of a write with RETURNING, as dicts by column name."""
    return fetch_all(*query.sql())


def row_of(query: Any) -> Row | None:
    """The first row, or None."""
    rows = rows_of(query)
    return rows[0] if rows else None


def run(query: Any) -> int:
    """Runs a write; how many rows it touched."""
    return execute(*query.sql())
