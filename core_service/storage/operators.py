"""Operators being added; `storage.access` reads them when they sign in."""

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.access import OperatorRow
from core_service.storage.database import Table, execute, fetch_one
from core_service.storage.queries import run


class Operators(Table):
    """The table `operators`."""

    id = peewee.TextField(primary_key=True)
    email = peewee.TextField(unique=True)
    name = peewee.TextField()
    role = peewee.TextField()
    password_hash = peewee.TextField()
    totp_sealed = peewee.BlobField(null=True)
    totp_last_step = peewee.BigIntegerField()
    enabled = peewee.BooleanField()
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()


def insert(operator: OperatorRow) -> bool:
    """Adds an operator; False: somebody has this address."""
    values = {**vars(operator), "totp_last_step": 0, "updated_at": operator.created_at}
    return run(Operators.insert(values).on_conflict_ignore()) == 1


def exist() -> bool:
    """Whether there is any operator, enabled or not."""
    return fetch_one("SELECT 1 FROM operators LIMIT 1") is not None


def lock() -> None:
    """Lets others who would add operators wait until the end of this transaction."""
    execute("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE")
