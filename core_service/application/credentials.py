"""Merchants' API keys: made, listed, revoked; a secret is shown once, when it is made."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from core_service.application.admin_values import (
    ensure,
    is_reference,
    line_violations,
    merchant_by_code,
    time_text,
)
from core_service.calls import Call
from core_service.domain import merchant as rules
from core_service.errors import CoreError, FieldViolation
from core_service.storage import audit, merchants, sealed_places
from core_service.storage import credentials as storage
from core_service.storage.credentials import CredentialRow
from core_service.storage.database import transact
from core_service.storage.secret_box import SecretBox


class Credentials:
    """Use cases about API keys."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def create(
        self,
        call: Call,
        merchant_code: str,
        *,
        label: str,
        expires_at: datetime | None,
        now: datetime,
    ) -> tuple[CredentialRow, str]:
        """A new key and its secret. Raises MERCHANT_NOT_FOUND and INVALID_REQUEST."""
        violations = line_violations("label", label)
        if expires_at is not None and expires_at <= now:
            violations.append(FieldViolation("expiresAt", "must be in the future"))
        ensure(violations)
        key_id, secret = rules.new_api_key()

        def write() -> CredentialRow:
            merchant = merchant_by_code(merchant_code, lock=True)
            row = CredentialRow(
                merchant_id=merchant.id,
                merchant_code=merchant.code,
                key_id=key_id,
                label=label,
                enabled=True,
                expires_at=expires_at,
                last_used_at=None,
                created_at=now,
            )
            place = sealed_places.credential_secret(merchant.id, key_id)
            storage.insert(row, self._box.seal(secret.encode(), place))
            merchants.bump(merchant.id)
            audit.record(
                call,
                action="credential.create",
                target=_target(row),
                before=None,
                after=_shown(row),
            )
            return row

        return transact(write), secret

    def of_merchant(self, merchant_code: str) -> list[CredentialRow]:
        """A merchant's keys, newest first. Raises MERCHANT_NOT_FOUND."""
        merchant = merchant_by_code(merchant_code)
        return storage.of_merchant(merchant.id, merchant.code)

    def revoke(self, call: Call, key_id: str) -> CredentialRow:
        """Disables a key for good; once more changes nothing. Raises NOT_FOUND."""

        def write() -> CredentialRow:
            merchant_id = storage.merchant_id_of(key_id) if is_reference(key_id) else None
            merchant = merchant_id and merchants.by_reference(merchant_id, lock=True)
            if not merchant:
                raise CoreError("NOT_FOUND")
            call.ensure_sees(merchant.id, "NOT_FOUND")
            keys = storage.of_merchant(merchant.id, merchant.code)
            before = next(row for row in keys if row.key_id == key_id)
            if not before.enabled:
                return before
            storage.disable(before)
            merchants.bump(merchant.id)
            audit.record(
                call,
                action="credential.revoke",
                target=_target(before),
                before={"enabled": True},
                after={"enabled": False},
            )
            return replace(before, enabled=False)

        return transact(write)


def _target(row: CredentialRow) -> str:
    return f"credential:{row.key_id}"


def _shown(row: CredentialRow) -> dict[str, Any]:
    return {
        "merchantCode": row.merchant_code,
        "label": row.label,
        "enabled": row.enabled,
        "expiresAt": time_text(row.expires_at),
    }
