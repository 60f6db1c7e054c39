"""Every Peewee model says what the migrated schema says: columns, types, nullability, keys."""

import importlib
import pkgutil
from typing import Any

import peewee
import psycopg2
import pytest

from core_service import storage
from core_service.storage.database import Table

for module in pkgutil.iter_modules(storage.__path__):
    importlib.import_module(f"{storage.__name__}.{module.name}")

TYPES = {
    "TEXT": "text",
    "TIMESTAMPTZ": "timestamp with time zone",
    "BLOB": "bytea",
    "BOOL": "boolean",
    "BIGINT": "bigint",
    "INT": "integer",
    "DECIMAL": "numeric",
}


def test_there_are_models() -> None:
    assert {"merchants", "audit_records", "system_configs"} <= {
        model._meta.table_name for model in Table.__subclasses__()
    }


@pytest.mark.parametrize("model", Table.__subclasses__(), ids=lambda model: model.__name__)
def test_model_is_the_table(module_database_url: str, model: Any) -> None:
    table = model._meta.table_name
    connection = psycopg2.connect(module_database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT column_name, data_type, is_nullable = 'YES', numeric_precision,"
                " numeric_scale FROM information_schema.columns WHERE table_name = %s",
                [table],
            )
            columns = {row[0]: row[1:] for row in cursor.fetchall()}
            cursor.execute(
                "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
                " AND a.attnum = ANY (i.indkey) WHERE i.indrelid = %s::regclass AND indisprimary"
                " ORDER BY array_position(i.indkey::int2[], a.attnum)",
                [table],
            )
            key = [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()
    declared = {field.column_name: field for field in model._meta.sorted_fields}
    assert set(declared) == set(columns)
    for name, field in declared.items():
        data_type, nullable, precision, scale = columns[name]
        assert (TYPES[field.field_type], field.null) == (data_type, nullable), name
        if isinstance(field, peewee.DecimalField):
            assert (field.max_digits, field.decimal_places) == (precision, scale), name
    assert [field.column_name for field in model._meta.get_primary_keys()] == key
