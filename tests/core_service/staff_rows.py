"""Merchants' staff put straight into the tables, with sessions that need no password."""

import secrets
from datetime import UTC, datetime, timedelta

from core_service import metadata
from core_service.application import sessions, staff
from core_service.storage import staff as storage
from core_service.storage.database import connection_scope
from core_service.storage.staff import StaffRow
from tests.core_service.merchant_rows import KnownMerchant

ROLES = ("OWNER", "OPERATIONS", "DEVELOPER", "VIEWER")


def insert_staff(
    merchant: KnownMerchant, role: str = "OWNER", *, password_hash: str = "", email: str = ""
) -> StaffRow:
    """Somebody new; nobody can sign in without a `password_hash`."""
    row = staff.new_row(
        merchant.id,
        email=email or f"s{secrets.token_hex(6)}@example.com",
        name="Test",
        role=role,
        password=password_hash,
        now=datetime.now(UTC),
    )
    with connection_scope():
        assert storage.insert(row)
    return row


def open_session(row: StaffRow) -> list[tuple[str, str | bytes]]:
    """What a console sends for somebody who has signed in."""
    token = secrets.token_urlsafe(32).encode()
    now = datetime.now(UTC)
    with connection_scope():
        storage.insert_session(
            sessions.token_hash(token),
            row,
            "192.0.2.1",
            now=now,
            expires_at=now + timedelta(hours=1),
        )
    return [(metadata.STAFF_SESSION_TOKEN, token), (metadata.CLIENT_ADDRESS, "192.0.2.1")]


def as_staff(merchant: KnownMerchant, role: str = "OWNER") -> list[tuple[str, str | bytes]]:
    """A new member's session."""
    return open_session(insert_staff(merchant, role))
