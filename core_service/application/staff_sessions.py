"""Sessions of merchants' staff: the same limits as operators' sessions, in tables of their own."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from core_service.application import passwords, throttle
from core_service.application.sessions import (
    ABSOLUTE_LIMIT,
    IDLE_LIMIT,
    LOCKED_FOR,
    MAX_TRIES,
    TOUCH_PRECISION,
    token_hash,
)
from core_service.calls import Call, StaffIdentity
from core_service.errors import CoreError
from core_service.storage import access, audit, staff
from core_service.storage.database import transact
from core_service.storage.staff import StaffMember


@dataclass(frozen=True)
class StaffSession:
    """A session with its owner as of now."""

    member: StaffMember
    expires_at: datetime
    """The latest possible end; 15 idle minutes end it earlier."""


@dataclass(frozen=True)
class NewStaffSession:
    """A session just opened; the token is known to nobody else."""

    token: str = field(repr=False)
    session: StaffSession


def sign_in(call: Call, *, email: str, password: str, now: datetime) -> NewStaffSession:
    """Open a session with a new token, whatever the merchant's status.

    Raises STAFF_UNAUTHENTICATED, the same whichever part was wrong, RATE_LIMITED after ten tries on
    one account or from one source, and OVERLOADED.
    """
    email = email.strip().lower()
    account, source = f"staff:{email}", throttle.source_of(call.client_address)
    # The source first: what one sends that may not try any more counts for no account.
    for subject in filter(None, (source, account)):
        throttle.count_try(subject, limit=MAX_TRIES, window=LOCKED_FOR, now=now)
    member = staff.by_email(email)
    usable = member if member is not None and member.row.enabled else None
    kept = None if usable is None else usable.row.password_hash
    if not passwords.is_password(password, kept) or usable is None:
        raise _refused()
    token = secrets.token_urlsafe(32)
    expires_at = now + ABSOLUTE_LIMIT
    call.staff = identity(usable)

    def open_session() -> None:
        # First, and under its lock: whoever changed the password meanwhile ends sessions that are there.
        if not staff.note_sign_in(usable.row, now=now):
            raise _refused()
        hashed = token_hash(token.encode())
        staff.insert_session(
            hashed, usable.row, call.client_address, now=now, expires_at=expires_at
        )
        access.clear_sign_in_failures(account)
        if source is not None:
            access.forgive_sign_in(source)
        audit.record(
            call, action="staff.sign_in", target=f"staff:{usable.row.id}", before=None, after=None
        )

    transact(open_session)
    return NewStaffSession(token, StaffSession(usable, expires_at))


def _refused() -> CoreError:
    return CoreError("STAFF_UNAUTHENTICATED", "E-mail address or password is wrong.")


def session_of(token: bytes, *, now: datetime) -> StaffSession:
    """Find the session that a token opens, with the role as it is now. Raises STAFF_UNAUTHENTICATED."""
    hashed = token_hash(token)
    found = staff.live_session(hashed, now=now, idle_since=now - IDLE_LIMIT)
    if found is None:
        raise CoreError("STAFF_UNAUTHENTICATED")
    if now - found.last_seen_at > TOUCH_PRECISION:
        staff.touch_session(hashed, now=now)
    return StaffSession(found.member, found.expires_at)


def sign_out(call: Call, token: bytes) -> None:
    """End a session on the server."""

    def end() -> None:
        staff.delete_session(token_hash(token))
        if call.staff is not None:
            audit.record(
                call,
                action="staff.sign_out",
                target=f"staff:{call.staff.id}",
                before=None,
                after=None,
            )

    transact(end)


def identity(member: StaffMember) -> StaffIdentity:
    """Who somebody is, for a call."""
    row = member.row
    return StaffIdentity(row.id, row.email, row.role, row.merchant_id, member.merchant_code)
