"""What must hold for any text, any key order, any tampering."""

import json
import unicodedata
from decimal import Decimal
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_service.providers.alipay.account import keys_of as alipay_keys
from core_service.providers.alipay.gateway import AnswerRejected, open_answer
from core_service.providers.alipay.signing import (
    FormRejected,
    request_text,
    signed_parameters,
    split_form,
    verified_form,
)
from core_service.providers.keys import load_private_key, sign, verify
from core_service.providers.wire import (
    fen_from_yuan,
    form_encoded,
    limited_text,
    parse_object,
    scan_object,
    yuan_text,
)
from tests.core_service.providers.counterparts import alipay_answer
from tests.core_service.providers.vectors import KEYS, alipay_account

STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(STRINGS, VALUES, max_size=6)
QUICK = settings(max_examples=60, deadline=None)
METHOD = "alipay.trade.query"


@given(value=OBJECTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_the_scanner_finds_every_value_where_it_stands(
    *,
    value: dict[str, Any],
    ascii_only: bool,
    indent: int | None,
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    members = scan_object(text)
    assert {member.name: member.value for member in members} == value
    for member in members:
        assert json.loads(text[member.start : member.end]) == member.value


@given(OBJECTS, st.integers(min_value=1))
def test_the_scanner_refuses_every_cut(value: dict[str, Any], cut: int) -> None:
    text = json.dumps(value)
    with pytest.raises(ValueError, match=r".+"):
        scan_object(text[: len(text) - 1 - cut % len(text)])


@pytest.mark.parametrize(
    "text",
    ["", " ", "[]", "{", "{}x", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', "{'a':1}",
     '{"a":NaN}', '{"a":Infinity}', '{"a":{"b":1,"b":2}}', '{"a":01}', '{"a":"\n"}',
     '{"a":' + "[" * 100_000, '{"a":' + "9" * 10_000 + "}", "\ufeff{}"],
)  # fmt: skip
def test_text_that_is_no_json_object_is_refused(text: str) -> None:
    for read in (scan_object, lambda given: parse_object(given.encode("utf-8"))):
        with pytest.raises(ValueError, match=r".+"):
            read(text)


@QUICK
@given(OBJECTS.filter(lambda value: "sign" not in value))
def test_an_answer_is_cut_exactly_whatever_stands_around_it(noise: dict[str, Any]) -> None:
    answer = json.loads(alipay_answer(METHOD, {"code": "10000"}).body)
    node = json.dumps(answer["alipay_trade_query_response"])
    around = {name: v for name, v in noise.items() if not name.endswith("_response")}
    parts = [f"{json.dumps(name)} : {json.dumps(value)}" for name, value in around.items()]
    parts.insert(len(parts) // 2, f'"alipay_trade_query_response": {node}')
    parts.insert(0, f'"sign":"{answer["sign"]}"')
    body = ("{" + " ,\n".join(parts) + "}").encode("utf-8")
    assert open_answer(alipay_keys(alipay_account("A1")), METHOD, body).text == node


@QUICK
@given(st.data())
def test_a_changed_byte_never_passes(data: st.DataObject) -> None:
    body = alipay_answer(METHOD, {"code": "10000", "out_trade_no": "po_1"}).body
    start = body.index(b'{"code"')
    end = body.index(b"}", start)
    at = data.draw(st.integers(start, end))
    changed = bytes([*body[:at], data.draw(st.integers(0, 255)), *body[at + 1 :]])
    keys = alipay_keys(alipay_account("A1"))
    if changed == body:
        open_answer(keys, METHOD, changed)
    else:
        with pytest.raises(AnswerRejected):
            open_answer(keys, METHOD, changed)


@QUICK
@given(st.dictionaries(st.sampled_from(["a", "b", "sign_type", "body"]), STRINGS))
def test_requests_are_signed_over_what_is_sent_and_never_send_empties(
    parameters: dict[str, str],
) -> None:
    keys = alipay_keys(alipay_account("A1"))
    sent = signed_parameters(keys, parameters)
    assert all(sent.values())
    public = keys.private_key.public_key()
    assert verify(public, sent["sign"], request_text(sent).encode("utf-8"))
    assert not verify(public, sent["sign"], request_text(sent | {"new": "1"}).encode("utf-8"))


@given(st.lists(st.tuples(STRINGS, STRINGS)))
def test_forms_are_decoded_once(pairs: list[tuple[str, str]]) -> None:
    raw = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    assert split_form(raw.encode()) == [(n.encode(), v.encode()) for n, v in pairs]


@given(st.dictionaries(STRINGS, STRINGS))
def test_forms_are_encoded_like_the_standard_library_does(parameters: dict[str, str]) -> None:
    assert form_encoded(parameters) == urlencode(parameters)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_form_are_refused_calmly(raw: bytes) -> None:
    with pytest.raises(FormRejected):
        verified_form(alipay_keys(alipay_account("A1")), raw)


@given(st.binary(max_size=200))
def test_any_bytes_as_an_answer_are_refused_calmly(raw: bytes) -> None:
    with pytest.raises(AnswerRejected):
        open_answer(alipay_keys(alipay_account("A1")), METHOD, raw)


@given(st.binary(max_size=60), st.text(max_size=60))
def test_verify_never_raises(content: bytes, signature: str) -> None:
    key = load_private_key(KEYS["stranger"]["private_key_pkcs8"], check=False)
    assert not verify(key.public_key(), signature, content)
    assert verify(key.public_key(), sign(key, content), content)


@given(st.integers(0, 10**13))
def test_money_survives_the_way_to_text_and_back(fen: int) -> None:
    assert fen_from_yuan(yuan_text(fen)) == fen
    assert Decimal(yuan_text(fen)) * 100 == fen


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "1.005", "1,000", "1e2", " 1", "+1", "１", "1\n", "NaN", None, 1, 1.5]
)
def test_odd_amounts_are_no_amounts(text: object) -> None:
    assert fen_from_yuan(text) is None


@given(st.text(), st.integers(1, 40))
def test_limited_text_fits_and_is_printable(text: str, limit: int) -> None:
    short = limited_text(text, limit)
    assert len(short) <= limit
    assert short == short.strip()
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in short)
    assert limited_text(short, limit) == short
