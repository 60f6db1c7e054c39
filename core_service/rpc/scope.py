"""Whose rows a caller may see."""

from core_service.calls import Call
from core_service.errors import CoreError
from core_service.storage import merchant_snapshots


def scope_of(call: Call, merchant_code: str) -> str | None:
    """The id of the one merchant that a request is about; None: all. Raises MERCHANT_NOT_FOUND."""
    if call.staff is not None:
        # Another merchant's code was refused before the handler ran.
        return call.staff.merchant_id
    if not merchant_code:
        return None
    version = merchant_snapshots.version_by_code(merchant_code)
    if version is None:
        raise CoreError("MERCHANT_NOT_FOUND")
    return version.merchant_id


def ensure_in_scope(scope: str | None, merchant_id: str, reason: str) -> None:
    """Raises `reason` for a row of another merchant, as if it were not there."""
    if scope not in (None, merchant_id):
        raise CoreError(reason)
