"""Contract section 5: amounts, texts, urls, metadata, times."""

import json
import re
import secrets
from typing import Any

import pytest

from tests.stack import Answer, Merchant

CREATE = "/api/payment-orders"


def create_with(merchant: Merchant, amount_text: str = '"1.00"', **fields: Any) -> Answer:
    """Creates with the amount's JSON text exactly as given."""
    body = {
        "merchantCode": merchant.code,
        "channelCode": "alipay.page",
        "externalOrderId": secrets.token_hex(8),
        "subject": "test",
        **fields,
    }
    raw = json.dumps(body)[:-1] + f', "amount": {amount_text}}}'
    return merchant.post(CREATE, raw.encode())


@pytest.mark.parametrize(
    "text",
    ['"0"', '"-1"', '"1."', '".5"', '"1.005"', '"1,000"', '"1e2"', '" 1"', '"+1"', '"0x1"', '""', '"100000000.01"',
     '"１"', '"١"', '"1\\n"', '"1_000"', '"0.00"', '"1.000"', '"0000000000001"', '"NaN"', '"1 "',
     "0", "-0", "-1", "1.005", "0.30000000000000004", "true", "false", "null", "[]", "{}", '["1"]', "1e3000000",
     "1E400", "1e-3", "100000000.01", "1e9", "0.001", "1.0000000000000000000000001"],
)  # fmt: skip
def test_i01_i02_refused_amounts(merchant: Merchant, text: str) -> None:
    answer = create_with(merchant, text)
    assert (answer.status, answer.code) == (400, "INVALID_AMOUNT"), (text, answer.raw)


@pytest.mark.parametrize(
    ("text", "shown"),
    [('"88.1"', "88.10"), ('"88"', "88.00"), ('"0.01"', "0.01"), ('"100000000.00"', "100000000.00"),
     ('"007.50"', "7.50"), ("88", "88.00"), ("88.1", "88.10"), ("1e2", "100.00"), ("1E+2", "100.00"),
     ("1.50e1", "15.00"), ("100000000", "100000000.00"), ("88.1000", "88.10"), ("12345e-2", "123.45")],
)  # fmt: skip
def test_i01_i02_accepted_amounts(merchant: Merchant, text: str, shown: str) -> None:
    answer = create_with(merchant, text)
    assert answer.status == 200, (text, answer.raw)
    assert answer.json["order"]["amount"] == shown


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b'"x"', b"\xef\xbb\xbf{}", '{"merchantCode":"x"}'.encode("utf-16"), b'{"merchantCode":"\xff"}',
     b"{", b'{"merchantCode":"x"} x', b"[" * 32_000 + b"]" * 32_000, b'{"merchantCode":"x","a":NaN}',
     b'{"merchantCode":"x","a":1,"a":2}', b'{"merchantCode":"a\x00"}', b'{"merchantCode":"\\ud800"}',
     b'{"merchantCode":"x","a":' + b'{"a":' * 5000 + b"1" + b"}" * 5001],
)  # fmt: skip
def test_i03_i04_i05_i08_unreadable_bodies(merchant: Merchant, raw: bytes) -> None:
    answer = merchant.post(CREATE, raw)
    assert answer.status == 400, answer.raw
    assert answer.code in {"INVALID_JSON", "INVALID_REQUEST"}


@pytest.mark.parametrize("escaped", ["\\ud800", "1\\u0000", "1.00\\u0007", "\\u007f"])
def test_an_amount_with_such_a_character_is_no_amount(merchant: Merchant, escaped: str) -> None:
    fields = {"channelCode": "alipay.page", "externalOrderId": "x", "subject": "x"}
    raw = json.dumps({"merchantCode": merchant.code, **fields})[:-1] + f', "amount": "{escaped}"}}'
    answer = merchant.post(CREATE, raw.encode())
    assert (answer.status, answer.code) == (400, "INVALID_AMOUNT"), answer.raw


@pytest.mark.parametrize("escaped", ["\\ud800", "a\\u0000b", "\\u0007", "\\u007f"])
@pytest.mark.parametrize("field", ["subject", "description", "externalOrderId", "metadata"])
def test_i08_escaped_characters_that_nothing_accepts(
    merchant: Merchant, field: str, escaped: str
) -> None:
    """They belong to a field, so they are judged after the signature, with the field's name."""
    value = f'{{"a": "{escaped}"}}' if field == "metadata" else f'"{escaped}"'
    fields = {
        "channelCode": "alipay.page",
        "externalOrderId": "x",
        "subject": "x",
        "amount": "1.00",
    }
    fields.pop(field, None)
    raw = json.dumps({"merchantCode": merchant.code, **fields})[:-1] + f', "{field}": {value}}}'
    answer = merchant.post(CREATE, raw.encode())
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST"), answer.raw
    named = [detail["field"] for detail in answer.json["details"]]
    assert named == ["metadata.a" if field == "metadata" else field]
    stranger = merchant.post(CREATE, raw.encode(), headers={"x-novapay-signature": "0" * 64})
    assert (stranger.status, stranger.code) == (401, "INVALID_SIGNATURE")


@pytest.mark.parametrize(
    ("field", "value"),
    [("channelCode", 5), ("externalOrderId", 5), ("subject", ["x"]), ("subject", None), ("description", 1),
     ("currency", 1), ("currency", "USD"), ("returnUrl", 5), ("callbackUrl", {}), ("metadata", "x"),
     ("metadata", [1]), ("returnUrl", "not a url"), ("returnUrl", "ftp://example.com/"), ("callbackUrl", "/relative"),
     ("callbackUrl", "http://user:pw@example.com/"), ("callbackUrl", "http://example.com:0/"), ("callbackUrl", "http://"),
     ("returnUrl", "https://example.com/" + "a" * 2048), ("notifyUrl", "https://example.com/"),
     ("externalOrderId", ""), ("externalOrderId", "with space"), ("externalOrderId", "a" * 65),
     ("externalOrderId", "tab\there"), ("subject", ""), ("subject", "a" * 257), ("subject", "line\nbreak"),
     ("description", "a" * 1025), ("description", "\x07")],
)  # fmt: skip
def test_i06_i07_m09_wrong_fields_are_named(merchant: Merchant, field: str, value: Any) -> None:
    answer = create_with(merchant, **{field: value})
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST"), answer.raw
    assert [detail["field"] for detail in answer.json["details"]] == [field]
    assert all(detail["reason"] for detail in answer.json["details"])


def test_missing_fields_are_all_named(merchant: Merchant) -> None:
    answer = merchant.post(CREATE, {})
    assert answer.code == "INVALID_REQUEST"
    named = {detail["field"] for detail in answer.json["details"]}
    assert named == {"channelCode", "externalOrderId", "amount", "subject"}


def test_i07_limits_are_accepted(merchant: Merchant) -> None:
    answer = create_with(
        merchant,
        externalOrderId=secrets.token_hex(32),
        subject="题" * 256,
        description="d" * 1024,
        returnUrl="https://example.com/" + "a" * (2048 - 20),
    )
    assert answer.status == 200, answer.raw
    assert answer.json["order"]["subject"] == "题" * 256


def test_i09_text_is_kept_exactly(merchant: Merchant) -> None:
    external = "订单-😀-é-" + secrets.token_hex(4)
    subject = "😀👨‍👩‍👧 مرحبا é <b>'; DROP TABLE x;--{{7*7}}%s"
    answer = create_with(merchant, externalOrderId=external, subject=subject, description=subject)
    assert answer.status == 200, answer.raw
    order = answer.json["order"]
    assert (order["externalOrderId"], order["subject"], order["description"]) == (
        external,
        subject,
        subject,
    )


def test_i10_unknown_fields_are_ignored(merchant: Merchant) -> None:
    assert create_with(merchant, somethingElse={"a": [1, 2]}).status == 200


def test_metadata_limits(merchant: Merchant) -> None:
    def nested(levels: int) -> Any:
        return {"a": nested(levels - 1)} if levels > 1 else {"a": 1}

    assert create_with(merchant, metadata=nested(8)).status == 200
    assert create_with(merchant, metadata=nested(9)).code == "INVALID_REQUEST"
    assert create_with(merchant, metadata={"a": "x" * 8000}).status == 200
    assert create_with(merchant, metadata={"a": "x" * 8192}).code == "INVALID_REQUEST"


def test_answer_has_every_documented_field_and_form(merchant: Merchant) -> None:
    order = create_with(merchant, '"88.1"').json["order"]
    assert re.fullmatch(r"[0-9A-Za-z_]{6,32}", order["id"])
    assert order["status"] == "PENDING"
    assert order["currency"] == "CNY"
    assert (order["amount"], order["feeRate"]) == ("88.10", "0.0060")
    assert (order["feeAmount"], order["netAmount"]) == ("0.53", "87.57")
    assert order["paymentMode"] == "redirect"
    assert order["channelAccountSource"] == "merchant"
    assert order["hostedCheckoutUrl"] == f"{merchant.http.base}/pay/{order['id']}"
    assert order["refundSummary"] == {
        "totalRequestedAmount": "0.00",
        "totalRefundedAmount": "0.00",
        "refundableAmount": "88.10",
    }
    for name in ("createdAt", "updatedAt", "expireAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", order[name])
    assert order["paidAt"] is None
    assert order["completedAt"] is None


def test_old_channel_alias(merchant: Merchant) -> None:
    answer = create_with(merchant, channelCode="wechat.native")
    assert answer.status == 200, answer.raw
    order = answer.json["order"]
    assert (order["channelCode"], order["paymentMode"]) == ("wxpay.native", "qr_code")
    assert order["checkoutUrl"].startswith("weixin://")
    assert order["providerPayload"] == {"codeUrl": order["checkoutUrl"]}


def test_a_link_is_told_as_a_payload_too(merchant: Merchant) -> None:
    """Also by those who look later, for it is not kept."""
    order = create_with(merchant).json["order"]
    assert order["paymentMode"] == "redirect"
    assert order["providerPayload"] == {"method": "GET", "redirectUrl": order["checkoutUrl"]}
    found = merchant.post(f"{CREATE}/{order['id']}", {"sync": False})
    assert found.json["order"]["providerPayload"] == order["providerPayload"]


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/cb",
        "http://169.254.169.254/latest",
        "https://[::1]/x",
        "http://192.168.1.1:8080/",
    ],
)
def test_m07_internal_callback_address(merchant: Merchant, url: str) -> None:
    answer = create_with(merchant, callbackUrl=url)
    assert (answer.status, answer.code) == (422, "CALLBACK_URL_FORBIDDEN")


@pytest.mark.parametrize("number", ["\u200b", "a\u200bb", "\ufeffa", "\u00ad", "\u202ea"])
def test_a_number_has_visible_characters_only(merchant: Merchant, number: str) -> None:
    fields = {"channelCode": "alipay.page", "externalOrderId": number, "subject": "x"}
    answer = merchant.post(CREATE, {**fields, "amount": "1.00"})
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST"), answer.raw


def test_a_path_may_be_named_by_either_number_in_the_body(merchant: Merchant) -> None:
    order = merchant.create_order("alipay.page", "30.00").json["order"]
    for path in (order["id"], order["externalOrderId"]):
        for name in (order["id"], order["externalOrderId"]):
            answer = merchant.post(f"/api/payment-orders/{path}", {"orderReference": name})
            assert (answer.status, answer.json["order"]["id"]) == (200, order["id"])
    other = merchant.create_order("alipay.page", "30.00").json["order"]
    answer = merchant.post(f"/api/payment-orders/{order['id']}", {"orderReference": other["id"]})
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


def test_legacy_routes_take_the_first_name(merchant: Merchant) -> None:
    order = merchant.create_order("alipay.page", "30.00").json["order"]
    other = merchant.create_order("alipay.page", "30.00").json["order"]
    names = {"orderReference": order["id"], "orderId": other["id"], "externalOrderId": "nope"}
    answer = merchant.post("/api/payments/orders/query", names)
    assert (answer.status, answer.json["order"]["id"]) == (200, order["id"])
