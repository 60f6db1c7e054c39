"""A stranger registers a merchant: it waits for review, and its owner may sign in at once.

Whether an address has an account already is not told: the answer is the same, and nothing was made.
Codes are made here, so that nobody can try which ones exist.
"""

import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from core_service.application import passwords, staff, throttle
from core_service.application.admin_values import ensure, line_violations
from core_service.application.merchants import Changes, Merchants, shown
from core_service.calls import Call
from core_service.storage import audit, merchants
from core_service.storage import staff as storage
from core_service.storage.database import transact

MAX_FROM_ONE_SOURCE = 10
SOURCE_WINDOW = timedelta(hours=1)
MAX_ALTOGETHER = 200
WINDOW = timedelta(days=1)
_EVERYBODY = "registrations"
_CODE_DIGITS = 10


class _AddressKnown(Exception):
    """Takes back the merchant that was just inserted."""


def register(
    call: Call,
    subjects: Merchants,
    *,
    profile: Changes,
    email: str,
    name: str,
    password: str,
    now: datetime,
) -> None:
    """Makes a PENDING merchant with what is known of its profile, and its owner.

    Raises INVALID_REQUEST for a weak password and fields that are wrong, RATE_LIMITED after ten
    from one source in an hour or two hundred altogether in a day, and OVERLOADED.
    """
    email = email.strip().lower()
    ensure(
        [
            *line_violations("email", email),
            *line_violations("ownerName", name),
            *passwords.violations(password, email),
        ]
    )
    code = f"M{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"
    merchant = subjects.new(call, {**profile, "code": code, "status": "PENDING"}, now=now)
    source = throttle.source_of(call.client_address)
    if source is not None:
        throttle.count_try(
            f"register:{source}", limit=MAX_FROM_ONE_SOURCE, window=SOURCE_WINDOW, now=now
        )
    throttle.count_try(_EVERYBODY, limit=MAX_ALTOGETHER, window=WINDOW, now=now)
    hashed = passwords.hash_password(password)
    owner = staff.new_row(
        merchant.id, email=email, name=name, role=staff.OWNER, password=hashed, now=now
    )

    def write() -> None:
        merchants.insert(merchant)
        if not storage.insert(owner):
            raise _AddressKnown
        audit.record(
            call,
            action="merchant.register",
            target=f"merchant:{merchant.id}",
            before=None,
            after={**shown(merchant), "owner": staff.shown(owner)},
        )

    with suppress(_AddressKnown):
        transact(write)
