"""JSON to messages and back."""

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from core_service.schema import methods
from novapay.config.v1 import config_service_pb2 as config
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.payments.v1 import payment_service_pb2 as payments
from rest_edge.json_codec import Violations, decoder_for, encoder_for
from rest_edge.strict_json import load_object


def read(message: Any, text: str) -> tuple[Any, list[tuple[str, str]]]:
    violations = Violations()
    decoder_for(message.DESCRIPTOR).fill(message, load_object(text.encode()).value, violations)
    return message, violations.items


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ('"88.1"', "88.1"),
        ('"1e2"', "1e2"),
        ('" 1"', " 1"),
        ('""', ""),
        ("88", "88"),
        ("88.1", "88.1"),
        ("88.10", "88.1"),
        ("88.00", "88"),
        ("88.000000000000000000000", "88"),
        ("1e2", "100"),
        ("1E+2", "100"),
        ("12345e-2", "123.45"),
        ("100", "100"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1.005", "1.005"),
        ("-1", "-1"),
        ("-0", "-0"),
        ("0", "0"),
        ("1e3000000", "1e3000000"),
        ("1E400", "1E400"),
        ("1e-400", "1e-400"),
        ("1.0000000000000000000000001", "1.0000000000000000000000001"),
        ("true", "true"),
        ("[]", "[]"),
        ('{"a":1}', '{"a":1}'),
        ('["1"]', '["1"]'),
    ],
)
def test_i01_i02_decimals_come_from_the_text(written: str, taken: str) -> None:
    message, violations = read(payments.CreatePaymentOrderRequest(), f'{{"amount":{written}}}')
    assert (taken, []) == (message.amount, violations)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"merchantCode":1}', "merchantCode"),
        ('{"subject":5}', "subject"),
        ('{"subject":true}', "subject"),
        ('{"subject":["x"]}', "subject"),
        ('{"description":{}}', "description"),
        ('{"metadata":"{}"}', "metadata"),
        ('{"metadata":[1]}', "metadata"),
        ('{"metadata":1}', "metadata"),
    ],
)
def test_i06_wrong_type_names_the_field(text: str, field: str) -> None:
    _, violations = read(payments.CreatePaymentOrderRequest(), text)
    assert [field] == [path for path, _ in violations]


@pytest.mark.parametrize("value", ['"true"', "1", "0", '""', "[]", "{}"])
def test_i06_booleans_are_booleans(value: str) -> None:
    _, violations = read(payments.QueryPaymentOrderRequest(), f'{{"sync":{value}}}')
    assert [("sync", "must be true or false")] == violations


def test_i06_paths_lead_into_lists() -> None:
    text = '{"configs":[{"key":"A","value":"1"},{"key":"B","value":2},"x"]}'
    _, violations = read(config.UpdateSystemConfigsRequest(), text)
    assert [
        ("configs[1].value", "must be a string"),
        ("configs[2]", "must be an object"),
    ] == violations
    _, violations = read(config.UpdateSystemConfigsRequest(), '{"configs":{}}')
    assert [("configs", "must be an array")] == violations


@pytest.mark.parametrize(
    "value", ['"MERCHANT_STATUS_APPROVED"', '"approved"', '"UNSPECIFIED"', '""', "2", "true"]
)
def test_i06_enums_by_short_name_only(value: str) -> None:
    _, violations = read(merchants.CreateMerchantRequest(), f'{{"status":{value}}}')
    assert [("status", "must be one of PENDING, APPROVED, REJECTED, SUSPENDED")] == violations


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 1767225600),
        ("2026-01-01t08:00:00.250+08:00", 1767225600),
        ("2025-12-31T23:59:60Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01T00:00:00", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("1767225600", None),
        ("", None),
    ],
)
def test_i06_moments_are_rfc_3339_with_a_zone(written: str, seconds: int | None) -> None:
    message, found = read(payments.ListPaymentOrdersRequest(), json.dumps({"createdFrom": written}))
    if seconds is None:
        assert [("createdFrom", "must be an RFC 3339 time with a zone")] == found
    else:
        assert ([], seconds) == (found, message.created_from.seconds)


@pytest.mark.parametrize("value", ["5", "true", "{}", "[]"])
def test_i06_moments_are_strings(value: str) -> None:
    found = read(payments.ListPaymentOrdersRequest(), f'{{"createdTo": {value}}}')[1]
    assert [("createdTo", "must be an RFC 3339 time with a zone")] == found


def test_violations_are_bounded() -> None:
    text = json.dumps({"configs": [1] * 1000})
    _, violations = read(config.UpdateSystemConfigsRequest(), text)
    assert 20 == len(violations)


def test_i10_unknown_fields_are_ignored_and_known_ones_passed_on() -> None:
    message, violations = read(
        payments.CreatePaymentOrderRequest(),
        '{"other":{"a":[1]},"notifyUrl":"x","updateMask":"name"}',
    )
    assert [] == violations
    assert "x" == message.notify_url


def test_null_is_absent() -> None:
    message, violations = read(
        payments.CreatePaymentOrderRequest(),
        '{"description":null,"metadata":null,"subject":null,"amount":null}',
    )
    assert ([], "", "") == (violations, message.subject, message.amount)
    assert not message.HasField("description")
    assert not message.HasField("metadata")


def test_mask_names_what_the_body_has() -> None:
    message, violations = read(
        merchants.UpdateMerchantRequest(),
        '{"name":"A","legalName":null,"contactName":"","updateMask":"code","x":1}',
    )
    assert [] == violations
    assert ["name", "legal_name", "contact_name"] == list(message.update_mask.paths)
    assert not message.HasField("legal_name")


def test_free_objects_keep_numbers_order_and_characters() -> None:
    text = '{"metadata":{"z":1.10,"a":12345678901234567890,"e":1e400,"s":"\\u00e9\\n<b>","n":null,"l":[{"b":true}]}}'
    message, violations = read(payments.CreatePaymentOrderRequest(), text)
    assert [] == violations
    assert (
        '{"z":1.10,"a":12345678901234567890,"e":1e400,"s":"é\\n<b>","n":null,"l":[{"b":true}]}'
        == message.metadata
    )
    shown = encoder_for(payments.PaymentOrder.DESCRIPTOR)(
        payments.PaymentOrder(metadata=message.metadata)
    )
    assert message.metadata in shown


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"a": "x" * 8200}, "may have at most 8192 bytes"),
        ({"a": "é" * 4096}, "may have at most 8192 bytes"),
        ({"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {}}}}}}}}}, "may have at most 8 levels"),
    ],
)
def test_i07_free_objects_are_bounded(metadata: Any, reason: str) -> None:
    text = json.dumps({"metadata": metadata}, ensure_ascii=False)
    message, violations = read(payments.CreatePaymentOrderRequest(), text)
    assert [("metadata", reason)] == violations
    assert not message.HasField("metadata")


def test_i07_free_objects_at_their_limits() -> None:
    for metadata in (
        {"a": "x" * (8192 - 8)},
        {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": 1}}}}}}}},
    ):
        _, violations = read(
            payments.CreatePaymentOrderRequest(), json.dumps({"metadata": metadata})
        )
        assert [] == violations


def test_answers_have_every_field_in_the_order_of_the_proto_file() -> None:
    order = payments.PaymentOrder(
        id="po_1",
        status=payments.ORDER_STATUS_SUCCEEDED,
        callback_status=payments.CALLBACK_STATUS_NOT_REQUIRED,
        provider_payload='{"codeUrl":"weixin://x"}',
        paid_at=Timestamp(seconds=1_780_286_400, nanos=123_999_999),
        refund_summary=payments.RefundSummary(refundable_amount="1.00"),
    )
    text = encoder_for(order.DESCRIPTOR)(order)
    shown = json.loads(text)
    assert [field.json_name for field in order.DESCRIPTOR.fields] == list(shown)
    assert ("SUCCEEDED", "NOT_REQUIRED") == (shown["status"], shown["callbackStatus"])
    assert {"codeUrl": "weixin://x"} == shown["providerPayload"]
    assert "2026-06-01T04:00:00.123Z" == shown["paidAt"]
    assert shown["subject"] is None
    assert shown["completedAt"] is None
    assert shown["metadata"] is None
    assert "1.00" == shown["refundSummary"]["refundableAmount"]
    assert text == encoder_for(order.DESCRIPTOR)(
        payments.PaymentOrder.FromString(order.SerializeToString())
    )


def test_empty_page_token_is_left_out() -> None:
    answer = merchants.ListMerchantsResponse(
        merchants=[merchants.Merchant(id="m", callback_enabled=True)]
    )
    encode = encoder_for(answer.DESCRIPTOR)
    shown = json.loads(encode(answer))
    assert ["merchants"] == list(shown)
    assert shown["merchants"][0]["callbackEnabled"] is True
    answer.next_page_token = "t"
    assert "t" == json.loads(encode(answer))["nextPageToken"]


@pytest.mark.parametrize("text", ["😀é日", '"\\/', "\u2028", "<script>", "\x7f"])
def test_i09_i16_text_comes_back_exactly(text: str) -> None:
    shown = encoder_for(payments.PaymentOrder.DESCRIPTOR)(payments.PaymentOrder(subject=text))
    assert text == json.loads(shown)["subject"]


def test_every_routed_message_has_a_codec() -> None:
    for method in methods():
        if method.routes:
            decoder_for(method.request_type.DESCRIPTOR)
            assert (
                json.loads(encoder_for(method.response_type.DESCRIPTOR)(method.response_type()))
                is not None
            )
