"""The one JSON loader of the edge, for bodies that strangers send.

UTF-8 without a byte order mark, no repeated keys, no NaN or Infinity, bounded depth. Numbers are kept as their source
text (`JsonNumber`), so that no amount ever passes through a float and `1e3000000` costs nothing. Everything that is not
such a document raises `InvalidJson`; strings with characters that nothing accepts are reported as violations instead,
because they belong to one field.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_DEPTH = 32
MAX_VIOLATIONS = 20


class InvalidJson(ValueError):
    """The bytes are not a JSON document that can be read."""


class JsonNumber(str):
    """A JSON number as it was written."""

    __slots__ = ()


@dataclass(frozen=True)
class Document:
    """A parsed body.

    `forbidden` maps top-level members to the path, at or below them, of a string that holds NUL, another control
    character or a lone surrogate. Those members are not in `value`.
    """

    value: dict[str, Any]
    forbidden: dict[str, str]


def load_object(raw: bytes) -> Document:
    """Parse a body whose top is an object; raises `InvalidJson`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidJson("not UTF-8") from None
    if text.startswith("\ufeff"):
        raise InvalidJson("byte order mark")
    try:
        value = _DECODER.decode(text)
        # The C scanner stops deep nesting with RecursionError; what it lets pass may still be deeper than we walk.
        if text.count("{") + text.count("[") > MAX_DEPTH and depth_of(value) > MAX_DEPTH:
            raise InvalidJson("nested too deeply")
    except (ValueError, RecursionError):
        raise InvalidJson("not JSON") from None
    if not isinstance(value, dict):
        raise InvalidJson("not an object")
    if not _SUSPICIOUS.search(text):
        return Document(value, {})
    forbidden = {
        key: path for key, item in value.items() if (path := _forbidden_path(key, item)) is not None
    }
    return Document({key: item for key, item in value.items() if key not in forbidden}, forbidden)


def has_forbidden_character(text: str) -> bool:
    """Whether the text holds what no field accepts."""
    return _FORBIDDEN.search(text) is not None


def dump_compact(value: Any) -> str:
    """JSON text of a loaded value: key order and the text of every number kept, white space dropped."""
    if isinstance(value, JsonNumber):
        return str.__str__(value)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{_quote(key)}:{dump_compact(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(dump_compact, value)) + "]"
    if isinstance(value, str):
        return _quote(value)
    return _LITERALS[value]


def depth_of(value: Any) -> int:
    """Levels of objects and arrays in a loaded value; a scalar has none."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


_quote = json.encoder.encode_basestring
_LITERALS = {True: "true", False: "false", None: "null"}

_SUSPICIOUS = re.compile(r"\\u|\\[bf]|[\x7f-\x9f]")
"""The only ways a string can come to hold a forbidden character: the parser refuses raw C0 controls itself."""

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Tab, line feed and carriage return pass here: notes and metadata may hold them, names refuse them by their rule."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidJson("a key is repeated")
    return result


def _refuse_constant(_name: str) -> NoReturn:
    raise InvalidJson("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_float=JsonNumber,
    parse_int=JsonNumber,
    parse_constant=_refuse_constant,
)


def _forbidden_path(key: str, value: Any) -> str | None:
    """Printable path of the first forbidden string in a member, its key included."""
    if _FORBIDDEN.search(key):
        return _printable(key)
    if isinstance(value, dict):
        found = (_forbidden_path(f"{key}.{name}", item) for name, item in value.items())
    elif isinstance(value, list):
        found = (_forbidden_path(f"{key}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, str) and _FORBIDDEN.search(value):
        return _printable(key)
    else:
        return None
    return next((path for path in found if path is not None), None)


def _printable(path: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", path)[:200]
