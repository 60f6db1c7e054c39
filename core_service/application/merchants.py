"""Merchants: made, shown, changed, listed; one audit record for each change."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from core_service.application import staff_changes
from core_service.application.admin_values import (
    changed_fields,
    ensure,
    is_reference,
    json_name,
    line_violations,
    lines_violations,
    time_text,
)
from core_service.calls import Call
from core_service.domain import merchant as rules
from core_service.domain.ids import new_id
from core_service.domain.merchant import Lifecycle
from core_service.domain.picture import read_logo
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.outbound_http import IPNetwork, OutboundError, vet_url
from core_service.storage import audit, merchant_logos, sealed_places
from core_service.storage import merchants as storage
from core_service.storage.database import transact
from core_service.storage.merchant_logos import MerchantLogo
from core_service.storage.merchants import MerchantFilter, MerchantRow
from core_service.storage.paging import Page, page_request
from core_service.storage.secret_box import SecretBox

Changes = Mapping[str, Any]
"""Field names, as in the protocol, to new values; None and "" clear. What is absent stays."""

RETURN_DELAY_SECONDS = 5
"""How long the result page shows success when a merchant has not said."""

_LINES = ("legal_name", "contact_name", "contact_email", "contact_phone", "company_registration_id")
_NOTES = ("onboarding_note", "review_note")
_CLEARABLE = (*_LINES, *_NOTES, "callback_base", "api_ip_whitelist")
_SWITCHES = ("callback_enabled", "refund_callback_enabled")
_DELAY = "return_delay_seconds"
_NEVER_CLEARED = ("code", "name", "status", *_SWITCHES, _DELAY)
_COLUMNS = ("code", "name", *_CLEARABLE, *_SWITCHES, _DELAY)
_SECRET = "notify_secret"  # noqa: S105 (a field's name)


class Merchants:
    """Use cases about merchants."""

    def __init__(self, box: SecretBox, outbound_allow: Sequence[IPNetwork]) -> None:
        """`outbound_allow`: networks that callbacks may reach although they are not public."""
        self.box = box
        self._outbound_allow = tuple(outbound_allow)

    def create(self, call: Call, fields: Changes, *, now: datetime) -> MerchantRow:
        """Makes a merchant with `code` and `name`; APPROVED unless `fields` has another status.

        Raises INVALID_REQUEST, CALLBACK_URL_FORBIDDEN and MERCHANT_CODE_TAKEN.
        """
        row = self.new(call, fields, now=now)

        def write() -> None:
            storage.insert(row)
            audit.record(
                call,
                action="merchant.create",
                target=_target(row),
                before=None,
                after=shown(row),
            )

        transact(write)
        return row

    def new(self, call: Call, fields: Changes, *, now: datetime) -> MerchantRow:
        """A merchant that nobody has stored yet. Raises INVALID_REQUEST, CALLBACK_URL_FORBIDDEN."""
        self._ensure_valid(fields)
        merchant_id = new_id("mch")
        status = fields.get("status", rules.APPROVED)
        lifecycle = rules.begin_lifecycle(status, actor=audit.who(call), now=now)
        sealed, mask = self._seal(merchant_id, fields.get(_SECRET) or rules.new_notify_secret())
        values = {
            **dict.fromkeys(_CLEARABLE),
            **dict.fromkeys(_SWITCHES, True),
            _DELAY: RETURN_DELAY_SECONDS,
            **_columns(fields),
            **vars(lifecycle),
        }
        return MerchantRow(
            id=merchant_id,
            notify_secret_sealed=sealed,
            notify_secret_mask=mask,
            previous_notify_secret_sealed=None,
            previous_notify_secret_until=None,
            callback_confirmed_at=None,
            logo_etag=None,
            version=1,
            created_at=now,
            updated_at=now,
            **values,
        )

    def update(self, call: Call, reference: str, changes: Changes, *, now: datetime) -> MerchantRow:
        """Changes a merchant, named by id or code.

        A change of status sets its times; the callback secret's mask changes nothing, and clearing
        that secret makes a new one. Raises MERCHANT_NOT_FOUND, INVALID_REQUEST,
        CALLBACK_URL_FORBIDDEN and MERCHANT_CODE_TAKEN.
        """
        self._ensure_valid(changes)

        def write() -> MerchantRow:
            before = _found(call, reference, lock=True)
            after = self._changed(call, before, changes, now)
            if after == before:
                return before
            after = storage.save(replace(after, updated_at=now))
            old, new = changed_fields(shown(before), shown(after))
            if after.notify_secret_sealed != before.notify_secret_sealed:
                # Two secrets may look alike behind their masks.
                old["notifySecret"] = before.notify_secret_mask
                new["notifySecret"] = after.notify_secret_mask
            audit.record(
                call, action="merchant.update", target=_target(before), before=old, after=new
            )
            return after

        return transact(write)

    def get(self, call: Call, reference: str) -> MerchantRow:
        """By id or code. Raises MERCHANT_NOT_FOUND."""
        return _found(call, reference)

    def newest(
        self, chosen: MerchantFilter, *, page_size: int | None, page_token: str | None
    ) -> Page[MerchantRow]:
        """The chosen merchants, newest first. Raises INVALID_REQUEST."""
        wanted = page_request(page_size, page_token)
        if chosen.code and not is_reference(chosen.code):
            return Page((), "")
        return storage.newest(chosen, wanted)

    def set_logo(self, call: Call, reference: str, content: bytes, *, now: datetime) -> MerchantRow:
        """Sets the picture that payers see; empty removes it. Raises MERCHANT_NOT_FOUND, INVALID_REQUEST."""
        logo = _logo(content) if content else None

        def write() -> MerchantRow:
            before = _found(call, reference, lock=True)
            etag = None if logo is None else logo.etag
            if etag == before.logo_etag:
                return before
            merchant_logos.put(before.id, logo)
            after = storage.save(replace(before, logo_etag=etag, updated_at=now))
            old, new = ({"logoEtag": row.logo_etag} for row in (before, after))
            audit.record(
                call, action="merchant.update", target=_target(before), before=old, after=new
            )
            return after

        return transact(write)

    def logo(self, call: Call, reference: str) -> MerchantLogo:
        """By id or code. Raises MERCHANT_NOT_FOUND, and NOT_FOUND for one without a logo."""
        logo = merchant_logos.find(_found(call, reference).id)
        if logo is None:
            raise CoreError("NOT_FOUND")
        return logo

    def _changed(
        self, call: Call, before: MerchantRow, changes: Changes, now: datetime
    ) -> MerchantRow:
        lifecycle = Lifecycle(
            before.status, before.status_changed_at, before.approved_at, before.approved_by
        )
        status = changes.get("status", before.status)
        if call.staff is not None:
            staff_changes.ensure_may_change(call.staff.role, before, changes)
            status = staff_changes.status_after(before, changes)
        lifecycle = rules.move(lifecycle, status, actor=audit.who(call), now=now)
        after = replace(before, **_columns(changes), **vars(lifecycle))
        if after.callback_base != before.callback_base:
            after = replace(after, callback_confirmed_at=None)
        if _SECRET not in changes or rules.is_mask(changes[_SECRET] or ""):
            return after
        secret = changes[_SECRET] or rules.new_notify_secret()
        sealed, mask = self._seal(before.id, secret)
        return replace(
            after,
            notify_secret_sealed=sealed,
            notify_secret_mask=mask,
            previous_notify_secret_sealed=None,
            previous_notify_secret_until=None,
        )

    def _seal(self, merchant_id: str, secret: str) -> tuple[bytes, str]:
        place = sealed_places.notify_secret(merchant_id)
        return self.box.seal(secret.encode(), place), rules.mask(secret)

    def _ensure_valid(self, fields: Changes) -> None:
        violations = [
            FieldViolation(json_name(name), "cannot be cleared")
            for name in _NEVER_CLEARED
            if name in fields and fields[name] in (None, "")
        ]
        for name in ("name", *_LINES, _SECRET):
            violations += line_violations(json_name(name), fields.get(name) or "")
        for name in _NOTES:
            violations += lines_violations(json_name(name), fields.get(name) or "")
        try:
            rules.parse_allowlist(fields.get("api_ip_whitelist"))
        except ValueError as problem:
            violations.append(FieldViolation("apiIpWhitelist", str(problem)))
        forbidden = None
        try:
            if fields.get("callback_base"):
                vet_url(fields["callback_base"], self._outbound_allow)
        except ValueError as problem:
            violations.append(FieldViolation("callbackBase", str(problem)))
        except OutboundError as refusal:
            forbidden = refusal
        ensure(violations)
        if forbidden is not None:
            raise CoreError("CALLBACK_URL_FORBIDDEN") from forbidden


def _logo(content: bytes) -> MerchantLogo:
    try:
        picture = read_logo(content)
    except ValueError as problem:
        raise invalid_request(FieldViolation("content", str(problem))) from problem
    return MerchantLogo(picture.content_type, content, hashlib.sha256(content).hexdigest()[:32])


def _columns(fields: Changes) -> dict[str, Any]:
    """The columns that `fields` sets; an empty text is stored as none."""
    return {
        name: (fields[name] or None) if name in _CLEARABLE else fields[name]
        for name in _COLUMNS
        if name in fields
    }


def _found(call: Call, reference: str, *, lock: bool = False) -> MerchantRow:
    row = storage.by_reference(reference, lock=lock) if is_reference(reference) else None
    if row is None:
        raise CoreError("MERCHANT_NOT_FOUND")
    call.ensure_sees(row.id, "MERCHANT_NOT_FOUND")
    return row


def _target(row: MerchantRow) -> str:
    return f"merchant:{row.id}"


def shown(row: MerchantRow) -> dict[str, Any]:
    """The merchant as the audit log shows it."""
    values = {json_name(name): getattr(row, name) for name in _COLUMNS}
    return {
        **values,
        "status": row.status,
        "statusChangedAt": time_text(row.status_changed_at),
        "approvedAt": time_text(row.approved_at),
        "approvedBy": row.approved_by,
        "notifySecret": row.notify_secret_mask,
    }
