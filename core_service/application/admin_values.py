"""Checks and shapes that administration of merchants and of what belongs to them shares."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.providers import registry
from core_service.providers.base import Provider
from core_service.storage import merchants
from core_service.storage.merchants import MerchantRow

_REFERENCE = re.compile(r"[0-9A-Za-z_-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def json_name(name: str) -> str:
    """The JSON name of a field: legal_name → legalName."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def is_reference(text: str) -> bool:
    """Whether a text can name anything of ours: only such texts reach the database."""
    return _REFERENCE.fullmatch(text) is not None


def line_violations(field: str, text: str) -> list[FieldViolation]:
    """What is wrong with a one-line text."""
    return [FieldViolation(field, "must not have control characters")] * bool(_CONTROL.search(text))


def lines_violations(field: str, text: str) -> list[FieldViolation]:
    """What is wrong with a text that may have several lines."""
    has_control = _CONTROL_IN_LINES.search(text) is not None
    return [FieldViolation(field, "must not have control characters")] * has_control


def ensure(violations: list[FieldViolation]) -> None:
    """Raises INVALID_REQUEST when anything is wrong."""
    if violations:
        raise invalid_request(*violations)


def merchant_by_code(code: str, *, lock: bool = False) -> MerchantRow:
    """Raises MERCHANT_NOT_FOUND."""
    row = merchants.by_code(code, lock=lock) if is_reference(code) else None
    if row is None:
        raise CoreError("MERCHANT_NOT_FOUND")
    return row


def provider_of(channel_code: str) -> Provider:
    """By channel code or one of its old names. Raises UNSUPPORTED_CHANNEL."""
    provider = registry.for_channel(channel_code)
    if provider is None:
        raise CoreError("UNSUPPORTED_CHANNEL")
    return provider


def changed_fields(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """For the audit log: the values that differ, as they were and as they are."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def time_text(moment: datetime | None) -> str | None:
    """RFC 3339 with milliseconds, for the audit log."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
