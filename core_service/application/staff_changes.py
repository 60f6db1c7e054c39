"""What a merchant's own staff may change about it.

What a reviewer has approved (who the merchant is) stays as it was approved: an empty field may be
filled in, anything else is the operator's to change. A rejected merchant whose profile is changed
waits for review again.
"""

from collections.abc import Mapping
from typing import Any

from core_service.application.admin_values import ensure, json_name
from core_service.errors import CoreError, FieldViolation
from core_service.storage.merchants import MerchantRow

_SETTINGS = frozenset(
    {"callback_base", "callback_enabled", "refund_callback_enabled", "api_ip_whitelist"}
)
_REVIEWED = frozenset({"name", "legal_name", "company_registration_id"})
_CONTACT = frozenset({"contact_name", "contact_email", "contact_phone"})
_PROFILE = _REVIEWED | _CONTACT | {"onboarding_note"}
_OWNERS = _SETTINGS | _PROFILE | {"return_delay_seconds"}
_MAY_CHANGE = {"OWNER": _OWNERS, "DEVELOPER": _SETTINGS}
_UNDER_REVIEW = frozenset({"PENDING", "REJECTED"})


def ensure_may_change(role: str, before: MerchantRow, changes: Mapping[str, Any]) -> None:
    """Raises PERMISSION_DENIED for a field that is not the role's, INVALID_REQUEST for one that is settled."""
    if not changes.keys() <= _MAY_CHANGE.get(role, frozenset()):
        raise CoreError("PERMISSION_DENIED")
    if before.status in _UNDER_REVIEW:
        return
    ensure(
        [
            FieldViolation(json_name(name), "was approved as it is; the operator can change it")
            for name in sorted(_REVIEWED & changes.keys())
            if getattr(before, name) and (changes[name] or None) != getattr(before, name)
        ]
    )


def status_after(before: MerchantRow, changes: Mapping[str, Any]) -> str:
    """The merchant's status: a rejected one asks again with a changed profile."""
    is_new = any(
        (changes[name] or None) != getattr(before, name) for name in _PROFILE & changes.keys()
    )
    return "PENDING" if before.status == "REJECTED" and is_new else before.status
