"""One sealed value for each master key in use, to find out at start whether the ring opens them."""

from collections.abc import Iterator

from core_service.storage import sealed_places
from core_service.storage.database import Row, fetch_all
from core_service.storage.secret_box import Place

# Bytes of a sealed value: version, length of the key id, key id, …
_KEY_ID = "substring({column} FROM 3 FOR get_byte({column}, 1))"
_NEWEST_OF_EACH_KEY = (
    "SELECT DISTINCT ON ({key_id}) {owner} AS merchant_id, {row} AS row_id, {column} AS sealed "
    "FROM {table} WHERE {column} IS NOT NULL ORDER BY {key_id}, created_at DESC"
)


def samples() -> Iterator[tuple[bytes, Place]]:
    """Sealed values with their places, at least one for each key id in use."""
    for row in _rows("merchants", "id", "id", "notify_secret_sealed"):
        yield row["sealed"], sealed_places.notify_secret(row["merchant_id"])
    for row in _rows("merchants", "id", "id", "previous_notify_secret_sealed"):
        yield row["sealed"], sealed_places.previous_notify_secret(row["merchant_id"])
    for row in _rows("credentials", "merchant_id", "key_id", "secret_sealed"):
        yield row["sealed"], sealed_places.credential_secret(row["merchant_id"], row["row_id"])
    for row in _rows("channel_accounts", "merchant_id", "id", "config_sealed"):
        yield row["sealed"], sealed_places.account_config(row["merchant_id"], row["row_id"])
    for row in _rows("operators", "id", "id", "totp_sealed"):
        yield row["sealed"], sealed_places.operator_totp(row["row_id"])


def _rows(table: str, owner: str, row: str, column: str) -> Iterator[Row]:
    statement = _NEWEST_OF_EACH_KEY.format(
        key_id=_KEY_ID.format(column=column), owner=owner, row=row, column=column, table=table
    )
    for found in fetch_all(statement):
        yield {**found, "sealed": bytes(found["sealed"])}
