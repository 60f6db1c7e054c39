"""Operators, their sessions, and failed sign-ins."""

from dataclasses import dataclass
from datetime import datetime

from core_service.storage.database import Row, execute, fetch_one


@dataclass(frozen=True)
class OperatorRow:
    """An operator as stored."""

    id: str
    email: str
    name: str
    role: str
    password_hash: str
    must_change_password: bool
    totp_sealed: bytes | None
    enabled: bool
    last_sign_in_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class SessionRow:
    """A live session and whose it is."""

    operator: OperatorRow
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Failures:
    """Sign-ins that failed under one subject inside its window."""

    count: int
    window_ends_at: datetime


def operator_by_email(email: str) -> OperatorRow | None:
    """`email` in lower case."""
    row = fetch_one("SELECT * FROM operators WHERE email = %s", (email,))
    return None if row is None else operator_of(row)


def operator_by_id(operator_id: str) -> OperatorRow | None:
    """The operator with this id."""
    row = fetch_one("SELECT * FROM operators WHERE id = %s", (operator_id,))
    return None if row is None else operator_of(row)


def replace_password(operator_id: str, *, old_hash: str, new_hash: str, now: datetime) -> bool:
    """Set a new password; False: the old one is no longer what it was."""
    return (
        execute(
            "UPDATE operators SET password_hash = %s, must_change_password = false, "
            "updated_at = %s WHERE id = %s AND password_hash = %s",
            (new_hash, now, operator_id, old_hash),
        )
        == 1
    )


def delete_sessions_of(operator_id: str, *, but: bytes = b"") -> None:
    """End every session of an operator, but for the one with this token hash."""
    execute(
        "DELETE FROM operator_sessions WHERE operator_id = %s AND token_hash <> %s",
        (operator_id, but),
    )


def insert_session(
    token_hash: bytes,
    operator_id: str,
    client_address: str | None,
    *,
    now: datetime,
    expires_at: datetime,
) -> None:
    """Open a session."""
    execute(
        "INSERT INTO operator_sessions "
        "(token_hash, operator_id, client_address, created_at, last_seen_at, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (token_hash, operator_id, client_address, now, now, expires_at),
    )


def live_session(token_hash: bytes, *, now: datetime, idle_since: datetime) -> SessionRow | None:
    """Find the session that is not past its end, seen after `idle_since`, its operator enabled."""
    row = fetch_one(
        "SELECT o.*, s.last_seen_at, s.expires_at "
        "FROM operator_sessions s JOIN operators o ON o.id = s.operator_id "
        "WHERE s.token_hash = %s AND s.expires_at > %s AND s.last_seen_at > %s AND o.enabled",
        (token_hash, now, idle_since),
    )
    if row is None:
        return None
    return SessionRow(operator_of(row), row["last_seen_at"], row["expires_at"])


def touch_session(token_hash: bytes, *, now: datetime) -> None:
    """Note that the session was used."""
    execute(
        "UPDATE operator_sessions SET last_seen_at = greatest(last_seen_at, %s) "
        "WHERE token_hash = %s",
        (now, token_hash),
    )


def delete_session(token_hash: bytes) -> None:
    """End a session for good."""
    execute("DELETE FROM operator_sessions WHERE token_hash = %s", (token_hash,))


def count_sign_in(subject: str, *, limit: int, now: datetime, window_ends_at: datetime) -> Failures:
    """Count one more try, before it is judged, so that tries at once cannot exceed the limit.

    The window ends `window_ends_at` from the newest try, but no longer moves once the limit is
    exceeded; after its end counting starts anew.
    """
    row = fetch_one(
        """
        INSERT INTO sign_in_failures AS f (subject, failures, window_ends_at)
        VALUES (%(subject)s, 1, %(window_ends_at)s)
        ON CONFLICT (subject) DO UPDATE SET
            failures = CASE WHEN f.window_ends_at <= %(now)s THEN 1
                            ELSE least(f.failures, %(limit)s) + 1 END,
            window_ends_at = CASE WHEN f.window_ends_at <= %(now)s OR f.failures < %(limit)s
                                  THEN EXCLUDED.window_ends_at ELSE f.window_ends_at END
        RETURNING failures, window_ends_at
        """,
        {"subject": subject, "limit": limit, "now": now, "window_ends_at": window_ends_at},
    )
    assert row is not None
    return Failures(row["failures"], row["window_ends_at"])


def forgive_sign_in(subject: str) -> None:
    """Take back one counted try that turned out well."""
    execute(
        "UPDATE sign_in_failures SET failures = failures - 1 WHERE subject = %s AND failures > 0",
        (subject,),
    )


def clear_sign_in_failures(subject: str) -> None:
    """Start counting anew."""
    execute("DELETE FROM sign_in_failures WHERE subject = %s", (subject,))


def operator_of(row: Row) -> OperatorRow:
    """A row of `operators`."""
    sealed = row["totp_sealed"]
    return OperatorRow(
        id=row["id"],
        email=row["email"],
        name=row["name"],
        role=row["role"],
        password_hash=row["password_hash"],
        must_change_password=row["must_change_password"],
        totp_sealed=None if sealed is None else bytes(sealed),
        enabled=row["enabled"],
        last_sign_in_at=row["last_sign_in_at"],
        created_at=row["created_at"],
    )
