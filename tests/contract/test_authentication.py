"""Contract section 3: how a merchant's request is authenticated, check by check and in order."""

import hashlib
import hmac
import json
import secrets
import time
from datetime import UTC, datetime

import pytest

from tests.stack import Answer, Merchant, Stack

CREATE = "/api/payment-orders"


def order_body(merchant: Merchant, **fields: object) -> bytes:
    body = {
        "merchantCode": merchant.code,
        "channelCode": "alipay.page",
        "externalOrderId": secrets.token_hex(8),
        "amount": "1.00",
        "subject": "test",
        **fields,
    }
    return json.dumps(body).encode()


def expect(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code), answer.raw
    assert answer.json["error"]
    assert answer.headers["x-request-id"]


def test_signed_request_is_accepted(merchant: Merchant) -> None:
    assert merchant.create_order().status == 200


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("x-novapay-key", "API_KEY_REQUIRED"),
        ("x-novapay-timestamp", "SIGNATURE_REQUIRED"),
        ("x-novapay-nonce", "SIGNATURE_REQUIRED"),
        ("x-novapay-signature", "SIGNATURE_REQUIRED"),
    ],
)
@pytest.mark.parametrize("value", [None, "", "   "])
def test_missing_header(merchant: Merchant, header: str, code: str, value: str | None) -> None:
    expect(merchant.post(CREATE, order_body(merchant), headers={header: value}), 401, code)


def test_headers_are_trimmed(merchant: Merchant) -> None:
    raw = order_body(merchant)
    padded: dict[str, str | None] = {
        name: f"  {value} " for name, value in merchant.sign(raw).items()
    }
    assert merchant.post(CREATE, raw, headers=padded).status == 200


def test_body_without_merchant_code_comes_first(merchant: Merchant) -> None:
    """Step 1 precedes authentication."""
    expect(merchant.post(CREATE, b"{}", headers={"x-novapay-key": None}), 400, "INVALID_REQUEST")
    expect(merchant.post(CREATE, b"{", headers={"x-novapay-key": None}), 400, "INVALID_JSON")


def test_fields_are_judged_after_authentication(merchant: Merchant) -> None:
    raw = order_body(merchant, subject=5, amount="nonsense")
    expect(merchant.post(CREATE, raw, headers={"x-novapay-key": None}), 401, "API_KEY_REQUIRED")
    expect(merchant.post(CREATE, raw), 400, "INVALID_REQUEST")


def test_a08_unknown_and_revoked_keys_get_one_answer(stack: Stack, merchant: Merchant) -> None:
    unknown = Merchant(merchant.http, merchant.code, "npk_unknown", merchant.secret)
    answer = unknown.post(CREATE, order_body(merchant))
    expect(answer, 401, "INVALID_API_KEY")


@pytest.mark.parametrize("offset", [-301, 301, -100_000])
def test_a02_expired_timestamp(merchant: Merchant, offset: int) -> None:
    stamp = str(int(time.time()) + offset)
    expect(merchant.post(CREATE, order_body(merchant), timestamp=stamp), 401, "SIGNATURE_EXPIRED")


@pytest.mark.parametrize("offset", [-297, 297])
def test_a02_timestamp_inside_the_window(merchant: Merchant, offset: int) -> None:
    stamp = str(int(time.time()) + offset)
    assert merchant.post(CREATE, order_body(merchant), timestamp=stamp).status == 200


def test_timestamp_forms(merchant: Merchant) -> None:
    now = datetime.now(UTC)
    for stamp in (
        str(int(now.timestamp())),
        str(int(now.timestamp() * 1000)),
        now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        now.isoformat(timespec="milliseconds"),
    ):
        assert merchant.post(CREATE, order_body(merchant), timestamp=stamp).status == 200, stamp


@pytest.mark.parametrize(
    "stamp",
    ["now", "123", "12345678901", "-1234567890", "1.780286e9", "2026-06-01T12:00:00", "2026-06-01", "0x6a000000ff",
     "1780286400 ", "+1780286400", "2026-06-01 12:00", "17802864.0"],
)  # fmt: skip
def test_a03_malformed_timestamp(merchant: Merchant, stamp: str) -> None:
    expected = (
        "SIGNATURE_EXPIRED" if stamp.strip() == "1780286400" else "INVALID_SIGNATURE_TIMESTAMP"
    )
    expect(merchant.post(CREATE, order_body(merchant), timestamp=stamp), 401, expected)


@pytest.mark.parametrize(
    "nonce", ["short", "a" * 129, "with space1", "slash/1234", "percent%41", "ünïcode1"]
)
def test_i15_nonce_grammar(merchant: Merchant, nonce: str) -> None:
    raw = order_body(merchant)
    stamp = str(int(time.time()))
    headers = merchant.sign(raw, timestamp=stamp)
    headers["x-novapay-nonce"] = nonce.encode().decode("latin-1")
    expect(merchant.post(CREATE, raw, headers=dict(headers)), 401, "INVALID_SIGNATURE_NONCE")


@pytest.mark.parametrize("nonce", ["a" * 8, "a" * 128, "AZaz09._:-"])
def test_nonce_limits_are_accepted(merchant: Merchant, nonce: str) -> None:
    unique = (secrets.token_hex(64) + nonce)[-len(nonce) :] if len(nonce) > 10 else nonce
    assert merchant.post(CREATE, order_body(merchant), nonce=unique).status == 200


@pytest.mark.parametrize("change", ["short", "long", "odd", "not-hex", "other"])
def test_a04_bad_signature(merchant: Merchant, change: str) -> None:
    raw = order_body(merchant)
    headers = merchant.sign(raw)
    good = headers["x-novapay-signature"]
    headers["x-novapay-signature"] = {
        "short": good[:-2],
        "long": good + "00",
        "odd": good[:-1],
        "not-hex": "g" + good[1:],
        "other": ("0" if good[0] != "0" else "1") + good[1:],
    }[change]
    expect(merchant.post(CREATE, raw, headers=dict(headers)), 401, "INVALID_SIGNATURE")


def test_a04_upper_case_signature_is_accepted(merchant: Merchant) -> None:
    raw = order_body(merchant)
    headers = merchant.sign(raw)
    headers["x-novapay-signature"] = headers["x-novapay-signature"].upper()
    assert merchant.post(CREATE, raw, headers=dict(headers)).status == 200


@pytest.mark.parametrize("name", ["key", "timestamp", "nonce", "signature"])
def test_a05_bytes_beyond_ascii(merchant: Merchant, name: str) -> None:
    raw = order_body(merchant)
    headers = merchant.sign(raw)
    headers[f"x-novapay-{name}"] = "é" + headers[f"x-novapay-{name}"][1:]
    assert merchant.post(CREATE, raw, headers=dict(headers)).status == 401


def test_a06_changed_body(merchant: Merchant) -> None:
    raw = order_body(merchant)
    headers: dict[str, str | None] = dict(merchant.sign(raw))
    for other in (
        raw.replace(b"1.00", b"2.00"),
        raw + b" ",
        json.dumps(json.loads(raw), indent=1).encode(),
    ):
        expect(merchant.post(CREATE, other, headers=headers), 401, "INVALID_SIGNATURE")


def test_a07_another_key_of_the_same_merchant(stack: Stack, merchant: Merchant) -> None:
    other = stack.cli("credentials", "create", "--merchant", merchant.code)
    raw = order_body(merchant)
    headers: dict[str, str | None] = dict(merchant.sign(raw))
    headers["x-novapay-key"] = other["keyId"]
    expect(merchant.post(CREATE, raw, headers=headers), 401, "INVALID_SIGNATURE")
    second = Merchant(merchant.http, merchant.code, other["keyId"], other["secret"])
    assert second.post(CREATE, order_body(merchant)).status == 200


def test_dot_cannot_move_between_timestamp_and_nonce(merchant: Merchant) -> None:
    raw = order_body(merchant)
    stamp, nonce = str(int(time.time())), "12345678.abcdefgh"
    signature = hmac.new(
        merchant.secret.encode(), f"{stamp}.{nonce}.".encode() + raw, hashlib.sha256
    ).hexdigest()
    moved: dict[str, str | None] = {
        "x-novapay-timestamp": f"{stamp}.12345678",
        "x-novapay-nonce": "abcdefgh",
        "x-novapay-signature": signature,
    }
    expect(merchant.post(CREATE, raw, headers=moved), 401, "INVALID_SIGNATURE_TIMESTAMP")


def test_a01_nonce_is_spent_whatever_the_outcome(merchant: Merchant) -> None:
    for raw, first_status in ((order_body(merchant), 200), (order_body(merchant, amount="x"), 400)):
        headers: dict[str, str | None] = dict(merchant.sign(raw))
        assert merchant.post(CREATE, raw, headers=headers).status == first_status
        expect(merchant.post(CREATE, raw, headers=headers), 401, "NONCE_REPLAYED")


def test_failed_signature_spends_no_nonce(merchant: Merchant) -> None:
    raw = order_body(merchant)
    headers: dict[str, str | None] = dict(merchant.sign(raw))
    good = headers["x-novapay-signature"]
    expect(
        merchant.post(CREATE, raw, headers=headers | {"x-novapay-signature": "0" * 64}),
        401,
        "INVALID_SIGNATURE",
    )
    assert merchant.post(CREATE, raw, headers=headers | {"x-novapay-signature": good}).status == 200


def test_another_merchants_code_is_not_found_whether_it_exists_or_not(
    merchant: Merchant, other_merchant: Merchant
) -> None:
    existing = merchant.post(CREATE, order_body(merchant, merchantCode=other_merchant.code))
    missing = merchant.post(CREATE, order_body(merchant, merchantCode="no-such-shop"))
    expect(existing, 404, "MERCHANT_NOT_FOUND")
    expect(missing, 404, "MERCHANT_NOT_FOUND")
    assert existing.json["error"] == missing.json["error"]


def test_a10_allowlist(stack: Stack, fresh_merchant: Merchant) -> None:
    def create() -> Answer:
        return fresh_merchant.post(CREATE, order_body(fresh_merchant))

    stack.cli(
        "merchants",
        "set",
        "--code",
        fresh_merchant.code,
        "--ip-allowlist",
        "10.1.2.3, 192.0.2.0/24",
    )
    expect(create(), 403, "IP_NOT_ALLOWED")
    spoofed: dict[str, str | None] = {"x-forwarded-for": "10.1.2.3", "x-real-ip": "10.1.2.3"}
    expect(
        fresh_merchant.post(CREATE, order_body(fresh_merchant), headers=spoofed),
        403,
        "IP_NOT_ALLOWED",
    )
    stack.cli(
        "merchants",
        "set",
        "--code",
        fresh_merchant.code,
        "--ip-allowlist",
        "10.1.2.3\n127.0.0.1/8 ::1",
    )
    assert create().code != "IP_NOT_ALLOWED"


def test_path_and_body_must_name_the_same_order(merchant: Merchant) -> None:
    """The signature does not cover the path."""
    first = merchant.create_order().json["order"]
    second = merchant.create_order().json["order"]
    for field, value in (
        ("orderId", second["id"]),
        ("externalOrderId", second["externalOrderId"]),
        ("orderReference", second["id"]),
    ):
        answer = merchant.post(f"/api/payment-orders/{first['id']}", {"sync": False, field: value})
        expect(answer, 400, "INVALID_REQUEST")
    same = {"sync": False, "orderId": first["id"], "externalOrderId": first["externalOrderId"]}
    assert merchant.post(f"/api/payment-orders/{first['id']}", same).status == 200
    assert merchant.post(f"/api/payment-orders/{first['externalOrderId']}", same).status == 200


def test_a12_another_merchants_order_does_not_exist(
    merchant: Merchant, other_merchant: Merchant
) -> None:
    order = merchant.create_order().json["order"]
    for reference in (order["id"], order["externalOrderId"], "po_nothing"):
        expect(
            other_merchant.post(f"/api/payment-orders/{reference}", {"sync": False}),
            404,
            "ORDER_NOT_FOUND",
        )
        expect(
            other_merchant.post(f"/api/payment-orders/{reference}/close", {}),
            404,
            "ORDER_NOT_FOUND",
        )
        expect(other_merchant.refund(reference, "1.00"), 404, "ORDER_NOT_FOUND")
    for reference in ("rf_nothing", "anything"):
        answer = other_merchant.post(f"/api/payment-refunds/{reference}", {"sync": False})
        expect(answer, 404, "REFUND_NOT_FOUND")


def test_content_type_is_ignored_for_merchants(merchant: Merchant) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
        answer = merchant.post(CREATE, order_body(merchant), headers={"content-type": content_type})
        assert answer.status == 200
