"""Operators' sessions: sign in, who is it, sign out. One hour of somebody else's guessing gains nothing."""

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from core_service.application import passwords, throttle, two_step
from core_service.application.admin_values import ensure
from core_service.calls import Call, OperatorIdentity
from core_service.errors import CoreError, FieldViolation
from core_service.storage import access, audit, operators
from core_service.storage.access import OperatorRow
from core_service.storage.database import transact

IDLE_LIMIT = timedelta(minutes=15)
ABSOLUTE_LIMIT = timedelta(hours=12)
TOUCH_PRECISION = timedelta(seconds=30)
MAX_TRIES = 10
LOCKED_FOR = timedelta(minutes=30)


@dataclass(frozen=True)
class Session:
    """A session with its owner as of now."""

    operator: OperatorRow
    expires_at: datetime
    """The latest possible end; 15 idle minutes end it earlier."""


@dataclass(frozen=True)
class NewSession:
    """A session just opened; the token is known to nobody else."""

    token: str = field(repr=False)
    session: Session


def sign_in(
    call: Call, *, email: str, password: str, one_time: str | None, now: datetime
) -> NewSession:
    """Open a session with a new token.

    Raises ADMIN_UNAUTHENTICATED, the same whichever part was wrong, RATE_LIMITED after ten tries on
    one account or from one source, and OVERLOADED.
    """
    email = email.strip().lower()
    subjects = _subjects(email, call.client_address)
    # The source first: what one sends that may not try any more counts for no account.
    for subject in reversed(subjects):
        throttle.count_try(subject, limit=MAX_TRIES, window=LOCKED_FOR, now=now)
    operator = access.operator_by_email(email)
    usable = operator if operator is not None and operator.enabled else None
    is_right = passwords.is_password(password, None if usable is None else usable.password_hash)
    if usable is None or not is_right:
        raise _refused()
    token = secrets.token_urlsafe(32)
    expires_at = now + ABSOLUTE_LIMIT
    call.operator = OperatorIdentity(usable.id, usable.email, usable.role)

    def open_session() -> None:
        # First, and under its lock: whoever changed the password meanwhile ends sessions that are there.
        if not operators.note_sign_in(usable, now=now):
            raise _refused()
        second_step = _second_step(usable, one_time, now)
        access.insert_session(
            token_hash(token.encode()),
            usable.id,
            call.client_address,
            now=now,
            expires_at=expires_at,
        )
        access.clear_sign_in_failures(subjects[0])
        for source in subjects[1:]:
            access.forgive_sign_in(source)
        audit.record(
            call,
            action="operator.sign_in",
            target=f"operator:{usable.id}",
            before=None,
            after=second_step or None,
        )

    transact(open_session)
    return NewSession(token, Session(replace(usable, last_sign_in_at=now), expires_at))


def session_of(token: bytes, *, now: datetime) -> Session:
    """Find the session that a token opens, with the role as it is now. Raises ADMIN_UNAUTHENTICATED."""
    hashed = token_hash(token)
    found = access.live_session(hashed, now=now, idle_since=now - IDLE_LIMIT)
    if found is None:
        raise CoreError("ADMIN_UNAUTHENTICATED")
    if now - found.last_seen_at > TOUCH_PRECISION:
        access.touch_session(hashed, now=now)
    return Session(found.operator, found.expires_at)


def sign_out(call: Call, token: bytes) -> None:
    """End a session on the server."""

    def end() -> None:
        access.delete_session(token_hash(token))
        if call.operator is not None:
            audit.record(
                call,
                action="operator.sign_out",
                target=f"operator:{call.operator.id}",
                before=None,
                after=None,
            )

    transact(end)


def change_password(call: Call, *, current: str, new: str, now: datetime) -> None:
    """The operator's own password; ends their other sessions.

    Raises ADMIN_UNAUTHENTICATED without a session, INVALID_REQUEST for a wrong or a weak password.
    """
    if call.operator is None or call.session_token is None:
        raise CoreError("ADMIN_UNAUTHENTICATED")
    operator_id, this_session = call.operator.id, token_hash(call.session_token)
    kept = access.operator_by_id(operator_id)
    assert kept is not None
    hashed = checked_new_password(
        operator_id, kept.email, kept.password_hash, current=current, new=new, now=now
    )

    def write() -> None:
        if not access.replace_password(
            operator_id, old_hash=kept.password_hash, new_hash=hashed, now=now
        ):
            raise CoreError("ADMIN_UNAUTHENTICATED")
        access.delete_sessions_of(operator_id, but=this_session)
        access.clear_sign_in_failures(f"password:{operator_id}")
        audit.record(
            call,
            action="operator.change_password",
            target=f"operator:{operator_id}",
            before=None,
            after=None,
        )

    transact(write)


def checked_new_password(
    owner_id: str, email: str, kept: str, *, current: str, new: str, now: datetime
) -> str:
    """The hash of a new password whose owner knows the `kept` one; guessing that is limited too.

    Raises INVALID_REQUEST, RATE_LIMITED and OVERLOADED.
    """
    ensure(passwords.violations(new, email, "newPassword"))
    throttle.count_try(f"password:{owner_id}", limit=MAX_TRIES, window=LOCKED_FOR, now=now)
    if not passwords.is_password(current, kept):
        ensure([FieldViolation("currentPassword", "is wrong")])
    if current == new:
        ensure([FieldViolation("newPassword", "must be another one than before")])
    return passwords.hash_password(new)


def token_hash(token: bytes) -> bytes:
    """What is stored of a token: 256 random bits need no slow hash."""
    return hashlib.sha256(token).digest()


def csrf_token(token: bytes) -> str:
    """What a page sends back in x-csrf-token: hex, tells nothing about the session token."""
    return hashlib.sha256(b"csrf:" + token).hexdigest()


def _subjects(email: str, client_address: str | None) -> tuple[str, ...]:
    """Who is guessed at, and who is guessing."""
    account, source = f"account:{email}", throttle.source_of(client_address)
    return (account,) if source is None else (account, source)


def _second_step(operator: OperatorRow, one_time: str | None, now: datetime) -> dict[str, str]:
    """What the audit log says of it. Raises ADMIN_UNAUTHENTICATED."""
    if operator.totp_sealed is None:
        return {}
    kind = two_step.spend(operator, one_time or "", now=now)
    if kind is None:
        raise _refused()
    return {"secondStep": kind}


def _refused() -> CoreError:
    return CoreError("ADMIN_UNAUTHENTICATED", "E-mail address, password or one-time code is wrong.")
