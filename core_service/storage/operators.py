"""Operators as they are managed, and their two-step sign-in; `storage.access` has their sessions."""

from datetime import datetime

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.access import OperatorRow, operator_of
from core_service.storage.database import Table, execute, fetch_all, fetch_one
from core_service.storage.queries import run


class Operators(Table):
    """The table `operators`."""

    id = peewee.TextField(primary_key=True)
    email = peewee.TextField(unique=True)
    name = peewee.TextField()
    role = peewee.TextField()
    password_hash = peewee.TextField()
    must_change_password = peewee.BooleanField()
    totp_sealed = peewee.BlobField(null=True)
    pending_totp_sealed = peewee.BlobField(null=True)
    totp_last_step = peewee.BigIntegerField()
    enabled = peewee.BooleanField()
    last_sign_in_at = DateTimeTZField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()


def insert(operator: OperatorRow) -> bool:
    """Adds an operator; False: somebody has this address."""
    values = {
        **vars(operator),
        "pending_totp_sealed": None,
        "totp_last_step": 0,
        "updated_at": operator.created_at,
    }
    return run(Operators.insert(values).on_conflict_ignore()) == 1


def exist() -> bool:
    """Whether there is any operator, enabled or not."""
    return fetch_one("SELECT 1 FROM operators LIMIT 1") is not None


def lock() -> None:
    """Lets others who would add operators wait until the end of this transaction."""
    execute("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE")


def all_operators() -> list[OperatorRow]:
    """Everybody, in the order in which they came."""
    return [
        operator_of(row) for row in fetch_all("SELECT * FROM operators ORDER BY created_at, id")
    ]


def save(operator: OperatorRow, *, now: datetime) -> None:
    """Writes name, role, whether enabled, and the password; the caller holds `lock`."""
    execute(
        "UPDATE operators SET name = %s, role = %s, enabled = %s, password_hash = %s, "
        "must_change_password = %s, updated_at = %s WHERE id = %s",
        (
            operator.name, operator.role, operator.enabled, operator.password_hash,
            operator.must_change_password, now, operator.id,
        ),
    )  # fmt: skip


def note_sign_in(operator: OperatorRow, *, now: datetime) -> bool:
    """When the operator signed in last; False: disabled, or other credentials, since `operator` was read."""
    return (
        execute(
            "UPDATE operators SET last_sign_in_at = %s WHERE id = %s AND enabled"
            " AND password_hash = %s AND totp_sealed IS NOT DISTINCT FROM %s",
            (now, operator.id, operator.password_hash, operator.totp_sealed),
        )
        == 1
    )


def keep_pending_totp(operator_id: str, sealed: bytes) -> None:
    """A key that its owner is to confirm; the one before it is forgotten."""
    execute("UPDATE operators SET pending_totp_sealed = %s WHERE id = %s", (sealed, operator_id))


def pending_totp(operator_id: str) -> bytes | None:
    """The sealed key that waits to be confirmed."""
    row = fetch_one("SELECT pending_totp_sealed FROM operators WHERE id = %s", (operator_id,))
    sealed = None if row is None else row["pending_totp_sealed"]
    return None if sealed is None else bytes(sealed)


def switch_totp_on(operator_id: str, *, pending: bytes, sealed: bytes, step: int) -> bool:
    """The confirmed key counts from now, later steps than `step` only; False: another one waits, or one counts."""
    return (
        execute(
            "UPDATE operators SET totp_sealed = %s, pending_totp_sealed = NULL, totp_last_step = %s "
            "WHERE id = %s AND pending_totp_sealed = %s AND totp_sealed IS NULL",
            (sealed, step, operator_id, pending),
        )
        == 1
    )


def switch_totp_off(operator_id: str) -> None:
    """Forget the key, one that waits, and the recovery codes."""
    execute(
        "UPDATE operators SET totp_sealed = NULL, pending_totp_sealed = NULL WHERE id = %s",
        (operator_id,),
    )
    execute("DELETE FROM operator_recovery_codes WHERE operator_id = %s", (operator_id,))


def spend_totp_step(operator_id: str, step: int) -> bool:
    """Remember a one-time code's step; False: it was used already, or a later one was."""
    return (
        execute(
            "UPDATE operators SET totp_last_step = %s WHERE id = %s AND totp_last_step < %s",
            (step, operator_id, step),
        )
        == 1
    )


def replace_recovery_codes(operator_id: str, hashes: list[bytes], *, now: datetime) -> None:
    """From now on these and no others."""
    execute("DELETE FROM operator_recovery_codes WHERE operator_id = %s", (operator_id,))
    for code_hash in hashes:
        execute(
            "INSERT INTO operator_recovery_codes (operator_id, code_hash, created_at) "
            "VALUES (%s, %s, %s)",
            (operator_id, code_hash, now),
        )


def spend_recovery_code(operator_id: str, code_hash: bytes, *, now: datetime) -> bool:
    """Use up a code; False: there is none, or it was used."""
    return (
        execute(
            "UPDATE operator_recovery_codes SET used_at = %s "
            "WHERE operator_id = %s AND code_hash = %s AND used_at IS NULL",
            (now, operator_id, code_hash),
        )
        == 1
    )


def recovery_codes_left(operator_id: str) -> int:
    """How many codes were not used yet."""
    row = fetch_one(
        "SELECT count(*) AS n FROM operator_recovery_codes "
        "WHERE operator_id = %s AND used_at IS NULL",
        (operator_id,),
    )
    assert row is not None
    return int(row["n"])
