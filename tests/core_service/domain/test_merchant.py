"""Lifecycle, profile gate, allowlist and masks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core_service.domain import merchant
from core_service.domain.merchant import MerchantFacts
from core_service.errors import CoreError

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

COMPLETE = MerchantFacts(
    id="mch_1",
    code="shop",
    name="Shop",
    status="APPROVED",
    legal_name="Shop Ltd.",
    contact_name="Chen",
    contact_email=None,
    contact_phone="+86 10 0000 0000",
    company_registration_id="91110000",
    callback_base=None,
    callback_enabled=True,
    refund_callback_enabled=True,
    api_ip_whitelist=None,
    return_delay_seconds=5,
    logo_etag=None,
    version=1,
)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("PENDING", "MERCHANT_PENDING_REVIEW"),
        ("REJECTED", "MERCHANT_REJECTED"),
        ("SUSPENDED", "MERCHANT_SUSPENDED"),
    ],
)
def test_a09_only_approved_merchants_create(status: str, reason: str) -> None:
    with pytest.raises(CoreError) as refusal:
        merchant.ensure_may_create(replace(COMPLETE, status=status), "alipay.page")
    assert refusal.value.reason == reason


@pytest.mark.parametrize("channel", ["alipay.page", "wxpay.native"])
def test_incomplete_profile_names_what_is_missing(channel: str) -> None:
    merchant.ensure_may_create(COMPLETE, channel)
    facts = replace(COMPLETE, legal_name=None, contact_phone="", company_registration_id="  ")
    with pytest.raises(CoreError) as refusal:
        merchant.ensure_may_create(facts, channel)
    assert refusal.value.reason == "MERCHANT_PROFILE_INCOMPLETE"
    assert refusal.value.details == ["legalName", "contactPhone", "companyRegistrationId"]


def test_lifecycle_keeps_the_first_approval_and_names_the_last_approver() -> None:
    hour = timedelta(hours=1)
    pending = merchant.begin_lifecycle("PENDING", actor="a", now=NOW)
    assert (pending.approved_at, pending.approved_by) == (None, None)
    approved = merchant.move(pending, "APPROVED", actor="b", now=NOW + hour)
    assert (approved.approved_at, approved.approved_by) == (NOW + hour, "b")
    assert approved.status_changed_at == NOW + hour
    suspended = merchant.move(approved, "SUSPENDED", actor="c", now=NOW + 2 * hour)
    assert (suspended.approved_at, suspended.approved_by) == (NOW + hour, "b")
    again = merchant.move(suspended, "APPROVED", actor="d", now=NOW + 3 * hour)
    assert (again.approved_at, again.approved_by) == (NOW + hour, "d")
    assert merchant.move(again, "APPROVED", actor="e", now=NOW + 4 * hour) == again


def test_made_approved_is_approved_by_its_maker() -> None:
    made = merchant.begin_lifecycle("APPROVED", actor="a", now=NOW)
    assert (made.approved_at, made.approved_by, made.status_changed_at) == (NOW, "a", NOW)


@pytest.mark.parametrize(
    ("allowlist", "address", "allowed"),
    [
        ("", "198.51.100.1", True),
        (" \n", None, True),
        ("198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("198.51.100.1", "::ffff:198.51.100.1", True),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("::ffff:198.51.100.0/120", "198.51.100.200", True),
        ("::ffff:198.51.100.0/120", "198.51.101.200", False),
        ("198.51.100.77/24", "198.51.100.3", True),
        ("198.51.100.77/24", "198.51.101.3", False),
        ("10.0.0.1, 10.0.0.2\n2001:db8::/32\t10.0.0.3", "10.0.0.3", True),
        ("10.0.0.1, 10.0.0.2\n2001:db8::/32\t10.0.0.3", "2001:db8:1::9", True),
        ("2001:db8::1/64", "2001:db8::ffff", True),
        ("2001:db8::1/64", "2001:db8:0:1::1", False),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("0.0.0.0/0", "192.0.2.1", True),
        ("::/0", "192.0.2.1", False),
        ("192.0.2.1", None, False),
        ("192.0.2.1", "unix:", False),
        ("fe80::1", "fe80::1%eth0", True),
    ],
)
def test_a10_allowlist(allowlist: str, address: str | None, allowed: bool) -> None:  # noqa: FBT001
    assert merchant.address_allowed(merchant.parse_allowlist(allowlist), address) is allowed


@pytest.mark.parametrize(
    "entry",
    [
        "example.com",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.1/33",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.0.0.255",
        "fe80::1%eth0",
        "010.0.0.1",
        "10.0.0.1/",
        "*",
        "10.0.0.1\x00",
    ],
)
def test_a10_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="neither an address nor a CIDR range") as refusal:
        merchant.parse_allowlist(f"192.0.2.1, {entry}")
    assert repr(entry) in str(refusal.value)


def test_masks_show_only_the_ends_of_long_secrets() -> None:
    assert merchant.mask("abcd-a-test-secret-wxyz") == "abcd****wxyz"
    assert merchant.mask("short-test") == "********"
    assert merchant.mask("") == "********"


def test_new_secrets_differ_and_have_their_forms() -> None:
    key_id, secret = merchant.new_api_key()
    assert key_id.startswith("npk_")
    assert secret.startswith("nps_")
    assert (key_id, secret) != merchant.new_api_key()
    assert merchant.new_notify_secret().startswith("whsec_")
    assert len({merchant.new_callback_token() for _ in range(100)}) == 100
