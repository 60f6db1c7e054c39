"""A merchant's team: who belongs to it, with which role; a password is chosen by its owner alone."""

from dataclasses import replace
from datetime import datetime

from core_service.application import passwords, sessions
from core_service.application.admin_values import (
    changed_fields,
    ensure,
    is_reference,
    line_violations,
    merchant_by_code,
)
from core_service.calls import Call
from core_service.domain.ids import new_id
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.storage import access, audit, merchants, staff
from core_service.storage.database import transact
from core_service.storage.staff import StaffMember, StaffRow

OWNER = "OWNER"
LARGEST_TEAM = 100


def of_merchant(merchant_code: str) -> list[StaffMember]:
    """A merchant's staff. Raises MERCHANT_NOT_FOUND."""
    return staff.of_merchant(merchant_by_code(merchant_code).id)


def create(
    call: Call, merchant_code: str, *, email: str, name: str, role: str, now: datetime
) -> tuple[StaffMember, str]:
    """Adds somebody; the first password, shown once, must be changed at the first sign-in.

    Raises MERCHANT_NOT_FOUND and INVALID_REQUEST, also for an address that has an account.
    """
    email = email.strip().lower()
    ensure([*line_violations("email", email), *line_violations("name", name)])
    password = passwords.new_first_password()
    hashed = passwords.hash_password(password)

    def write() -> StaffMember:
        merchant = merchant_by_code(merchant_code, lock=True)
        if staff.count(merchant.id) >= LARGEST_TEAM:
            raise invalid_request(
                FieldViolation("email", f"a team has at most {LARGEST_TEAM} members")
            )
        row = new_row(merchant.id, email=email, name=name, role=role, password=hashed, now=now)
        row = replace(row, must_change_password=True)
        if not staff.insert(row):
            raise invalid_request(FieldViolation("email", "has an account already"))
        audit.record(
            call,
            action="staff.create",
            target=_target(row),
            before=None,
            after={"merchantCode": merchant.code, **shown(row)},
        )
        return StaffMember(row, merchant.code, merchant.name)

    return transact(write), password


def update(
    call: Call,
    merchant_code: str,
    staff_id: str,
    *,
    name: str | None,
    role: str | None,
    enabled: bool | None,
    reset_password: bool,
    now: datetime,
) -> tuple[StaffMember, str | None]:
    """Changes what is not None; a reset answers a new first password and ends every session.

    Raises MERCHANT_NOT_FOUND, NOT_FOUND, and INVALID_REQUEST when no enabled owner would be left.
    """
    ensure(line_violations("name", name or ""))
    password = passwords.new_first_password() if reset_password else None
    hashed = None if password is None else passwords.hash_password(password)

    def write() -> StaffMember:
        merchant = merchant_by_code(merchant_code, lock=True)
        member = staff.find(merchant.id, staff_id) if is_reference(staff_id) else None
        if member is None:
            raise CoreError("NOT_FOUND")
        before = member.row
        after = replace(
            before,
            name=name or before.name,
            role=role or before.role,
            enabled=before.enabled if enabled is None else enabled,
            password_hash=hashed or before.password_hash,
            must_change_password=before.must_change_password or hashed is not None,
        )
        if after == before:
            return member
        after = replace(after, updated_at=now)
        _ensure_owner_left(before, after)
        staff.save(after)
        if hashed is not None or not after.enabled:
            staff.delete_sessions_of(after)
        old, new = changed_fields(shown(before), shown(after))
        if hashed is not None:
            new["passwordReset"] = True
        audit.record(call, action="staff.update", target=_target(after), before=old, after=new)
        return replace(member, row=after)

    return transact(write), password


def change_password(call: Call, *, current: str, new: str, now: datetime) -> None:
    """The caller's own password; ends their other sessions.

    Raises STAFF_UNAUTHENTICATED without a session, INVALID_REQUEST for a wrong or a weak password.
    """
    if call.staff is None or call.session_token is None:
        raise CoreError("STAFF_UNAUTHENTICATED")
    merchant_id, staff_id = call.staff.merchant_id, call.staff.id
    kept = staff.find(merchant_id, staff_id)
    assert kept is not None
    hashed = sessions.checked_new_password(
        staff_id, kept.row.email, kept.row.password_hash, current=current, new=new, now=now
    )
    this_session = sessions.token_hash(call.session_token)

    def write() -> None:
        merchants.by_reference(merchant_id, lock=True)
        member = staff.find(merchant_id, staff_id)
        if member is None or member.row.password_hash != kept.row.password_hash:
            raise CoreError("STAFF_UNAUTHENTICATED")
        row = replace(member.row, password_hash=hashed, must_change_password=False, updated_at=now)
        staff.save(row)
        staff.delete_sessions_of(row, but=this_session)
        access.clear_sign_in_failures(f"password:{staff_id}")
        audit.record(
            call, action="staff.change_password", target=_target(row), before=None, after=None
        )

    transact(write)


def new_row(
    merchant_id: str, *, email: str, name: str, role: str, password: str, now: datetime
) -> StaffRow:
    """Somebody new; `password` is hashed."""
    return StaffRow(
        merchant_id=merchant_id,
        id=new_id("stf"),
        email=email,
        name=name or email,
        role=role,
        password_hash=password,
        must_change_password=False,
        enabled=True,
        last_sign_in_at=None,
        created_at=now,
        updated_at=now,
    )


def shown(row: StaffRow) -> dict[str, object]:
    """Somebody as the audit log shows them."""
    return {"email": row.email, "name": row.name, "role": row.role, "enabled": row.enabled}


def _target(row: StaffRow) -> str:
    return f"staff:{row.id}"


def _ensure_owner_left(before: StaffRow, after: StaffRow) -> None:
    """The merchant's row is locked, so nobody else changes its team meanwhile."""
    if not _is_owner(before) or _is_owner(after):
        return
    team = (member.row for member in staff.of_merchant(before.merchant_id))
    if not any(_is_owner(row) for row in team if row.id != before.id):
        field = "role" if after.enabled else "enabled"
        ensure([FieldViolation(field, "a merchant needs an enabled owner; name another one first")])


def _is_owner(row: StaffRow) -> bool:
    return row.enabled and row.role == OWNER
