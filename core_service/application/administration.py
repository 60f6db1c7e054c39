"""Operators: how they come into being, the first one included."""

import time
from datetime import datetime

from core_service.application import passwords
from core_service.application.admin_values import ensure, line_violations
from core_service.calls import Call, Principal
from core_service.domain.ids import new_id
from core_service.errors import FieldViolation, invalid_request
from core_service.settings import AdminBootstrap
from core_service.storage import audit, operators
from core_service.storage.access import OperatorRow
from core_service.storage.database import transact

_FIRST_ROLE = "SUPER_ADMIN"
_STARTUP_SECONDS = 30


def create_operator(
    call: Call, *, email: str, name: str, role: str, password: str, now: datetime
) -> OperatorRow:
    """Adds an operator; without a name the address is shown.

    Raises INVALID_REQUEST for a weak password and for an address that is taken.
    """
    email = email.strip().lower()
    ensure(
        [
            *line_violations("email", email),
            *line_violations("name", name),
            *passwords.violations(password, email),
        ]
    )
    operator = _new(email=email, name=name, role=role, password=password, now=now)
    transact(lambda: _insert(call, operator))
    return operator


def ensure_first_operator(bootstrap: AdminBootstrap | None, *, now: datetime) -> None:
    """Makes the operator that the environment names, unless there is one already.

    Any number of processes may do this at once. How good the password must be, the settings say.
    """
    if bootstrap is None or operators.exist():
        return
    operator = _new(
        email=bootstrap.email.strip().lower(),
        name=bootstrap.name,
        role=_FIRST_ROLE,
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
        totp_sealed=None,
        enabled=True,
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
        after={"email": operator.email, "name": operator.name, "role": operator.role},
    )
