"""Signatures: the grammar of what is signed, and vectors made by independent means."""

import base64
import hashlib
import hmac

import pytest

from core_service.domain import one_time_code, signature


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1790000000", 1790000000),
        (b"1790000000123", 1790000000.123),
        (b"2026-09-21T13:33:20Z", 1789997600),
        (b"2026-09-21t13:33:20z", 1789997600),
        (b"2026-09-21T13:33:20.250Z", 1789997600.25),
        (b"2026-09-21T21:33:20+08:00", 1789997600),
        (b"2026-09-21T13:33:20.123456789Z", 1789997600.123456),
    ],
)
def test_a03_timestamps_that_are_taken(text: bytes, seconds: float) -> None:
    assert signature.parse_timestamp(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"179000000",
        b"17900000000",
        b"179000000012",
        b"17900000001234",
        b"+790000000",
        b"-790000000",
        b"1790000000.0",
        b"1790000000.",
        b"1_79000000",
        b"1790000000\n",
        "\u0661\u0667\u0669\u0660".encode(),
        b"2026-09-21T13:33:20",
        b"2026-09-21",
        b"2026-09-21 13:33:20Z",
        b"2026-09-21T13:33Z",
        b"2026-09-21T13:33:20.Z",
        b"2026-09-21T13:33:20+0800",
        b"2026-09-21T13:33:20+08",
        b"2026-02-31T13:33:20Z",
        b"2026-09-21T24:33:20Z",
        b"2026-09-21T13:33:60Z",
        b"2026-09-21T13:33:20+99:00",
        b"2026-09-21T13:33:20+07:60",
        b"2026-09-21T13:33:20-00:99",
        b"0000-09-21T13:33:20Z",
        b"2026-W39-1T13:33:20Z",
        b"\xff\xfe",
    ],
)
def test_a03_timestamps_that_are_refused(text: bytes) -> None:
    assert signature.parse_timestamp(text) is None


@pytest.mark.parametrize(
    ("nonce", "is_one"),
    [
        (b"a" * 8, True),
        (b"a" * 128, True),
        (b"aZ9._:-x", True),
        (b"a" * 7, False),
        (b"a" * 129, False),
        (b"abcdefg\n", False),
        (b"abcdefgh\n", False),
        (b"abcd efgh", False),
        ("abcdefgé".encode("latin-1"), False),
    ],
)
def test_i15_nonces(nonce: bytes, is_one: bool) -> None:  # noqa: FBT001
    assert signature.is_nonce(nonce) is is_one


def test_request_signature_is_hmac_over_timestamp_nonce_and_raw_body() -> None:
    body = b'{"merchantCode": "\xe4\xb8\xad"}'
    expected = hmac.new(b"nps_x", b"1790000000.nonce-01." + body, hashlib.sha256)
    digest = signature.request_signature(b"nps_x", b"1790000000", b"nonce-01", body)
    assert digest == expected.digest()
    assert signature.matches_hex(digest, expected.hexdigest().encode())
    assert signature.matches_hex(digest, expected.hexdigest().upper().encode())


@pytest.mark.parametrize("broken", [b"", b"a" * 63, b"a" * 65, b"g" * 64, b"\xff" * 64])
def test_a04_signatures_of_another_form_match_nothing(broken: bytes) -> None:
    assert not signature.matches_hex(b"\xaa" * 32, broken)


def test_callback_signature() -> None:
    expected = hmac.new(b"secret", b"2026-09-21T13:33:20.000Z.{}", hashlib.sha256).hexdigest()
    assert signature.callback_signature("secret", "2026-09-21T13:33:20.000Z", b"{}") == expected


def test_standard_webhooks_signature_of_the_specification() -> None:
    """The example of the Standard Webhooks reference libraries; its secret is public."""
    signed = signature.standard_webhooks_signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_standard_webhooks_with_a_plain_secret_uses_its_bytes() -> None:
    expected = base64.b64encode(hmac.new(b"plain", b"id.7.{}", hashlib.sha256).digest()).decode()
    assert signature.standard_webhooks_signature("plain", "id", 7, b"{}") == f"v1,{expected}"


def test_keys_are_new_each_time() -> None:
    assert signature.new_key_id().startswith("npk_")
    assert signature.new_secret().startswith("nps_")
    assert len({signature.new_secret() for _ in range(100)}) == 100


def test_one_time_codes_of_rfc_6238() -> None:
    """Appendix B of the RFC, the last six of its eight digits."""
    key = b"12345678901234567890"
    assert one_time_code.code_at(key, 59 // 30) == "287082"
    assert one_time_code.code_at(key, 1111111109 // 30) == "081804"
    assert one_time_code.matching_step(key, "287082", 59) == 1
    assert one_time_code.matching_step(key, "287082", 89) == 1
    assert one_time_code.matching_step(key, "287082", 120) is None
    assert one_time_code.matching_step(key, "२८७०८२", 59) is None
