"""Every column of sealed values is known to whoever opens or moves all of them."""

from core_service.storage.database import connection_scope, fetch_all
from core_service.storage.sealed_places import SEALED_COLUMNS


def test_s07_no_column_is_forgotten(core_database: str) -> None:
    with connection_scope():
        rows = fetch_all(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name LIKE '%%sealed%%'"
        )
    columns = {(row["table_name"], row["column_name"]) for row in rows}
    assert columns == {(known.table, known.column) for known in SEALED_COLUMNS}
