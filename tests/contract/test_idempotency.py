"""Contract section 4: idempotency keys, and uniqueness without them."""

import concurrent.futures
import json
import secrets
from typing import Any

import pytest

from tests.stack import Answer, Merchant

CREATE = "/api/payment-orders"


def body(**fields: Any) -> dict[str, Any]:
    return {
        "channelCode": "alipay.page",
        "externalOrderId": secrets.token_hex(8),
        "amount": "5.00",
        "subject": "test",
        **fields,
    }


def status_of(answer: Answer) -> str | None:
    return answer.headers.get("x-novapay-idempotency-status")


def test_replay_is_byte_equal(merchant: Merchant) -> None:
    key, request = secrets.token_hex(8), body()
    first = merchant.post(CREATE, request, idempotency_key=key)
    second = merchant.post(CREATE, request, idempotency_key=key)
    assert (first.status, status_of(first)) == (200, "created")
    assert (second.status, status_of(second)) == (200, "replayed")
    assert second.raw == first.raw
    assert first.json["created"] is True
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == key


def test_same_means_the_same_meaning(merchant: Merchant) -> None:
    key, request = secrets.token_hex(8), body()
    first = merchant.post(CREATE, request, idempotency_key=key)
    reordered = {
        "merchantCode": merchant.code,
        **dict(reversed(request.items())),
        "amount": 5,
        "extra": 1,
    }
    raw = json.dumps(reordered, indent=2).encode()
    second = merchant.post(CREATE, raw, idempotency_key=key)
    assert (status_of(second), second.raw) == ("replayed", first.raw)


@pytest.mark.parametrize(
    "change",
    [{"amount": "5.01"}, {"channelCode": "wxpay.native"}, {"subject": "other"}, {"externalOrderId": "another-1"},
     {"returnUrl": "https://example.com/"}, {"metadata": {"a": 1}}],
)  # fmt: skip
def test_c04_other_request_under_the_key(merchant: Merchant, change: dict[str, Any]) -> None:
    key, request = secrets.token_hex(8), body()
    merchant.post(CREATE, request, idempotency_key=key)
    answer = merchant.post(CREATE, request | change, idempotency_key=key)
    assert (answer.status, answer.code, status_of(answer)) == (
        409,
        "IDEMPOTENCY_CONFLICT",
        "conflict",
    )


def test_c05_scope_is_merchant_operation_and_key(
    merchant: Merchant, other_merchant: Merchant
) -> None:
    key, request = secrets.token_hex(8), body()
    created = merchant.post(CREATE, request, idempotency_key=key)
    assert status_of(created) == "created"
    assert status_of(other_merchant.post(CREATE, request, idempotency_key=key)) == "created"
    order = created.json["order"]["id"]
    refused = merchant.post(
        f"{CREATE}/{order}/refunds",
        {"externalRefundId": key, "amount": "1.00"},
        idempotency_key=key,
    )
    assert (refused.code, status_of(refused)) == ("ORDER_NOT_REFUNDABLE", "created")


def test_refusal_of_the_operation_is_stored(merchant: Merchant) -> None:
    key = secrets.token_hex(8)
    request = {"externalRefundId": "r1", "amount": "1.00"}
    first = merchant.post(f"{CREATE}/po_nothing/refunds", request, idempotency_key=key)
    second = merchant.post(f"{CREATE}/po_nothing/refunds", request, idempotency_key=key)
    assert (first.status, first.code) == (404, "ORDER_NOT_FOUND")
    assert (status_of(first), status_of(second)) == ("created", "replayed")
    assert first.raw == second.raw


@pytest.mark.parametrize("key", ["", " ", "a" * 256, "tab\there", "with space"])
def test_i15_malformed_key(merchant: Merchant, key: str) -> None:
    answer = merchant.post(CREATE, body(), headers={"Idempotency-Key": key})
    assert (answer.status, answer.code) == (400, "INVALID_IDEMPOTENCY_KEY"), answer.raw


def test_longest_key(merchant: Merchant) -> None:
    assert merchant.post(CREATE, body(), idempotency_key=secrets.token_hex(128)[:255]).status == 200


@pytest.mark.parametrize("channel", ["alipay.page", "wxpay.native"])
def test_c01_many_callers_one_order(merchant: Merchant, channel: str) -> None:
    key, request = secrets.token_hex(8), body(channelCode=channel)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda _: merchant.post(CREATE, request, idempotency_key=key), range(12))
        )
    final = [answer for answer in answers if answer.status == 200]
    assert final
    assert len({answer.raw for answer in final}) == 1
    assert sum(status_of(answer) == "created" for answer in final) == 1
    for answer in answers:
        if answer.status != 200:
            assert (answer.status, answer.code) == (409, "IDEMPOTENCY_IN_PROGRESS")


@pytest.mark.parametrize("channel", ["alipay.page", "wxpay.native"])
def test_c02_external_order_id_without_key(merchant: Merchant, channel: str) -> None:
    request = body(channelCode=channel)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: merchant.post(CREATE, request), range(8)))
    assert {answer.status for answer in answers} == {200}, [answer.raw for answer in answers]
    assert sum(answer.json["created"] for answer in answers) == 1
    assert len({answer.json["order"]["id"] for answer in answers}) == 1


def test_c03_external_order_id_with_another_amount_or_channel(merchant: Merchant) -> None:
    request = body()
    merchant.post(CREATE, request)
    other_amount = merchant.post(CREATE, request | {"amount": "5.01"})
    other_channel = merchant.post(CREATE, request | {"channelCode": "wxpay.native"})
    assert (other_amount.status, other_amount.code) == (409, "ORDER_AMOUNT_CONFLICT")
    assert (other_channel.status, other_channel.code) == (409, "ORDER_CHANNEL_CONFLICT")
    again = merchant.post(CREATE, request)
    assert (again.status, again.json["created"]) == (200, False)
