"""JSON Schemas of messages, by the same rules by which the codec reads and writes them.

Schemas stand inline where they are used: the contract's document does the same, and a reader finds everything that
belongs to an operation in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from buf.validate import validate_pb2
from rest_edge.json_codec import UPDATE_MASK, enum_numbers, field_options
from rest_edge.openapi_words import Word, word_for

Schema = dict[str, Any]

_TIMESTAMP = "google.protobuf.Timestamp"


@dataclass(frozen=True)
class Texts:
    """A comment of the proto files. `chinese` is empty where the comment has no `zh:` line."""

    english: str = ""
    chinese: str = ""


def described(text: Texts | Word) -> Schema:
    """`description` in Chinese and `x-description-en`; what lacks one of them is found by a test."""
    return {"description": text.chinese, "x-description-en": text.english}


def field_texts(field: FieldDescriptor, comments: "Comments") -> Schema:
    """Descriptions of a field, by its own comment or by the common words, and an example where there is one."""
    assert field.containing_type is not None
    word = word_for(field.containing_type.name, field.json_name) or Word("", "")
    own = comments.get(field.full_name, Texts())
    texts = described(own if own.english or own.chinese else word)
    return texts if word.example is None else texts | {"examples": [word.example]}


Comments = Mapping[str, Texts]
"""By full name of the message field or method."""


def request_schema(
    descriptor: Any, comments: Comments, *, in_path: frozenset[str], is_legacy: bool
) -> Schema:
    """What a body may have. `in_path`: proto names that are path variables here.

    Fields that name again what the path names belong to the legacy routes only; fields that are only there to be
    refused are not shown.
    """
    shown = [
        field
        for field in descriptor.fields
        if field.name not in in_path
        and field.name != UPDATE_MASK
        and not field_options(field).omit_empty
        and (is_legacy or not field_options(field).legacy_reference)
    ]
    return _object(shown, comments, lambda field: _request_field(field, comments, is_top=True))


def response_schema(descriptor: Any, comments: Comments, *, is_top: bool = True) -> Schema:
    """What an answer has. Only inside a resource can a message be null."""
    schema = _object(
        descriptor.fields, comments, lambda field: _response_field(field, comments, is_top=is_top)
    )
    schema.pop("required", None)
    return schema


def query_schema(field: Any) -> Schema:
    """A query parameter."""
    return _plain(field)


def _object(fields: Any, comments: Comments, schema_of: Any) -> Schema:
    properties = {}
    for field in fields:
        properties[field.json_name] = schema_of(field) | field_texts(field, comments)
    required = [field.json_name for field in fields if _is_required(field)]
    return {
        "type": "object",
        **({"required": required} if required else {}),
        "properties": properties,
    }


def _request_field(field: FieldDescriptor, comments: Comments, *, is_top: bool) -> Schema:
    """Null is an absent value; it is documented where clearing a text is the point of it."""
    options = field_options(field)
    if field.message_type is not None and field.message_type.full_name != _TIMESTAMP:
        inner = _object(
            field.message_type.fields,
            comments,
            lambda item: _request_field(item, comments, is_top=False),
        )
        return {"type": "array", "items": inner} if field.is_repeated else inner
    if options.decimal:
        return {"oneOf": [{"type": "string"}, {"type": "number"}]}
    schema = _plain(field)
    is_text = (
        field.type == FieldDescriptor.TYPE_STRING and not options.raw_json and not options.values
    )
    if is_top and is_text and field.has_presence and _may_be_empty(field):
        return _nullable(schema)
    return schema


def _response_field(field: FieldDescriptor, comments: Comments, *, is_top: bool) -> Schema:
    message = field.message_type
    if message is not None:
        if message.full_name == _TIMESTAMP:
            moment = _plain(field)
            return _nullable(moment) if _is_optional(field) else moment
        inner = response_schema(message, comments, is_top=False)
        if field.is_repeated:
            return {"type": "array", "items": inner}
        return inner if is_top else _nullable(inner)
    if field.is_repeated:
        return {"type": "array", "items": _plain(field)}
    schema = _plain(field)
    return _nullable(schema) if field.has_presence else schema


def _plain(field: FieldDescriptor) -> Schema:
    """Type, format, values and limits, not null."""
    options = field_options(field)
    if field.message_type is not None and field.message_type.full_name == _TIMESTAMP:
        return {"type": "string", "format": "date-time"}
    if options.raw_json:
        return {"type": "object", "additionalProperties": True}
    if field.type == FieldDescriptor.TYPE_ENUM:
        return {"type": "string", "enum": list(enum_numbers(field.enum_type))}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type == FieldDescriptor.TYPE_STRING:
        schema: Schema = {"type": "string"}
        if options.format:
            schema["format"] = options.format
        if options.values:
            schema["enum"] = list(options.values)
        else:
            schema |= _text_limits(field)
        return schema
    schema = {"type": "integer"}
    limits = _rules(field).int32
    if limits.HasField("gte"):
        schema["minimum"] = limits.gte
    if limits.HasField("lte"):
        schema["maximum"] = limits.lte
    return schema


def _text_limits(field: FieldDescriptor) -> Schema:
    rules = _rules(field).string
    limits: Schema = {}
    if rules.min_len:
        limits["minLength"] = rules.min_len
    if rules.max_len:
        limits["maxLength"] = rules.max_len
    return limits


def _nullable(schema: Schema) -> Schema:
    found = schema | {"type": [schema["type"], "null"]}
    if "enum" in schema:
        found["enum"] = [*schema["enum"], None]
    return found


def _is_optional(field: FieldDescriptor) -> bool:
    """Whether the proto file says `optional`, for message fields too."""
    return field.containing_oneof is not None


def _is_required(field: FieldDescriptor) -> bool:
    if field_options(field).required:
        return True
    if field.is_repeated:
        return bool(_rules(field).repeated.min_items)
    return (
        field.type == FieldDescriptor.TYPE_STRING
        and not field.has_presence
        and not _may_be_empty(field)
    )


def _may_be_empty(field: FieldDescriptor) -> bool:
    """Whether the rules let an empty text pass; our patterns demand a character by `+`, `{n,m}` or a first class."""
    rules = _rules(field).string
    if rules.min_len:
        return False
    pattern = str(rules.pattern)
    return not pattern or pattern.endswith("*$")


def _rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]
