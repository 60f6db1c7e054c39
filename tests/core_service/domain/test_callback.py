"""Bodies, headers and the retry schedule of merchant callbacks; plain values."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_service.domain import callback
from core_service.domain.callback import DeliveryStatus, Envelope, RetryPolicy, Verdict

NOW = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
NOW_IN_CHINA = NOW.astimezone(timezone(timedelta(hours=8)))
POLICY = RetryPolicy(first_pause_seconds=15, max_attempts=14)


@dataclass(frozen=True)
class Order:
    id: str = "po_1"
    external_order_id: str = "订单-1"
    channel_code: str = "alipay.page"
    amount_fen: int = 8810
    currency: str = "CNY"
    status: str = "SUCCEEDED"
    gateway_order_id: str | None = "2026030422001"
    provider_status: str | None = "TRADE_SUCCESS"
    paid_at: datetime | None = NOW
    completed_at: datetime | None = NOW_IN_CHINA
    metadata: str | None = '{"n": 1.10, "big": 12345678901234567890, "é": "\\u0041"}'


@dataclass(frozen=True)
class Refund:
    id: str = "rf_1"
    external_refund_id: str = "r-1"
    amount_fen: int = 5
    status: str = "FAILED"
    provider_refund_id: str | None = None
    reason: str | None = 'said "no"\u2028'
    refunded_at: datetime | None = None
    metadata: str | None = None


@dataclass(frozen=True)
class Merchant:
    callback_base: str | None = "https://shop.example/base"
    callback_enabled: bool = True
    refund_callback_enabled: bool = True


ORDER_JSON = (
    '{"id":"po_1","merchantCode":"shop","externalOrderId":"订单-1","channelCode":"alipay.page",'
    '"amount":"88.10","currency":"CNY","status":"SUCCEEDED","gatewayOrderId":"2026030422001",'
    '"providerStatus":"TRADE_SUCCESS","paidAt":"2026-03-04T05:06:07.890Z",'
    '"completedAt":"2026-03-04T05:06:07.890Z",'
    '"metadata":{"n": 1.10, "big": 12345678901234567890, "é": "\\u0041"}}'
)


def test_order_body_is_exact() -> None:
    expected = f'{{"event":"payment.order.updated","order":{ORDER_JSON}}}'
    assert callback.order_body(Order(), "shop").decode() == expected


def test_what_is_unknown_is_null() -> None:
    order = replace(
        Order(),
        status="CANCELLED",
        gateway_order_id=None,
        provider_status=None,
        paid_at=None,
        completed_at=None,
        metadata=None,
    )
    body = callback.order_body(order, "shop").decode()
    assert body.endswith(
        '"status":"CANCELLED","gatewayOrderId":null,"providerStatus":null,"paidAt":null,'
        '"completedAt":null,"metadata":null}}'
    )


def test_refund_body_is_exact() -> None:
    expected = (
        '{"event":"payment.refund.updated","refund":{"id":"rf_1","merchantCode":"shop",'
        '"paymentOrderId":"po_1","externalOrderId":"订单-1","externalRefundId":"r-1",'
        '"channelCode":"alipay.page","amount":"0.05","currency":"CNY","status":"FAILED",'
        '"providerRefundId":null,"reason":"said \\"no\\"\u2028","refundedAt":null,"metadata":null},'
        f'"order":{ORDER_JSON}}}'
    )
    assert callback.refund_body(Refund(), Order(), "shop").decode() == expected


def test_v11_headers_carry_both_signatures() -> None:
    secret = "whsec_" + base64.b64encode(b"a test secret of some length").decode()
    body = b'{"event":"payment.order.updated"}'
    envelope = Envelope("dlv_1", "payment.order.updated", "po_1", "shop")
    headers = callback.signed_headers(envelope, body, (secret,), now=NOW)

    assert headers["x-novapay-timestamp"] == "2026-03-04T05:06:07.890Z"
    own = hmac.new(secret.encode(), b"2026-03-04T05:06:07.890Z." + body, hashlib.sha256)
    assert headers["x-novapay-signature"] == own.hexdigest()
    assert verified_by_standard_webhooks(headers, body, secret)
    assert not verified_by_standard_webhooks(headers, body + b" ", secret)
    signatures = {"x-novapay-signature", "webhook-signature"}
    assert {name: value for name, value in headers.items() if name not in signatures} == {
        "content-type": "application/json",
        "user-agent": "NovaPay",
        "x-novapay-event": "payment.order.updated",
        "x-novapay-order-id": "po_1",
        "x-novapay-merchant-code": "shop",
        "x-novapay-delivery-id": "dlv_1",
        "x-novapay-timestamp": "2026-03-04T05:06:07.890Z",
        "webhook-id": "dlv_1",
        "webhook-timestamp": str(int(NOW.timestamp())),
    }


def verified_by_standard_webhooks(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """The verification of standardwebhooks.com, written from its text."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def test_the_schedule_is_fourteen_attempts_in_about_three_days() -> None:
    pauses = [callback.pause_seconds(POLICY, attempts) for attempts in range(1, 15)]
    assert pauses == [
        15, 45, 135, 405, 1215, 3645, 10935, 32805, 43200, 43200, 43200, 43200, 43200, 43200,
    ]  # fmt: skip
    assert 3 <= sum(pauses[:13]) / 86400 < 3.1


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.8), (0.5, 1.0), (0.75, 1.1)])
def test_jitter_is_twenty_per_cent_either_way(chance: float, factor: float) -> None:
    verdict = judge(http_status=500, attempts=3, chance=chance)
    assert verdict.status is DeliveryStatus.PENDING
    assert verdict.pause_seconds == pytest.approx(135 * factor)


@pytest.mark.parametrize("http_status", [200, 201, 204, 299])
def test_any_2xx_is_delivered_even_in_the_last_attempt(http_status: int) -> None:
    assert judge(http_status=http_status, attempts=14) == Verdict(DeliveryStatus.DELIVERED)


@pytest.mark.parametrize("http_status", [None, 100, 199, 300, 301, 307, 400, 404, 410, 429, 500])
def test_everything_else_is_tried_again_until_m11_attempts_are_used_up(
    http_status: int | None,
) -> None:
    assert judge(http_status=http_status, attempts=13).status is DeliveryStatus.PENDING
    assert judge(http_status=http_status, attempts=14) == Verdict(DeliveryStatus.FAILED)
    assert judge(http_status=http_status, attempts=15) == Verdict(DeliveryStatus.FAILED)


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("1", 15),  # never sooner than planned
        ("0", 15),
        ("43200", 43200),
        ("43201", 43200),
        ("999999999", 43200),
        ("9999999999999999999999", 15),
        ("-5", 15),
        ("1.5", 15),
        ("soon", 15),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", 15),
        ("Mon, 01 Jan 2026 00:00:00 +999999999999999999", 15),
        ("", 15),
        (None, 15),
        (format_datetime(NOW + timedelta(seconds=600), usegmt=True).replace("+0000", "GMT"), 599.109877),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 15),
        (format_datetime(NOW + timedelta(days=30), usegmt=True), 43200),
    ],
)  # fmt: skip
def test_m04_retry_after_is_honoured_up_to_the_longest_pause(
    retry_after: str | None, pause: float
) -> None:
    verdict = judge(http_status=429, attempts=1, retry_after=retry_after)
    assert verdict.pause_seconds == pytest.approx(pause)


@given(st.text())
def test_no_retry_after_is_an_error(text: str) -> None:
    seconds = callback.retry_after_seconds(text, now=NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("own", "merchant", "event", "expected"),
    [
        (None, Merchant(), callback.ORDER_UPDATED, "https://shop.example/base"),
        ("https://own.example", Merchant(), callback.ORDER_UPDATED, "https://own.example"),
        ("https://own.example", Merchant(None), callback.REFUND_UPDATED, "https://own.example"),
        (None, Merchant(None), callback.ORDER_UPDATED, None),
        (None, Merchant(""), callback.ORDER_UPDATED, None),
        (
            "https://own.example",
            Merchant(callback_enabled=False),
            callback.ORDER_UPDATED,
            None,
        ),
        (None, Merchant(refund_callback_enabled=False), callback.REFUND_UPDATED, None),
        (
            None,
            Merchant(refund_callback_enabled=False),
            callback.ORDER_UPDATED,
            "https://shop.example/base",
        ),
    ],
)
def test_v09_who_is_told_and_where(
    own: str | None, merchant: Merchant, event: str, expected: str | None
) -> None:
    assert callback.callback_address(own, merchant, event) == expected


def judge(
    *,
    http_status: int | None,
    attempts: int,
    retry_after: str | None = None,
    chance: float = 0.5,
) -> Verdict:
    return callback.judge_attempt(
        POLICY,
        http_status=http_status,
        retry_after=retry_after,
        attempts=attempts,
        now=NOW,
        chance=lambda: chance,
    )
