"""Merchants' staff and their sessions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee
from playhouse.postgres_ext import DateTimeTZField

from core_service.storage.database import Row, Table, execute, fetch_all, fetch_one
from core_service.storage.queries import run


class Staff(Table):
    """The table `staff`."""

    merchant_id = peewee.TextField()
    id = peewee.TextField()
    email = peewee.TextField(unique=True)
    name = peewee.TextField()
    role = peewee.TextField()
    password_hash = peewee.TextField()
    must_change_password = peewee.BooleanField()
    enabled = peewee.BooleanField()
    last_sign_in_at = DateTimeTZField(null=True)
    created_at = DateTimeTZField()
    updated_at = DateTimeTZField()

    class Meta:
        """Two columns make the key."""

        primary_key = peewee.CompositeKey("merchant_id", "id")


@dataclass(frozen=True)
class StaffRow:
    """A member of a merchant's staff as stored; the columns of `staff`."""

    merchant_id: str
    id: str
    email: str
    name: str
    role: str
    """OWNER, OPERATIONS, DEVELOPER or VIEWER."""
    password_hash: str
    must_change_password: bool
    enabled: bool
    last_sign_in_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class StaffMember:
    """Somebody and the merchant they belong to."""

    row: StaffRow
    merchant_code: str
    merchant_name: str


@dataclass(frozen=True)
class StaffSessionRow:
    """A live session and whose it is."""

    member: StaffMember
    last_seen_at: datetime
    expires_at: datetime


_MEMBERS = (
    "SELECT s.*, m.code AS merchant_code, m.name AS merchant_name "
    "FROM staff s JOIN merchants m ON m.id = s.merchant_id "
)


def insert(row: StaffRow) -> bool:
    """Adds somebody; False: the address has an account already, here or with another merchant."""
    return run(Staff.insert(vars(row)).on_conflict_ignore()) == 1


def save(row: StaffRow) -> None:
    """Writes somebody back whose merchant is locked, but for what a sign-in notes."""
    here = (Staff.merchant_id == row.merchant_id) & (Staff.id == row.id)
    values = {name: value for name, value in vars(row).items() if name != "last_sign_in_at"}
    run(Staff.update(values).where(here))


def by_email(email: str) -> StaffMember | None:
    """`email` in lower case; of whatever merchant."""
    return _first(_MEMBERS + "WHERE s.email = %s", (email,))


def find(merchant_id: str, staff_id: str) -> StaffMember | None:
    """A member of one merchant's staff."""
    return _first(_MEMBERS + "WHERE s.merchant_id = %s AND s.id = %s", (merchant_id, staff_id))


def of_merchant(merchant_id: str) -> list[StaffMember]:
    """A merchant's staff, in the order in which they came."""
    rows = fetch_all(
        _MEMBERS + "WHERE s.merchant_id = %s ORDER BY s.created_at, s.id", (merchant_id,)
    )
    return [_member(row) for row in rows]


def count(merchant_id: str) -> int:
    """How many belong to a merchant, disabled ones too."""
    row = fetch_one("SELECT count(*) AS n FROM staff WHERE merchant_id = %s", (merchant_id,))
    assert row is not None
    return int(row["n"])


def note_sign_in(member: StaffRow, *, now: datetime) -> bool:
    """Remember when somebody last signed in; False: disabled, or another password, since `member` was read."""
    return (
        execute(
            "UPDATE staff SET last_sign_in_at = %s WHERE merchant_id = %s AND id = %s AND enabled"
            " AND password_hash = %s",
            (now, member.merchant_id, member.id, member.password_hash),
        )
        == 1
    )


def insert_session(
    token_hash: bytes,
    member: StaffRow,
    client_address: str | None,
    *,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Open a session."""
    execute(
        "INSERT INTO staff_sessions (token_hash, merchant_id, staff_id, client_address, "
        "created_at, last_seen_at, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (token_hash, member.merchant_id, member.id, client_address, now, now, expires_at),
    )


def live_session(
    token_hash: bytes, *, now: datetime, idle_since: datetime
) -> StaffSessionRow | None:
    """Find the session that is not past its end, seen after `idle_since`, its owner enabled."""
    row = fetch_one(
        "SELECT s.*, m.code AS merchant_code, m.name AS merchant_name, "
        "t.last_seen_at, t.expires_at "
        "FROM staff_sessions t "
        "JOIN staff s ON s.merchant_id = t.merchant_id AND s.id = t.staff_id "
        "JOIN merchants m ON m.id = t.merchant_id "
        "WHERE t.token_hash = %s AND t.expires_at > %s AND t.last_seen_at > %s AND s.enabled",
        (token_hash, now, idle_since),
    )
    if row is None:
        return None
    return StaffSessionRow(_member(row), row["last_seen_at"], row["expires_at"])


def touch_session(token_hash: bytes, *, now: datetime) -> None:
    """Note that the session was used."""
    execute(
        "UPDATE staff_sessions SET last_seen_at = greatest(last_seen_at, %s) WHERE token_hash = %s",
        (now, token_hash),
    )


def delete_session(token_hash: bytes) -> None:
    """End a session for good."""
    execute("DELETE FROM staff_sessions WHERE token_hash = %s", (token_hash,))


def delete_sessions_of(member: StaffRow, *, but: bytes = b"") -> None:
    """End every session of somebody, but for the one with this token hash."""
    execute(
        "DELETE FROM staff_sessions WHERE merchant_id = %s AND staff_id = %s AND token_hash <> %s",
        (member.merchant_id, member.id, but),
    )


def _first(statement: str, parameters: tuple[Any, ...]) -> StaffMember | None:
    row = fetch_one(statement, parameters)
    return None if row is None else _member(row)


def _member(row: Row) -> StaffMember:
    columns = {name: row[name] for name in StaffRow.__dataclass_fields__}
    return StaffMember(StaffRow(**columns), row["merchant_code"], row["merchant_name"])
