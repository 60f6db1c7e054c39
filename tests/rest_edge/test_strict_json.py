"""The loader for bodies that strangers send."""

import json
from typing import Any

import pytest

from rest_edge.strict_json import InvalidJson, JsonNumber, depth_of, dump_compact, load_object


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b"{}x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":+1}',
        b'{"a":1.}',
        b'{"a":0x1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\x00"}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b"{} // comment",
    ],
)
def test_i03_what_is_not_a_json_object(raw: bytes) -> None:
    with pytest.raises(InvalidJson):
        load_object(raw)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize("levels", [33, 500, 1_000, 100_000])
def test_i04_deep_nesting(bracket: str, levels: int) -> None:
    closing = {"[": "]", '{"a":': "}"}[bracket]
    with pytest.raises(InvalidJson):
        load_object(('{"x":' + bracket * levels + "1" + closing * levels + "}").encode())
    with pytest.raises(InvalidJson):
        load_object((bracket * levels).encode())


def test_i04_brackets_in_strings_are_not_depth() -> None:
    assert {"a": "[" * 1000} == load_object(json.dumps({"a": "[" * 1000}).encode()).value


@pytest.mark.parametrize(
    "raw", [b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":[{"b":1,"\\u0062":2}]}']
)
def test_i05_repeated_keys(raw: bytes) -> None:
    with pytest.raises(InvalidJson):
        load_object(raw)


@pytest.mark.parametrize(
    ("raw", "forbidden"),
    [
        (r'{"a":"\u0000"}', {"a": "a"}),
        (r'{"a":"x\u0007"}', {"a": "a"}),
        (r'{"a":"\b"}', {"a": "a"}),
        (r'{"a":"\f"}', {"a": "a"}),
        (r'{"a":"\ud800"}', {"a": "a"}),
        (r'{"a":"\udc00\ud800"}', {"a": "a"}),
        ('{"a":"\x7f"}', {"a": "a"}),
        ('{"a":"\x85"}', {"a": "a"}),
        (r'{"m":{"k":["ok","\u0001"]},"b":1}', {"m": "m.k[1]"}),
        (r'{"m":{"k\u0000":1}}', {"m": "m.k\ufffd"}),
        (r'{"k\u0000":1,"b":1}', {"k\0": "k\ufffd"}),
    ],
)
def test_i08_forbidden_characters_name_their_field(raw: str, forbidden: dict[str, str]) -> None:
    document = load_object(raw.encode())
    assert forbidden == document.forbidden
    assert not set(forbidden) & set(document.value)


@pytest.mark.parametrize(
    "text", ["a\tb", "a\nb", "a\r\nb", "😀", "日本語", "שלום", "e\u0301", "\u2028", "\ufeff"]
)
def test_i09_allowed_characters_are_kept(text: str) -> None:
    for raw in (json.dumps({"a": text}), json.dumps({"a": text}, ensure_ascii=False)):
        assert {"a": text} == load_object(raw.encode()).value


def test_numbers_keep_their_text() -> None:
    raw = b'{"a":1e3000000,"b":0.30000000000000004,"c":-0,"d":' + b"9" * 60_000 + b"}"
    value = load_object(raw).value
    assert all(isinstance(number, JsonNumber) for number in value.values())
    assert ["1e3000000", "0.30000000000000004", "-0"] == [value["a"], value["b"], value["c"]]
    assert raw.decode() == dump_compact(value)


@pytest.mark.parametrize(
    ("raw", "compact"),
    [
        (b'{ "b" : [ 1 , 2.50 ] , "a" : { } }', '{"b":[1,2.50],"a":{}}'),
        (b'{"a":[true,false,null,[]]}', '{"a":[true,false,null,[]]}'),
        (rb'{"a":"\u00e9\n\"\\\/"}', '{"a":"é\\n\\"\\\\/"}'),
    ],
)
def test_compact_text(raw: bytes, compact: str) -> None:
    assert compact == dump_compact(load_object(raw).value)


@pytest.mark.parametrize(
    ("value", "depth"), [(1, 0), ({}, 1), ({"a": 1}, 1), ({"a": [{}]}, 3), ([[], [[]]], 3)]
)
def test_depth(value: Any, depth: int) -> None:
    assert depth == depth_of(value)
