"""Signed requests: every rule of the contract's section 3, its code, and the order of the rules."""

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.application import access, merchant_cache
from core_service.application.access import SignedRequest, StaleSnapshot
from core_service.calls import Call, Principal
from core_service.errors import CoreError
from core_service.storage.database import fetch_one
from core_service.storage.secret_box import SecretBox
from tests.core_service.merchant_rows import (
    KnownKey,
    KnownMerchant,
    change,
    insert_account,
    insert_key,
    insert_merchant,
    seal_config,
)

pytestmark = pytest.mark.usefixtures("connection")

NOW = datetime.now(UTC).replace(microsecond=0)
BODY = b'{"merchantCode":"x"}'


@pytest.fixture
def merchant(core_database: str, box: SecretBox) -> KnownMerchant:
    return insert_merchant(box)


def signed(
    merchant: KnownMerchant, *, key: KnownKey | None = None, at: datetime = NOW
) -> SignedRequest:
    """A good request."""
    key = key or merchant.key
    request = SignedRequest(
        key_id=key.key_id.encode(),
        timestamp=str(int(at.timestamp())).encode(),
        nonce=secrets.token_hex(8).encode(),
        signature=b"",
        body=BODY,
        merchant_code=merchant.code,
        client_address="192.0.2.7",
    )
    return sign(request, key)


def sign(request: SignedRequest, key: KnownKey) -> SignedRequest:
    message = b".".join((request.timestamp, request.nonce, request.body))
    digest = hmac.new(key.secret.encode(), message, hashlib.sha256).hexdigest()
    return replace(request, signature=digest.encode())


def reason(request: SignedRequest, *, now: datetime = NOW) -> str:
    """The code of the refusal, or OK."""
    try:
        access.authenticate_signed_request(request, now=now)
    except CoreError as refusal:
        return refusal.reason
    return "OK"


def call_for(request: SignedRequest) -> Call:
    snapshot, unspent = access.authenticate_signed_request(request, now=NOW)
    return Call("r", Principal.MERCHANT, 0, merchant=snapshot, unspent_nonce=unspent)


def test_good_request(merchant: KnownMerchant) -> None:
    snapshot, unspent = access.authenticate_signed_request(signed(merchant), now=NOW)
    assert snapshot.facts.code == merchant.code
    assert unspent.merchant_id == merchant.id
    assert unspent.signed_at == NOW.timestamp()


def test_values_are_trimmed(merchant: KnownMerchant) -> None:
    good = signed(merchant)
    padded = replace(
        good,
        key_id=b" " + good.key_id + b"\t",
        timestamp=good.timestamp + b" ",
        nonce=b" " + good.nonce,
        signature=good.signature + b" ",
    )
    assert reason(padded) == "OK"


@pytest.mark.parametrize("missing", ["timestamp", "nonce", "signature"])
@pytest.mark.parametrize("blank", [b"", b" \t"])
def test_missing_signature_parts(merchant: KnownMerchant, missing: str, blank: bytes) -> None:
    parts: dict[str, Any] = {missing: blank}
    assert reason(replace(signed(merchant), **parts)) == "SIGNATURE_REQUIRED"


def test_missing_key(merchant: KnownMerchant) -> None:
    assert reason(replace(signed(merchant), key_id=b"")) == "API_KEY_REQUIRED"


def test_a08_unknown_disabled_and_expired_keys_get_one_answer(
    merchant: KnownMerchant, box: SecretBox
) -> None:
    disabled = insert_key(box, merchant.id, enabled=False)
    expired = insert_key(box, merchant.id, expires_at=NOW)
    unknown = KnownKey("npk_unknown", "nps_unknown")
    messages = set()
    for key in (disabled, expired, unknown):
        with pytest.raises(CoreError) as refusal:
            access.authenticate_signed_request(signed(merchant, key=key), now=NOW)
        messages.add((refusal.value.reason, refusal.value.message, str(refusal.value.details)))
    assert len(messages) == 1
    assert messages.pop()[0] == "INVALID_API_KEY"


def test_a08_a_key_lives_until_its_expiry(merchant: KnownMerchant, box: SecretBox) -> None:
    key = insert_key(box, merchant.id, expires_at=NOW + timedelta(seconds=1))
    assert reason(signed(merchant, key=key)) == "OK"
    later = NOW + timedelta(seconds=1)
    assert reason(signed(merchant, key=key, at=later), now=later) == "INVALID_API_KEY"


@pytest.mark.parametrize(
    ("age", "expected"),
    [(301, "SIGNATURE_EXPIRED"), (-301, "SIGNATURE_EXPIRED"), (299, "OK"), (-299, "OK")],
)
def test_a02_age_of_a_timestamp(merchant: KnownMerchant, age: int, expected: str) -> None:
    assert reason(signed(merchant, at=NOW - timedelta(seconds=age))) == expected


@pytest.mark.parametrize("text", [b"yesterday", b"1790000000.5", b"17900000000", b"\xff\xff"])
def test_a03_malformed_timestamp(merchant: KnownMerchant, text: bytes) -> None:
    request = sign(replace(signed(merchant), timestamp=text), merchant.key)
    assert reason(request) == "INVALID_SIGNATURE_TIMESTAMP"


@pytest.mark.parametrize("nonce", [b"short", b"a" * 129, b"white space", b"caf\xe9cafe"])
def test_i15_malformed_nonce(merchant: KnownMerchant, nonce: bytes) -> None:
    request = sign(replace(signed(merchant), nonce=nonce), merchant.key)
    assert reason(request) == "INVALID_SIGNATURE_NONCE"


def test_the_dot_cannot_be_moved_between_timestamp_and_nonce(merchant: KnownMerchant) -> None:
    nonce = b"12345678.90123456"
    good = sign(replace(signed(merchant), nonce=nonce), merchant.key)
    assert reason(good) == "OK"
    moved = replace(good, timestamp=good.timestamp + b".12345678", nonce=b"90123456")
    assert reason(moved) == "INVALID_SIGNATURE_TIMESTAMP"


def test_a04_signature_forms(merchant: KnownMerchant) -> None:
    good = signed(merchant)
    assert reason(replace(good, signature=good.signature.upper())) == "OK"
    for broken in (good.signature[:-1], good.signature + b"0", b"z" * 64, b"x", b"\xff" * 64):
        assert reason(replace(good, signature=broken)) == "INVALID_SIGNATURE"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("key_id", "INVALID_API_KEY"),
        ("timestamp", "INVALID_SIGNATURE_TIMESTAMP"),
        ("nonce", "INVALID_SIGNATURE_NONCE"),
        ("signature", "INVALID_SIGNATURE"),
    ],
)
@pytest.mark.parametrize("value", [b"\xe9\xff\x80", "密钥密钥密钥".encode(), b"\x00" * 12])
def test_a05_bytes_outside_ascii(
    merchant: KnownMerchant, name: str, expected: str, value: bytes
) -> None:
    parts: dict[str, Any] = {name: value}
    assert reason(replace(signed(merchant), **parts)) == expected


@pytest.mark.parametrize(
    "body", [BODY + b" ", BODY[:-1], b'{"merchantCode": "x"}', BODY.decode().encode("utf-16")]
)
def test_a06_changed_body(merchant: KnownMerchant, body: bytes) -> None:
    assert reason(replace(signed(merchant), body=body)) == "INVALID_SIGNATURE"


def test_a07_signed_with_another_key_of_the_same_merchant(
    merchant: KnownMerchant, box: SecretBox
) -> None:
    other = insert_key(box, merchant.id)
    request = replace(signed(merchant, key=other), key_id=merchant.key.key_id.encode())
    assert reason(request) == "INVALID_SIGNATURE"


@pytest.mark.parametrize(
    ("allowlist", "address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7", "OK"),
        ("192.0.2.7", "192.0.2.8", "IP_NOT_ALLOWED"),
        ("198.51.100.1, 192.0.2.0/24", "192.0.2.200", "OK"),
        ("198.51.100.1\n192.0.2.99/24", "192.0.2.7", "OK"),
        ("192.0.2.7", "::ffff:192.0.2.7", "OK"),
        ("2001:db8::/32", "2001:db8:1::5", "OK"),
        ("2001:db8::/32", "2001:db9::5", "IP_NOT_ALLOWED"),
        ("192.0.2.7", None, "IP_NOT_ALLOWED"),
        (None, None, "OK"),
    ],
)
def test_a10_allowlist(
    core_database: str, box: SecretBox, allowlist: str | None, address: str | None, expected: str
) -> None:
    merchant = insert_merchant(box, api_ip_whitelist=allowlist)
    assert reason(replace(signed(merchant), client_address=address)) == expected


def test_another_merchants_code_answers_not_found(merchant: KnownMerchant, box: SecretBox) -> None:
    other = insert_merchant(box)
    for code in (other.code, "nobody", merchant.code.lower()):
        assert reason(replace(signed(merchant), merchant_code=code)) == "MERCHANT_NOT_FOUND"


def test_order_of_checks(core_database: str, box: SecretBox) -> None:
    """A request that is wrong in every way, put right one check at a time."""
    merchant = insert_merchant(box, api_ip_whitelist="198.51.100.1")
    good = signed(merchant)
    request = SignedRequest(b"", b"", b"", b"", BODY, "nobody", "192.0.2.7")
    found = []
    for fixes in (
        {},
        {"key_id": b"npk_unknown"},
        {"timestamp": b"never", "nonce": b"?", "signature": b"?"},
        {"key_id": good.key_id},
        {"timestamp": b"1000000000"},
        {"timestamp": good.timestamp},
        {"nonce": good.nonce},
        {"signature": good.signature},
        {"client_address": "198.51.100.1"},
        {"merchant_code": merchant.code},
    ):
        request = replace(request, **fixes)
        found.append(reason(request))
    assert found == [
        "API_KEY_REQUIRED",
        "SIGNATURE_REQUIRED",
        "INVALID_API_KEY",
        "INVALID_SIGNATURE_TIMESTAMP",
        "SIGNATURE_EXPIRED",
        "INVALID_SIGNATURE_NONCE",
        "INVALID_SIGNATURE",
        "IP_NOT_ALLOWED",
        "MERCHANT_NOT_FOUND",
        "OK",
    ]


def test_a01_a_nonce_is_spent_once_for_each_merchant(
    merchant: KnownMerchant, box: SecretBox
) -> None:
    request = signed(merchant)
    access.spend_nonce(call_for(request))
    merchant_cache.configure(box, "https://pay.example")  # as after a restart
    with pytest.raises(CoreError, match="NONCE_REPLAYED"):
        access.spend_nonce(call_for(request))
    other = insert_merchant(box)
    theirs = sign(replace(signed(other), nonce=request.nonce), other.key)
    access.spend_nonce(call_for(theirs))


def test_a01_a_nonce_is_remembered_past_the_largest_age(merchant: KnownMerchant) -> None:
    access.spend_nonce(call_for(signed(merchant)))
    row = fetch_one("SELECT expires_at FROM nonces WHERE merchant_id = %s", (merchant.id,))
    assert row is not None
    assert row["expires_at"] == NOW + timedelta(hours=1)


def test_a_spent_call_spends_nothing_more(merchant: KnownMerchant) -> None:
    call = call_for(signed(merchant))
    access.spend_nonce(call)
    access.nonce_spent(call)
    access.spend_nonce(call)


def test_a_revoked_key_is_noticed_by_the_nonce(merchant: KnownMerchant) -> None:
    call = call_for(signed(merchant))
    change(
        merchant.id,
        "UPDATE credentials SET enabled = false WHERE key_id = %s",
        (merchant.key.key_id,),
    )
    with pytest.raises(StaleSnapshot):
        access.spend_nonce(call)
    access.refresh(call)
    assert reason(signed(merchant)) == "INVALID_API_KEY"


def test_a_refusal_from_memory_is_made_sure_of(merchant: KnownMerchant) -> None:
    """Another process widened the allowlist: this one must not go on refusing."""
    change(
        merchant.id,
        "UPDATE merchants SET api_ip_whitelist = '198.51.100.1' WHERE id = %s",
        (merchant.id,),
    )
    assert reason(signed(merchant)) == "IP_NOT_ALLOWED"
    change(
        merchant.id, "UPDATE merchants SET api_ip_whitelist = NULL WHERE id = %s", (merchant.id,)
    )
    assert reason(signed(merchant)) == "OK"
    code = f"{merchant.code}-new"
    change(merchant.id, "UPDATE merchants SET code = %s WHERE id = %s", (code, merchant.id))
    assert reason(replace(signed(merchant), merchant_code=code)) == "OK"
    assert reason(signed(merchant)) == "MERCHANT_NOT_FOUND"


def test_last_use_is_written_beside_the_requests(merchant: KnownMerchant) -> None:
    access.authenticate_signed_request(signed(merchant), now=NOW)
    assert _last_used(merchant) is None
    access.flush_last_uses(NOW)
    assert _last_used(merchant) == NOW
    soon = NOW + timedelta(minutes=1)
    access.authenticate_signed_request(signed(merchant, at=soon), now=soon)
    access.flush_last_uses(soon)
    assert _last_used(merchant) == NOW
    later = NOW + timedelta(minutes=6)
    access.authenticate_signed_request(signed(merchant, at=later), now=later)
    access.flush_last_uses(later)
    assert _last_used(merchant) == later


def test_parsed_provider_keys_survive_unrelated_changes(
    merchant: KnownMerchant, box: SecretBox
) -> None:
    account_id = insert_account(box, merchant.id, {"appId": "1"})
    first = merchant_cache.by_id(merchant.id).accounts[account_id].provider_account
    first.parsed["key"] = "parsed"
    assert first.callback_url == (
        f"https://pay.example/api/payments/callback/alipay/{account_id}/t0ken"
    )
    change(merchant.id)
    again = merchant_cache.by_id(merchant.id)
    assert again.accounts[account_id].provider_account.parsed == {"key": "parsed"}
    change(
        merchant.id,
        "UPDATE channel_accounts SET config_sealed = %s WHERE id = %s",
        (seal_config(box, merchant.id, account_id, {"appId": "2"}), account_id),
    )
    changed = merchant_cache.by_account(account_id)
    assert changed is not None
    assert changed.accounts[account_id].provider_account.parsed == {}


def test_lookups(merchant: KnownMerchant) -> None:
    assert merchant_cache.by_code(merchant.code).facts.id == merchant.id
    assert merchant_cache.by_id(merchant.id) is merchant_cache.by_code(merchant.code)
    assert merchant_cache.by_account("acc_nobody") is None
    assert merchant_cache.by_key("npk_nobody") is None
    with pytest.raises(CoreError, match="MERCHANT_NOT_FOUND"):
        merchant_cache.by_code("nobody")
    with pytest.raises(CoreError, match="MERCHANT_NOT_FOUND"):
        merchant_cache.by_id("nobody")


def test_secrets_do_not_show_in_text(merchant: KnownMerchant) -> None:
    shown = repr(merchant_cache.by_id(merchant.id))
    assert merchant.key.secret not in shown
    assert "notify'" not in shown


def _last_used(merchant: KnownMerchant) -> datetime | None:
    row = fetch_one(
        "SELECT last_used_at FROM credentials WHERE key_id = %s", (merchant.key.key_id,)
    )
    assert row is not None
    last: datetime | None = row["last_used_at"]
    return last


@pytest.fixture
def slow_rate() -> Iterator[None]:
    access.configure_rate(0.5)
    yield
    access.configure_rate(10_000)


def test_o04_one_key_over_its_rate_is_told_when_to_come_again(
    merchant: KnownMerchant, box: SecretBox, slow_rate: None
) -> None:
    other = insert_merchant(box)
    access.authenticate_signed_request(signed(merchant), now=NOW)
    with pytest.raises(CoreError) as refused:
        access.authenticate_signed_request(signed(merchant), now=NOW)
    assert refused.value.reason == "RATE_LIMITED"
    assert refused.value.retry_after_seconds in (1, 2)
    access.authenticate_signed_request(signed(other), now=NOW)


def test_o04_a_wrong_signature_uses_up_nobodys_share(
    merchant: KnownMerchant, slow_rate: None
) -> None:
    for _ in range(3):
        with pytest.raises(CoreError) as refused:
            access.authenticate_signed_request(
                replace(signed(merchant), signature=b"0" * 64), now=NOW
            )
        assert refused.value.reason == "INVALID_SIGNATURE"
    access.authenticate_signed_request(signed(merchant), now=NOW)
