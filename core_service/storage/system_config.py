"""Rows of `system_configs`: the runtime settings that differ from their defaults."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.database import Table, execute, fetch_one
from core_service.storage.queries import rows_of, run


class SystemConfigs(Table):
    """The table `system_configs`."""

    key = peewee.TextField(primary_key=True)
    value = peewee.TextField()
    updated_at = DateTimeTZField()
    updated_by = peewee.TextField()


@dataclass(frozen=True)
class StoredValue:
    """A value that somebody set."""

    value: str
    updated_at: datetime
    updated_by: str


def stored() -> dict[str, StoredValue]:
    """Every value that was set, by key."""
    return {
        row["key"]: StoredValue(row["value"], row["updated_at"], row["updated_by"])
        for row in rows_of(SystemConfigs.select())
    }


def lock() -> None:
    """Lets other writers wait until the end of this transaction; readers go on."""
    execute("LOCK TABLE system_configs IN SHARE ROW EXCLUSIVE MODE")


def put(values: Mapping[str, str], *, by: str, now: datetime) -> None:
    """Sets these values."""
    rows = [
        {"key": key, "value": value, "updated_at": now, "updated_by": by}
        for key, value in values.items()
    ]
    changed = [
        SystemConfigs.value,
        SystemConfigs.updated_at,
        SystemConfigs.updated_by,
    ]
    run(
        SystemConfigs.insert_many(rows).on_conflict(
            conflict_target=[SystemConfigs.key], preserve=changed
        )
    )


def schema_began_at() -> datetime:
    """When the first migration was applied."""
    row = fetch_one("SELECT min(applied_at) AS at FROM schema_migrations")
    assert row is not None
    began: datetime = row["at"]
    return began
