"""Operators: how they come into being, the first one included, and how they are changed."""

import time
from dataclasses import replace
from datetime import datetime

from core_service.application import passwords
from core_service.application.admin_values import (
    changed_fields,
    ensure,
    is_reference,
    line_violations,
)
from core_service.calls import Call, Principal
from core_service.domain.ids import new_id
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.settings import AdminBootstrap
from core_service.storage import access, audit, operators
from core_service.storage.access import OperatorRow
from core_service.storage.database import transact

_HIGHEST_ROLE = "SUPER_ADMIN"
_STARTUP_SECONDS = 30


def all_operators() -> list[OperatorRow]:
    """Everybody, in the order in which they were added."""
    return operators.all_operators()


def create_operator(
    call: Call, *, email: str, name: str, role: str, password: str | None, now: datetime
) -> tuple[OperatorRow, str | None]:
    """Adds an operator; without a name the address is shown.

    Without a password one is made and answered; its owner must change it at the first sign-in. Raises INVALID_REQUEST
    for a weak password and for an address that is taken.
    """
    email = email.strip().lower()
    ensure(
        [
            *line_violations("email", email),
            *line_violations("name", name),
            *(passwords.violations(password, email) if password is not None else ()),
        ]
    )
    first_password = passwords.new_first_password() if password is None else None
    operator = replace(
        _new(email=email, name=name, role=role, password=password or first_password or "", now=now),
        must_change_password=first_password is not None,
    )
    transact(lambda: _insert(call, operator))
    return operator, first_password


def update_operator(
    call: Call,
    operator_id: str,
    *,
    name: str | None,
    role: str | None,
    enabled: bool | None,
    reset_password: bool,
    reset_totp: bool,
    end_sessions: bool,
    now: datetime,
) -> tuple[OperatorRow, str | None]:
    """Changes what is not None; a reset answers a new first password.

    Whoever is disabled, gets a new password or loses the second step is signed out everywhere. Raises NOT_FOUND, and
    INVALID_REQUEST when no enabled SUPER_ADMIN would be left.
    """
    ensure(line_violations("name", name or ""))
    password = passwords.new_first_password() if reset_password else None
    hashed = None if password is None else passwords.hash_password(password)

    def write() -> OperatorRow:
        operators.lock()
        before = access.operator_by_id(operator_id) if is_reference(operator_id) else None
        if before is None:
            raise CoreError("NOT_FOUND")
        after = replace(
            before,
            name=name or before.name,
            role=role or before.role,
            enabled=before.enabled if enabled is None else enabled,
            password_hash=hashed or before.password_hash,
            must_change_password=before.must_change_password or hashed is not None,
            totp_sealed=None if reset_totp else before.totp_sealed,
        )
        if after == before and not end_sessions:
            return before
        _ensure_super_admin_left(before, after)
        operators.save(after, now=now)
        if after.totp_sealed != before.totp_sealed:
            operators.switch_totp_off(after.id)
        is_locked_out = not after.enabled or hashed is not None or reset_totp
        if end_sessions or is_locked_out:
            access.delete_sessions_of(after.id)
        old, new = changed_fields(_shown(before), _shown(after))
        notes = {"passwordReset": hashed is not None, "sessionsEnded": end_sessions}
        new |= {note: True for note, is_so in notes.items() if is_so}
        audit.record(
            call, action="operator.update", target=f"operator:{after.id}", before=old, after=new
        )
        return after

    return transact(write), password


def ensure_first_operator(bootstrap: AdminBootstrap | None, *, now: datetime) -> None:
    """Makes the operator that the environment names, unless there is one already.

    Any number of processes may do this at once. How good the password must be, the settings say.
    """
    if bootstrap is None or operators.exist():
        return
    operator = _new(
        email=bootstrap.email.strip().lower(),
        name=bootstrap.name,
        role=_HIGHEST_ROLE,
        password=bootstrap.password,
        now=now,
    )
    call = Call(
        request_id=f"start-{operator.id}",
        principal=Principal.SERVICE,
        deadline=time.monotonic() + _STARTUP_SECONDS,
    )

    def insert_unless_another_process_did() -> None:
        operators.lock()
        if not operators.exist():
            _insert(call, operator)

    transact(insert_unless_another_process_did)


def _new(*, email: str, name: str, role: str, password: str, now: datetime) -> OperatorRow:
    return OperatorRow(
        id=new_id("op"),
        email=email,
        name=name or email,
        role=role,
        password_hash=passwords.hash_password(password),
        must_change_password=False,
        totp_sealed=None,
        enabled=True,
        last_sign_in_at=None,
        created_at=now,
    )


def _insert(call: Call, operator: OperatorRow) -> None:
    if not operators.insert(operator):
        raise invalid_request(FieldViolation("email", "another operator has this address"))
    audit.record(
        call,
        action="operator.create",
        target=f"operator:{operator.id}",
        before=None,
        after=_shown(operator),
    )


def _shown(operator: OperatorRow) -> dict[str, object]:
    """An operator as the audit log shows them."""
    return {
        "email": operator.email,
        "name": operator.name,
        "role": operator.role,
        "enabled": operator.enabled,
        "totpEnabled": operator.totp_sealed is not None,
    }


def _ensure_super_admin_left(before: OperatorRow, after: OperatorRow) -> None:
    """The table is locked, so nobody else changes operators meanwhile."""
    if not _is_super_admin(before) or _is_super_admin(after):
        return
    others = (row for row in operators.all_operators() if row.id != before.id)
    if not any(map(_is_super_admin, others)):
        field = "role" if after.enabled else "enabled"
        ensure(
            [FieldViolation(field, "an enabled SUPER_ADMIN must be left; name another one first")]
        )


def _is_super_admin(operator: OperatorRow) -> bool:
    return operator.enabled and operator.role == _HIGHEST_ROLE
