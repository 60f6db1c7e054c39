"""Messages of the merchant service: from requests to plain values, and from rows to answers."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from core_service.domain import money
from core_service.domain.merchant import missing_profile_fields
from core_service.errors import FieldViolation, invalid_request
from core_service.rpc.timestamps import optional_timestamp, timestamp
from core_service.storage.bindings import BindingView
from core_service.storage.credentials import CredentialRow
from core_service.storage.merchants import MerchantFilter, MerchantRow
from novapay.merchants.v1 import merchant_service_pb2 as pb

_STATUS_PREFIX = "MERCHANT_STATUS_"
_UPDATE_MASK = "update_mask"


def changes_of(request: Any, *, naming: Collection[str]) -> dict[str, Any]:
    """The fields to change and their new values, None for those to clear.

    The mask says which; without one, the fields that are present. Fields in `naming` only say what
    is changed. Raises INVALID_REQUEST for a path that is no field.
    """
    fields = set(request.DESCRIPTOR.fields_by_name) - {_UPDATE_MASK}
    if request.HasField(_UPDATE_MASK):
        paths = list(request.update_mask.paths)
    else:
        paths = [descriptor.name for descriptor, _ in request.ListFields()]
    unknown = [path for path in paths if path not in fields]
    if unknown:
        raise invalid_request(FieldViolation("updateMask", f"unknown field {unknown[0][:64]}"))
    return _values(request, [path for path in paths if path not in naming])


def given_fields(request: Any) -> dict[str, Any]:
    """The fields that are present, and their values."""
    return _values(request, [descriptor.name for descriptor, _ in request.ListFields()])


def time_of(message: Any, field: str, json_name: str) -> datetime | None:
    """A time, or None when it is absent. Raises INVALID_REQUEST for one outside the calendar."""
    if not message.HasField(field):
        return None
    try:
        return getattr(message, field).ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        raise invalid_request(FieldViolation(json_name, "is not a time")) from None


def merchant_filter(request: pb.ListMerchantsRequest) -> MerchantFilter:
    """Which merchants are asked for; an empty filter is none."""
    status = _status(request.status) if request.HasField("status") else None
    return MerchantFilter(request.code or None, request.search.strip() or None, status)


def merchant_message(row: MerchantRow, *, for_staff: bool = False) -> pb.Merchant:
    """A merchant, its callback secret masked; its staff are not told which operator approved it."""
    return pb.Merchant(
        id=row.id,
        code=row.code,
        name=row.name,
        status=pb.MerchantStatus.Value(_STATUS_PREFIX + row.status),
        legal_name=row.legal_name,
        contact_name=row.contact_name,
        contact_email=row.contact_email,
        contact_phone=row.contact_phone,
        company_registration_id=row.company_registration_id,
        onboarding_note=row.onboarding_note,
        review_note=row.review_note,
        approved_at=optional_timestamp(row.approved_at),
        approved_by=None if for_staff else row.approved_by,
        status_changed_at=optional_timestamp(row.status_changed_at),
        callback_base=row.callback_base,
        notify_secret=row.notify_secret_mask,
        api_ip_whitelist=row.api_ip_whitelist,
        callback_enabled=row.callback_enabled,
        refund_callback_enabled=row.refund_callback_enabled,
        return_delay_seconds=row.return_delay_seconds,
        logo_etag=row.logo_etag or "",
        missing_profile_fields=missing_profile_fields(row),
        previous_notify_secret_until=optional_timestamp(row.previous_notify_secret_until),
        callback_confirmed_at=optional_timestamp(row.callback_confirmed_at),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def binding_message(view: BindingView) -> pb.Binding:
    """A binding with what is shown of its account."""
    row, account = view.row, view.account
    return pb.Binding(
        id=row.id,
        merchant_code=view.merchant_code,
        channel_code=row.channel_code,
        enabled=row.enabled,
        merchant_channel_account_id=row.account_id,
        merchant_channel_account=None if account is None else pb.BoundAccount(**vars(account)),
        min_amount=_amount(row.min_amount_fen),
        max_amount=_amount(row.max_amount_fen),
        fee_rate=money.format_rate(row.fee_rate),
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
    )


def credential_message(row: CredentialRow) -> pb.Credential:
    """An API key without its secret."""
    return pb.Credential(
        key_id=row.key_id,
        merchant_code=row.merchant_code,
        label=row.label,
        enabled=row.enabled,
        expires_at=optional_timestamp(row.expires_at),
        last_used_at=optional_timestamp(row.last_used_at),
        created_at=timestamp(row.created_at),
    )


def _values(request: Any, names: Collection[str]) -> dict[str, Any]:
    fields = request.DESCRIPTOR.fields_by_name
    values: dict[str, Any] = {}
    for name in names:
        present = not fields[name].has_presence or request.HasField(name)
        values[name] = getattr(request, name) if present else None
    if values.get("status") is not None:
        values["status"] = _status(values["status"])
    return values


def _status(number: int) -> str:
    if number == pb.MERCHANT_STATUS_UNSPECIFIED or number not in pb.MerchantStatus.values():
        raise invalid_request(FieldViolation("status", "is not a merchant status"))
    return pb.MerchantStatus.Name(number).removeprefix(_STATUS_PREFIX)  # type: ignore[arg-type]


def _amount(fen: int | None) -> str | None:
    return None if fen is None else money.format_fen(fen)
