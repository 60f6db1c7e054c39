"""Messages ↔ the contract's JSON, by rules read from the descriptors once; there are no exceptions per route.

Rules: lowerCamelCase names; an unset `optional` is null and `omit_empty` fields are left out; times have
milliseconds and `Z` (a request may have any RFC 3339 time with a zone); enums lose their prefix; a JSON number for a
decimal is taken by its text; `raw_json` fields hold JSON text that is passed through; unknown fields are ignored; a
wrong type is a violation that names the field.

Writing is deterministic: fields in the order of the proto file, so equal messages are equal bytes.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from novapay.options.v1 import options_pb2
from rest_edge.strict_json import MAX_VIOLATIONS, JsonNumber, depth_of, dump_compact

MAX_RAW_JSON_BYTES = 8 * 1024
MAX_RAW_JSON_DEPTH = 8
MAX_NUMBER_CHARACTERS = 24
MAX_NUMBER_EXPONENT = 24

UPDATE_MASK = "update_mask"

Encoder = Callable[[Any], str]

quote = json.encoder.encode_basestring
"""A string as JSON text; characters beyond ASCII stand as themselves."""


@dataclass
class Violations:
    """What could not be put into a message: JSON path and reason, bounded."""

    items: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        """Note one violation."""
        if len(self.items) < MAX_VIOLATIONS:
            self.items.append((path, reason))


# --- message → JSON ---------------------------------------------------------------------------------------------------


@cache
def encoder_for(descriptor: Descriptor) -> Encoder:
    """A function that writes a message of this type as JSON text."""
    if descriptor.full_name == "google.protobuf.Timestamp":
        return _encode_timestamp
    writers = tuple(_field_writer(item) for item in descriptor.fields)

    def encode(message: Any) -> str:
        parts: list[str] = []
        for write in writers:
            write(message, parts)
        return "{" + ",".join(parts) + "}"

    return encode


def _field_writer(descriptor: FieldDescriptor) -> Callable[[Any, list[str]], None]:
    name = descriptor.name
    key = f'"{descriptor.json_name}":'
    null = key + "null"
    omit_empty = field_options(descriptor).omit_empty
    encode = _value_encoder(descriptor)

    if descriptor.is_repeated:

        def write_list(message: Any, parts: list[str]) -> None:
            parts.append(key + "[" + ",".join(map(encode, getattr(message, name))) + "]")

        return write_list

    if descriptor.has_presence:

        def write_optional(message: Any, parts: list[str]) -> None:
            if message.HasField(name):
                parts.append(key + encode(getattr(message, name)))
            elif not omit_empty:
                parts.append(null)

        return write_optional

    def write_plain(message: Any, parts: list[str]) -> None:
        value = getattr(message, name)
        if value or not omit_empty:
            parts.append(key + encode(value))

    return write_plain


def _value_encoder(descriptor: FieldDescriptor) -> Encoder:
    if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
        return encoder_for(descriptor.message_type)
    if descriptor.type == FieldDescriptor.TYPE_ENUM:
        names = {number: f'"{name}"' for name, number in enum_numbers(descriptor.enum_type).items()}
        return lambda number: names.get(number, "null")
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        return _encode_raw_json if field_options(descriptor).raw_json else quote
    if descriptor.type == FieldDescriptor.TYPE_BOOL:
        return lambda value: "true" if value else "false"
    if descriptor.type in _INTEGER_BITS:
        return str
    raise TypeError(f"{descriptor.full_name}: this kind of field has no JSON form here")


def _encode_raw_json(text: str) -> str:
    return text or "null"


def _encode_timestamp(value: Any) -> str:
    moment = time.gmtime(value.seconds)
    return (
        f'"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}'
        f'T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}.{value.nanos // 1_000_000:03d}Z"'
    )


# --- JSON → message ---------------------------------------------------------------------------------------------------


@cache
def decoder_for(descriptor: Descriptor) -> "MessageDecoder":
    """The reader of JSON objects (and of query strings) for messages of this type."""
    return MessageDecoder(descriptor)


class MessageDecoder:
    """Fills a message from a loaded JSON object."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._has_mask = UPDATE_MASK in descriptor.fields_by_name
        self._required = tuple(
            item.json_name for item in descriptor.fields if field_options(item).required
        )
        self._fields = {
            item.json_name: (item.name, _field_setter(item))
            for item in descriptor.fields
            if item.name != UPDATE_MASK
        }

    def fill(
        self,
        message: Any,
        values: Mapping[str, Any],
        violations: Violations,
        *,
        path: str = "",
        except_names: frozenset[str] = frozenset(),
    ) -> None:
        """Set what `values` has; null means absent. `except_names` (proto names) are left to the path variables."""
        for json_name, value in values.items():
            known = self._fields.get(json_name)
            if known is None or known[0] in except_names:
                continue
            name, set_field = known
            if self._has_mask:
                message.update_mask.paths.append(name)
            if value is not None:
                set_field(message, value, f"{path}.{json_name}" if path else json_name, violations)

    def note_missing(self, values: Mapping[str, Any], violations: Violations) -> None:
        """Name the `required` fields that a whole document lacks; what is wrong with null says the field's own rule."""
        for json_name in self._required:
            if json_name not in values and json_name not in dict(violations.items):
                violations.add(json_name, "is required")


_Setter = Callable[[Any, Any, str, Violations], None]


def _field_setter(descriptor: FieldDescriptor) -> _Setter:
    name = descriptor.name
    if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
        return _message_setter(descriptor)
    convert = _converter(descriptor)
    if descriptor.is_repeated:

        def set_list(message: Any, value: Any, path: str, violations: Violations) -> None:
            if not isinstance(value, list):
                violations.add(path, "must be an array")
                return
            items = getattr(message, name)
            for index, item in enumerate(value):
                try:
                    items.append(convert(item))
                except WrongValue as problem:
                    violations.add(f"{path}[{index}]", problem.reason)

        return set_list

    def set_scalar(message: Any, value: Any, path: str, violations: Violations) -> None:
        try:
            setattr(message, name, convert(value))
        except WrongValue as problem:
            violations.add(path, problem.reason)

    return set_scalar


_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def _moment(text: Any) -> datetime | None:
    """An RFC 3339 time with a zone, or None: also for the 31st of February and what lies before the year 1."""
    if not isinstance(text, str) or not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _timestamp_setter(name: str) -> _Setter:
    def set_moment(message: Any, value: Any, path: str, violations: Violations) -> None:
        moment = _moment(value)
        if moment is None:
            violations.add(path, "must be an RFC 3339 time with a zone")
        else:
            getattr(message, name).FromDatetime(moment)

    return set_moment


def _message_setter(descriptor: FieldDescriptor) -> _Setter:
    name = descriptor.name
    assert descriptor.message_type is not None
    if descriptor.message_type.full_name == "google.protobuf.Timestamp":
        return _timestamp_setter(name)
    decoder = decoder_for(descriptor.message_type)

    def set_list(message: Any, value: Any, path: str, violations: Violations) -> None:
        if not isinstance(value, list):
            violations.add(path, "must be an array")
            return
        for index, item in enumerate(value):
            added = getattr(message, name).add()
            if isinstance(item, dict):
                decoder.fill(added, item, violations, path=f"{path}[{index}]")
            else:
                violations.add(f"{path}[{index}]", "must be an object")

    def set_one(message: Any, value: Any, path: str, violations: Violations) -> None:
        if isinstance(value, dict):
            inner = getattr(message, name)
            inner.SetInParent()
            decoder.fill(inner, value, violations, path=path)
        else:
            violations.add(path, "must be an object")

    return set_list if descriptor.is_repeated else set_one


class WrongValue(Exception):
    """A JSON value that its field cannot hold."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def _converter(descriptor: FieldDescriptor) -> Callable[[Any], Any]:
    options = field_options(descriptor)
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        if options.raw_json:
            return _raw_json
        return _decimal_text if options.decimal else _string
    if descriptor.type == FieldDescriptor.TYPE_BOOL:
        return _boolean
    if descriptor.type == FieldDescriptor.TYPE_ENUM:
        return _enum_converter(descriptor.enum_type)
    if descriptor.type in _INTEGER_BITS:
        return _integer_converter(_INTEGER_BITS[descriptor.type])
    raise TypeError(f"{descriptor.full_name}: this kind of field cannot be read from JSON here")


def _string(value: Any) -> str:
    if isinstance(value, str) and not isinstance(value, JsonNumber):
        return value
    raise WrongValue("must be a string")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise WrongValue("must be true or false")


def _decimal_text(value: Any) -> str:
    """A string as it is; a number in plain decimal form; anything else as JSON text, which the core refuses."""
    if isinstance(value, JsonNumber):
        return _plain_decimal(value)
    if isinstance(value, str):
        return value
    return dump_compact(value)[:64]


_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?")


def _plain_decimal(number: JsonNumber) -> str:
    """`1e2` → `100`, `88.10` → `88.1`; a number that is too long or has a large exponent stays as written.

    The exponent is looked at before any arithmetic.
    """
    text = str.__str__(number)
    if len(text) > MAX_NUMBER_CHARACTERS:
        return text
    match = _NUMBER.fullmatch(text)
    if match is None or abs(int(match[1] or 0)) > MAX_NUMBER_EXPONENT:
        return text
    plain = format(Decimal(text), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _raw_json(value: Any) -> str:
    if not isinstance(value, dict):
        raise WrongValue("must be an object")
    if depth_of(value) > MAX_RAW_JSON_DEPTH:
        raise WrongValue(f"may have at most {MAX_RAW_JSON_DEPTH} levels")
    text = dump_compact(value)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_RAW_JSON_BYTES:
        raise WrongValue(f"may have at most {MAX_RAW_JSON_BYTES} bytes")
    return text


def _enum_converter(descriptor: EnumDescriptor | None) -> Callable[[Any], int]:
    numbers = enum_numbers(descriptor)
    reason = "must be one of " + ", ".join(numbers)

    def convert(value: Any) -> int:
        if isinstance(value, str) and value in numbers:
            return numbers[value]
        raise WrongValue(reason)

    return convert


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")

_INTEGER_BITS = {
    FieldDescriptor.TYPE_INT32: 31,
    FieldDescriptor.TYPE_INT64: 63,
}


def _integer_converter(bits: int) -> Callable[[Any], int]:
    limit = 1 << bits

    def convert(value: Any) -> int:
        if (
            isinstance(value, JsonNumber)
            and _INTEGER.fullmatch(value)
            and -limit <= int(value) < limit
        ):
            return int(value)
        raise WrongValue("must be a whole number")

    return convert


# --- shared -----------------------------------------------------------------------------------------------------------


def field_options(descriptor: FieldDescriptor) -> options_pb2.FieldOptions:
    """NovaPay's options of a field."""
    return descriptor.GetOptions().Extensions[options_pb2.field]


def enum_numbers(descriptor: EnumDescriptor | None) -> dict[str, int]:
    """Name without prefix → number; the zero value is not a value of the contract."""
    assert descriptor is not None
    zero = descriptor.values_by_number[0].name
    prefix = zero.removesuffix("UNSPECIFIED")
    return {
        item.name.removeprefix(prefix): item.number for item in descriptor.values if item.number
    }
