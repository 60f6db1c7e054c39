"""Sealed values across all tables: which keys they need, and their move to another key.

Statements are made from `SEALED_COLUMNS` alone; nothing of a caller's gets into them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from core_service.storage.database import execute, fetch_all
from core_service.storage.sealed_places import SEALED_COLUMNS, SealedColumn
from core_service.storage.secret_box import Place

# Bytes of a sealed value: version, length of the key id, key id, …
_KEY_ID = "substring({column} FROM 3 FOR get_byte({column}, 1))"
_SELECTED = "{merchant} AS merchant_id, {row} AS row_id, {column} AS sealed FROM {table}"


@dataclass(frozen=True)
class SealedValue:
    """One value as stored, and the place that it was sealed for."""

    column: SealedColumn
    merchant_id: str
    row_id: str
    sealed: bytes

    @property
    def place(self) -> Place:
        return self.column.place(self.merchant_id, self.row_id)


def samples() -> Iterator[SealedValue]:
    """At least one value for each key id in use, to find out at start whether the ring opens them."""
    for column in SEALED_COLUMNS:
        yield from _found(
            column,
            f"SELECT DISTINCT ON ({_KEY_ID}) {_SELECTED} WHERE {{column}} IS NOT NULL"
            f" ORDER BY {_KEY_ID}, created_at DESC",
        )


def sealed_by_others(column: SealedColumn, key_id: str, limit: int) -> list[SealedValue]:
    """Up to `limit` values of a column that another key than this one has sealed."""
    statement = f"SELECT {_SELECTED} WHERE {{column}} IS NOT NULL AND {_KEY_ID} <> %s LIMIT %s"
    return list(_found(column, statement, (key_id.encode(), limit)))


def is_in_use(key_id: str) -> bool:
    """Whether any value needs this key."""
    return any(
        fetch_all(
            f"SELECT 1 FROM {column.table} WHERE {column.column} IS NOT NULL"
            f" AND {_KEY_ID.format(column=column.column)} = %s LIMIT 1",
            (key_id.encode(),),
        )
        for column in SEALED_COLUMNS
    )


def replace(value: SealedValue, fresh: bytes) -> bool:
    """Put `fresh` in the value's place unless it was changed meanwhile."""
    column = value.column
    return bool(
        execute(
            f"UPDATE {column.table} SET {column.column} = %s"
            f" WHERE {column.merchant} = %s AND {column.row} = %s AND {column.column} = %s",
            (fresh, value.merchant_id, value.row_id, value.sealed),
        )
    )


def _found(
    column: SealedColumn, statement: str, parameters: tuple[object, ...] = ()
) -> Iterator[SealedValue]:
    names = {"merchant": column.merchant, "row": column.row}
    sql = statement.format(table=column.table, column=column.column, **names)
    for row in fetch_all(sql, parameters):
        yield SealedValue(column, row["merchant_id"], row["row_id"], bytes(row["sealed"]))
