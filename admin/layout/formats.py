"""How values look to people: amounts, times, names of enum values."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from markupsafe import Markup

ZONE = timezone(timedelta(hours=8))
ZONE_NAME = "UTC+8"


def money(amount: str | None) -> str:
    """`88.10` → `¥88.10`, with thousands separators; empty stays empty."""
    if not amount:
        return ""
    sign, digits = ("−", amount[1:]) if amount.startswith("-") else ("", amount)
    yuan, _, fen = digits.partition(".")
    return f"{sign}¥{int(yuan):,}{'.' + fen if fen else ''}"


def number(value: int | str) -> str:
    """With thousands separators."""
    return f"{int(value):,}"


def moment(value: Timestamp | datetime | None) -> Markup:
    """A `<time>` in Asia/Shanghai with the zone written; empty without a time."""
    if value is None or (isinstance(value, Timestamp) and not value.seconds):
        return Markup("")
    at = value.ToDatetime(UTC) if isinstance(value, Timestamp) else value.astimezone(UTC)
    shown = at.astimezone(ZONE).strftime("%Y-%m-%d %H:%M:%S")
    machine = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
    return Markup('<time datetime="{}">{} <small>{}</small></time>').format(
        machine, shown, ZONE_NAME
    )


def enum(message: Message, field: str) -> str:
    """Name of an enum field's value without the enum's prefix: `SUCCEEDED`, not `ORDER_STATUS_SUCCEEDED`."""
    descriptor = message.DESCRIPTOR.fields_by_name[field].enum_type
    assert descriptor is not None, f"{field} is no enum"
    names = [value.name for value in descriptor.values]
    prefix = names[0].removesuffix("UNSPECIFIED")
    value: Any = getattr(message, field)
    found = descriptor.values_by_number.get(value)
    return str(found.name).removeprefix(prefix) if found is not None else str(value)


def optional(message: Message, field: str) -> Any:
    """The value of an optional field, or None when it is not there."""
    return getattr(message, field) if message.HasField(field) else None
