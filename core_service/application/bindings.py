"""Bindings: which account serves which channel of a merchant, with limits and fee."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from core_service.application.admin_values import (
    changed_fields,
    ensure,
    is_reference,
    merchant_by_code,
    provider_of,
)
from core_service.calls import Call
from core_service.domain import money
from core_service.domain.ids import new_id
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.storage import audit, channel_accounts, merchants
from core_service.storage import bindings as storage
from core_service.storage.bindings import BindingRow, BindingView
from core_service.storage.database import transact
from core_service.storage.paging import Page, page_request

Changes = Mapping[str, Any]
"""Any of enabled, merchant_channel_account_id, min_amount, max_amount, fee_rate, as the caller
wrote them; None and "" clear. What is absent stays, or has its default on a new binding."""


def put(
    call: Call, merchant_code: str, channel_code: str, changes: Changes, *, now: datetime
) -> BindingView:
    """Makes or changes the binding of one merchant and channel.

    Raises MERCHANT_NOT_FOUND, UNSUPPORTED_CHANNEL, INVALID_AMOUNT, INVALID_REQUEST,
    ACCOUNT_NOT_OF_MERCHANT and ACCOUNT_CHANNEL_MISMATCH.
    """
    merchant_by_code(merchant_code)
    channel = provider_of(channel_code).channel_code
    columns = _columns(changes)

    def write() -> BindingView:
        merchant = merchant_by_code(merchant_code, lock=True)
        existing = storage.find(merchant.id, channel)
        before = existing and existing.row
        start = before or _new_binding(merchant.id, channel, now)
        after = replace(start, **columns)
        _ensure_limits(after)
        if "account_id" in columns:
            _ensure_account(after)
        if after == before:
            return _view(merchant.id, channel)
        after = replace(after, updated_at=now)
        if before is None:
            storage.insert(after)
        else:
            storage.save(after)
        merchants.bump(merchant.id)
        old, new = changed_fields(_shown(before) if before else {}, _shown(after))
        audit.record(
            call,
            action="binding.update" if before else "binding.create",
            target=f"binding:{after.id}",
            before=old if before else None,
            after=new if before else {"merchantCode": merchant.code, **new},
        )
        return _view(merchant.id, channel)

    return transact(write)


def newest(
    merchant_code: str | None, *, page_size: int | None, page_token: str | None
) -> Page[BindingView]:
    """Bindings of one merchant, or of all, newest first. Raises INVALID_REQUEST."""
    wanted = page_request(page_size, page_token)
    if merchant_code and not is_reference(merchant_code):
        return Page((), "")
    return storage.newest(merchant_code or None, wanted)


def _new_binding(merchant_id: str, channel_code: str, now: datetime) -> BindingRow:
    return BindingRow(
        merchant_id=merchant_id,
        channel_code=channel_code,
        id=new_id("bnd"),
        enabled=True,
        account_id=None,
        min_amount_fen=None,
        max_amount_fen=None,
        fee_rate=Decimal(0),
        created_at=now,
        updated_at=now,
    )


def _columns(changes: Changes) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "enabled" in changes:
        if changes["enabled"] is None:
            ensure([FieldViolation("enabled", "cannot be cleared")])
        columns["enabled"] = changes["enabled"]
    if "merchant_channel_account_id" in changes:
        columns["account_id"] = changes["merchant_channel_account_id"] or None
    for name in ("min_amount", "max_amount"):
        if name in changes:
            text = changes[name]
            columns[f"{name}_fen"] = money.parse_amount(text) if text else None
    if "fee_rate" in changes:
        columns["fee_rate"] = _rate(changes["fee_rate"])
    return columns


def _rate(text: str | None) -> Decimal:
    try:
        return money.parse_rate(text) if text else Decimal(0)
    except ValueError as problem:
        raise invalid_request(FieldViolation("feeRate", str(problem))) from None


def _ensure_limits(row: BindingRow) -> None:
    low, high = row.min_amount_fen, row.max_amount_fen
    if low is not None and high is not None and low > high:
        ensure([FieldViolation("minAmount", "must not be more than maxAmount")])


def _ensure_account(row: BindingRow) -> None:
    if row.account_id is None:
        return
    account = channel_accounts.by_id(row.account_id) if is_reference(row.account_id) else None
    if account is None or account.merchant_id != row.merchant_id:
        raise CoreError("ACCOUNT_NOT_OF_MERCHANT")
    if account.channel_code != row.channel_code:
        raise CoreError("ACCOUNT_CHANNEL_MISMATCH")


def _view(merchant_id: str, channel_code: str) -> BindingView:
    view = storage.find(merchant_id, channel_code)
    assert view is not None
    return view


def _shown(row: BindingRow) -> dict[str, Any]:
    """The binding as the audit log shows it."""
    return {
        "channelCode": row.channel_code,
        "enabled": row.enabled,
        "merchantChannelAccountId": row.account_id,
        "minAmount": None if row.min_amount_fen is None else money.format_fen(row.min_amount_fen),
        "maxAmount": None if row.max_amount_fen is None else money.format_fen(row.max_amount_fen),
        "feeRate": money.format_rate(row.fee_rate),
    }
