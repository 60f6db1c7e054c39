"""What a page reads from its address: times, choices and switches, as fields of a request."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from admin.layout.formats import ZONE
from admin.visit import Visit
from core_service.errors import CoreError, Family, FieldViolation, invalid_request
from core_service.schema import method_named

_BESIDE_DIGITS = re.compile(r"[¥￥,，\s]")

_OF_A_FILTER = (Family.INVALID_ARGUMENT, Family.NOT_FOUND)
"""Not understood, or a merchant that there is not."""


async def ask_for_list(visit: Visit, rpc: str, wanted_of: Callable[[Visit], Message]) -> Any:
    """The list that the address asks for; when one of its filters is refused, an empty one, and the page shows why."""
    try:
        return await visit.call(rpc, wanted_of(visit))
    except CoreError as error:
        if error.family not in _OF_A_FILTER:
            raise
        visit.failure = error
        return method_named(rpc).response_type()


def put_texts(visit: Visit, message: Message, *names: str) -> None:
    """Fields that the address has, by the same names; empty ones stay unset."""
    for name in names:
        value = visit.query.get(name, "").strip()
        if value:
            setattr(message, name, value)


def put_amount(visit: Visit, message: Message, name: str) -> None:
    """The same for an amount, as it is written or as the pages show it: `¥1,280.00`."""
    value = _BESIDE_DIGITS.sub("", visit.query.get(name, ""))
    if value:
        setattr(message, name, value)


def put_switches(visit: Visit, message: Message, *names: str) -> None:
    """The same for what is on when the address says true."""
    for name in names:
        if visit.query.get(name) == "true":
            setattr(message, name, True)


def put_times(visit: Visit, message: Any, *names: str) -> None:
    """The same for local times. Raises INVALID_REQUEST."""
    for name in names:
        value = visit.query.get(name, "")
        if value:
            try:
                moment = datetime.fromisoformat(value)
                getattr(message, name).FromDatetime(moment.replace(tzinfo=moment.tzinfo or ZONE))
            except (ValueError, OverflowError):
                raise invalid_request(FieldViolation(name, visit.t("frame.no_time"))) from None


def put_choice(visit: Visit, message: Message, name: str) -> None:
    """The same for an enum, whose values the address names without their prefix. Raises INVALID_REQUEST."""
    value = visit.query.get(name, "")
    if not value:
        return
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    assert enum is not None, f"{name} is no enum"
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    found = enum.values_by_name.get(prefix + value)
    if found is None:
        raise invalid_request(FieldViolation(name, visit.t("frame.no_choice")))
    setattr(message, name, found.number)
