"""Field rules of a request: those of the proto file, and what the edge found before there was a message."""

import json
from collections.abc import Iterable
from functools import cache

import protovalidate
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2

from core_service.errors import FieldViolation, invalid_request
from novapay.options.v1 import options_pb2

MAX_RAW_JSON_LEVELS = 8


def check(request: Message, forwarded: bytes | None) -> None:
    """Raise INVALID_REQUEST that names every wrong field by its JSON path.

    `forwarded` is a serialized google.rpc.BadRequest. What it says about a field goes before what the
    rules say about the gap that the field left.
    """
    found = _forwarded(forwarded)
    named = {violation.field for violation in found}
    for violation in protovalidate.collect_violations(request):
        field = violation.proto.field
        elements = () if field is None else field.elements  # a rule about the message as a whole
        path = ".".join(_json_name(element.field_name) for element in elements)
        if path not in named:
            named.add(path)
            found.append(FieldViolation(path, violation.proto.message))
    found += [
        FieldViolation(path, reason) for path, reason in _beyond_rules(request) if path not in named
    ]
    if found:
        raise invalid_request(*found)


def _forwarded(serialized: bytes | None) -> list[FieldViolation]:
    if not serialized:
        return []
    try:
        bad_request = error_details_pb2.BadRequest.FromString(serialized)
    except DecodeError:
        return [FieldViolation("", "the request could not be read")]
    return [
        FieldViolation(violation.field, violation.description)
        for violation in bad_request.field_violations
    ]


def _beyond_rules(request: Message) -> Iterable[tuple[str, str]]:
    """What no rule of the proto file can say: path and reason."""
    # A message without a zero byte holds no such string; one with it may hold just a false or a 0.
    if b"\0" in request.SerializeToString():
        yield from _with_nul(request, "")
    for field in _raw_json_fields(request.DESCRIPTOR):
        text = getattr(request, field.name)
        if request.HasField(field.name) if field.has_presence else text:
            problem = _json_problem(text)
            if problem is not None:
                yield field.json_name, problem


@cache
def _raw_json_fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    return tuple(
        field
        for field in descriptor.fields
        if field.GetOptions().Extensions[options_pb2.field].raw_json
    )


def _with_nul(message: Message, prefix: str) -> Iterable[tuple[str, str]]:
    """Strings that PostgreSQL cannot keep."""
    for field, value in message.ListFields():
        path = prefix + field.json_name
        items = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_STRING:
            if any("\0" in item for item in items):
                yield path, "must not contain the character U+0000"
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in items:
                yield from _with_nul(item, f"{path}.")


def _json_problem(text: str) -> str | None:
    """The edge checks the same before it passes an object on. How long a text may be is a rule of its field."""
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return "must be a JSON object"
    if _levels(value) > MAX_RAW_JSON_LEVELS:
        return f"may have at most {MAX_RAW_JSON_LEVELS} levels"
    return None


def _no_number(word: str) -> None:
    raise ValueError(word)


_JSON = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_number)


def _levels(value: object) -> int:
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)


def _json_name(field_name: str) -> str:
    head, *rest = field_name.split("_")
    return head + "".join(word.capitalize() for word in rest)
