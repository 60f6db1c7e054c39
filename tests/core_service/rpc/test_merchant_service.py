"""Merchants, bindings, accounts and keys through a real server; what each change leaves behind."""

import base64
import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from peewee import IntegrityError

from core_service.application.merchants import Merchants
from core_service.storage import sealed_places
from core_service.storage.database import Row, execute, fetch_all, fetch_one
from novapay.merchants.v1 import merchant_service_pb2 as pb
from tests.core_service.admin_setup import NOW, audit_rows, service_call
from tests.core_service.providers.vectors import alipay_account, wechat_account
from tests.core_service.rpc.admin_server import (
    BASE_URL,
    BOX,
    AdminServer,
    named_fields,
    refusal_of,
    running_admin_server,
)


@pytest.fixture(scope="module")
def server(module_database_url: str) -> Iterator[AdminServer]:
    with running_admin_server(module_database_url) as running:
        yield running


def code() -> str:
    return f"shop-{secrets.token_hex(5)}"


def make(server: AdminServer, **fields: Any) -> pb.Merchant:
    request = pb.CreateMerchantRequest(**{"code": code(), "name": "小店 🏪", **fields})
    merchant: pb.Merchant = server.merchants.CreateMerchant(request).merchant
    return merchant


def change(server: AdminServer, merchant: pb.Merchant, *cleared: str, **fields: Any) -> pb.Merchant:
    """What a PUT with these fields, and null for those `cleared`, does."""
    request = update_request(merchant, *cleared, **fields)
    changed: pb.Merchant = server.merchants.UpdateMerchant(request).merchant
    return changed


def update_request(merchant: pb.Merchant, *cleared: str, **fields: Any) -> pb.UpdateMerchantRequest:
    mask = FieldMask(paths=[*cleared, *fields])
    return pb.UpdateMerchantRequest(id=merchant.id, update_mask=mask, **fields)


def stored(merchant: pb.Merchant) -> Row:
    row = fetch_one("SELECT * FROM merchants WHERE id = %s", (merchant.id,))
    assert row is not None
    return row


def notify_secret(merchant: pb.Merchant) -> str:
    sealed = bytes(stored(merchant)["notify_secret_sealed"])
    return BOX.open(sealed, sealed_places.notify_secret(merchant.id)).decode()


def audits(target: str) -> list[Row]:
    return fetch_all("SELECT * FROM audit_records WHERE target = %s ORDER BY id", (target,))


def alipay_json(**changes: Any) -> str:
    return json.dumps({**alipay_account("A1").config, **changes})


def make_account(
    server: AdminServer, merchant: pb.Merchant, channel: str = "alipay.page", **fields: Any
) -> pb.ChannelAccount:
    config = alipay_json() if channel == "alipay.page" else json.dumps(wechat_account("W1").config)
    request = pb.CreateChannelAccountRequest(
        **{
            "merchant_code": merchant.code,
            "channel_code": channel,
            "config": config,
            **fields,
        }
    )
    account: pb.ChannelAccount = server.merchants.CreateChannelAccount(request).account
    return account


# Merchants ----------------------------------------------------------------------------------------


def test_new_merchant_is_approved_and_has_a_callback_secret(server: AdminServer) -> None:
    merchant = make(server)
    assert merchant.status == pb.MERCHANT_STATUS_APPROVED
    assert merchant.callback_enabled
    assert merchant.approved_by == "service"
    assert merchant.HasField("approved_at")
    assert not merchant.HasField("legal_name")
    assert stored(merchant)["version"] == 1
    secret = notify_secret(merchant)
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert merchant.notify_secret == f"{secret[:4]}****{secret[-4:]}"


def test_pending_merchant_has_no_approval(server: AdminServer) -> None:
    merchant = make(server, status=pb.MERCHANT_STATUS_PENDING, callback_enabled=False)
    assert merchant.status == pb.MERCHANT_STATUS_PENDING
    assert not merchant.HasField("approved_at")
    assert not merchant.callback_enabled


def test_taken_code_is_a_conflict_and_leaves_nothing(server: AdminServer) -> None:
    merchant, other = make(server), make(server)
    before = len(audit_rows())
    again = pb.CreateMerchantRequest(code=merchant.code, name="x")
    assert refusal_of(server.merchants.CreateMerchant, again).reason == "MERCHANT_CODE_TAKEN"
    taken = update_request(other, code=merchant.code)
    assert refusal_of(server.merchants.UpdateMerchant, taken).reason == "MERCHANT_CODE_TAKEN"
    assert len(audit_rows()) == before


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"code": "x"}, "code"),
        ({"code": "no spaces"}, "code"),
        ({"name": ""}, "name"),
        ({"name": "n" * 129}, "name"),
        ({"name": "line\nbreak"}, "name"),
        ({"legal_name": "n" * 257}, "legalName"),
        ({"contact_name": "bell\a"}, "contactName"),
        ({"onboarding_note": "escape\x1b[0m"}, "onboardingNote"),
        ({"review_note": "nul\x00"}, "reviewNote"),
        ({"api_ip_whitelist": "10.0.0.1 example.com"}, "apiIpWhitelist"),
        ({"callback_base": "ftp://shop.example.com"}, "callbackBase"),
        ({"callback_base": "/relative"}, "callbackBase"),
        ({"callback_base": "https://shop.example.com/" + "a" * 2040}, "callbackBase"),
        ({"status": 0}, "status"),
    ],
)
def test_i07_i08_wrong_values_are_named(
    server: AdminServer, fields: dict[str, Any], named: str
) -> None:
    request = pb.CreateMerchantRequest(**{"code": code(), "name": "x", **fields})
    assert named_fields(refusal_of(server.merchants.CreateMerchant, request)) == [named]


def test_i09_i16_texts_are_kept_exactly(server: AdminServer) -> None:
    text = "'; DROP TABLE merchants; -- {{7*7}} <script>%s \u202eשלום e\u0301 👩‍👩‍👧 \\N"
    merchant = make(server, name=text, legal_name=text, onboarding_note=f"{text}\n\t第二行")
    shown = server.merchants.GetMerchant(pb.GetMerchantRequest(id=merchant.id)).merchant
    assert (shown.name, shown.legal_name) == (text, text)
    assert shown.onboarding_note == f"{text}\n\t第二行"
    (row,) = audits(f"merchant:{merchant.id}")
    assert json.loads(row["after"])["name"] == text
    assert "\n" not in row["after"]


def test_internal_callback_address_is_forbidden(server: AdminServer) -> None:
    request = pb.CreateMerchantRequest(code=code(), name="x", callback_base="http://10.0.0.8/hook")
    refusal = refusal_of(server.merchants.CreateMerchant, request)
    assert refusal.reason == "CALLBACK_URL_FORBIDDEN"
    opened = make(server, callback_base="http://127.0.0.1:9/hook")
    assert opened.callback_base == "http://127.0.0.1:9/hook"


def test_merchant_is_found_by_id_and_by_code(server: AdminServer) -> None:
    merchant = make(server)
    for reference in (merchant.id, merchant.code):
        found = server.merchants.GetMerchant(pb.GetMerchantRequest(id=reference)).merchant
        assert found == merchant
    imposter = make(server, code=merchant.id)
    found = server.merchants.GetMerchant(pb.GetMerchantRequest(id=merchant.id)).merchant
    assert found.id == merchant.id != imposter.id


@pytest.mark.parametrize("reference", ["mch_nothing", "../x", "%00", "a'b", "一"])
def test_i12_unknown_and_odd_references(server: AdminServer, reference: str) -> None:
    for call, request in (
        (server.merchants.GetMerchant, pb.GetMerchantRequest(id=reference)),
        (server.merchants.UpdateMerchant, pb.UpdateMerchantRequest(id=reference, name="x")),
        (server.merchants.ListCredentials, pb.ListCredentialsRequest(merchant_code=reference)),
    ):
        assert refusal_of(call, request).reason == "MERCHANT_NOT_FOUND"


CLEARABLE = {
    "legal_name": "A Ltd.",
    "contact_name": "Chen",
    "contact_email": "chen@example.com",
    "contact_phone": "+86 10",
    "company_registration_id": "9111",
    "onboarding_note": "note",
    "review_note": "fine",
    "callback_base": "https://shop.example.com/hook",
    "api_ip_whitelist": "192.0.2.0/24",
}


@pytest.mark.parametrize("field", sorted(CLEARABLE))
def test_absent_stays_and_null_and_empty_clear(server: AdminServer, field: str) -> None:
    merchant = make(server, **CLEARABLE)
    others = {name: value for name, value in CLEARABLE.items() if name != field}
    requests: list[Any] = [update_request(merchant, field)]
    requests.append(update_request(merchant, **{field: ""}))
    for request in requests:
        after: Any = server.merchants.UpdateMerchant(request).merchant
        assert not after.HasField(field)
        assert {name: getattr(after, name) for name in others} == others
        again = change(server, merchant, **{field: CLEARABLE[field]})
        assert getattr(again, field) == CLEARABLE[field]


@pytest.mark.parametrize("field", ["code", "name", "status", "callback_enabled"])
def test_what_cannot_be_cleared(server: AdminServer, field: str) -> None:
    merchant = make(server)
    refusal = refusal_of(server.merchants.UpdateMerchant, update_request(merchant, field))
    json_name = {"callback_enabled": "callbackEnabled"}.get(field, field)
    assert named_fields(refusal) == [json_name]
    assert audits(f"merchant:{merchant.id}")[1:] == []


def test_mask_names_a_field_that_is_none(server: AdminServer) -> None:
    merchant = make(server)
    refusal = refusal_of(server.merchants.UpdateMerchant, update_request(merchant, "version"))
    assert named_fields(refusal) == ["updateMask"]


def test_without_a_mask_the_present_fields_change(server: AdminServer) -> None:
    merchant = make(server, **CLEARABLE)
    request = pb.UpdateMerchantRequest(id=merchant.id, legal_name="B Ltd.", contact_email="")
    after = server.merchants.UpdateMerchant(request).merchant
    assert (after.legal_name, after.HasField("contact_email")) == ("B Ltd.", False)
    assert after.contact_name == "Chen"


def test_status_changes_set_their_times(server: AdminServer) -> None:
    merchant = make(server, status=pb.MERCHANT_STATUS_PENDING)
    approved = change(server, merchant, status=pb.MERCHANT_STATUS_APPROVED)
    assert approved.approved_by == "service"
    assert approved.status_changed_at == approved.approved_at != merchant.status_changed_at
    rejected = change(server, merchant, status=pb.MERCHANT_STATUS_REJECTED)
    again = change(server, merchant, status=pb.MERCHANT_STATUS_APPROVED)
    assert rejected.approved_at == again.approved_at == approved.approved_at
    assert again.status_changed_at != approved.status_changed_at
    same = change(server, merchant, status=pb.MERCHANT_STATUS_APPROVED)
    assert same == again


def test_s06_mask_sent_back_changes_nothing(server: AdminServer) -> None:
    secret = "abcd-a-test-secret-value-wxyz"  # a test secret
    merchant = make(server, notify_secret=secret)
    assert merchant.notify_secret == "abcd****wxyz"
    assert change(server, merchant, notify_secret="abcd****wxyz") == merchant
    assert notify_secret(merchant) == secret
    assert len(audits(f"merchant:{merchant.id}")) == 1

    changed = change(server, merchant, notify_secret="zzzz-another-test-secret-1234")
    assert changed.notify_secret == "zzzz****1234"
    assert notify_secret(merchant) == "zzzz-another-test-secret-1234"

    # Read by somebody before the change, and sent back after it.
    assert change(server, merchant, notify_secret="abcd****wxyz") == changed
    assert change(server, merchant, notify_secret="********") == changed
    assert notify_secret(merchant) == "zzzz-another-test-secret-1234"

    cleared = change(server, merchant, "notify_secret")
    assert notify_secret(merchant).startswith("whsec_")
    assert cleared.notify_secret != changed.notify_secret


def test_v23_one_record_for_each_change_and_none_for_no_change(server: AdminServer) -> None:
    merchant = make(server, legal_name="A Ltd.")
    target = f"merchant:{merchant.id}"
    change(server, merchant, legal_name="B Ltd.", contact_name="Chen")
    change(server, merchant, legal_name="B Ltd.")
    created, changed = audits(target)
    assert (created["action"], created["before"]) == ("merchant.create", None)
    assert json.loads(created["after"])["legalName"] == "A Ltd."
    assert (changed["action"], changed["actor"]) == ("merchant.update", "service")
    assert json.loads(changed["before"]) == {"legalName": "A Ltd.", "contactName": None}
    assert json.loads(changed["after"]) == {"legalName": "B Ltd.", "contactName": "Chen"}
    assert changed["client_address"] == "127.0.0.1"
    assert changed["request_id"]
    assert stored(merchant)["version"] == 2


def test_v23_new_secret_behind_the_same_mask_is_recorded(server: AdminServer) -> None:
    merchant = make(server, notify_secret="first-test")
    change(server, merchant, notify_secret="other-test")
    assert notify_secret(merchant) == "other-test"
    assert len(audits(f"merchant:{merchant.id}")) == 2


def test_list_pages_newest_first_and_filters(server: AdminServer) -> None:
    made = [make(server).code for _ in range(5)]
    request = pb.ListMerchantsRequest(page_size=2)
    seen: list[str] = []
    while len(seen) < 5:
        page = server.merchants.ListMerchants(request)
        assert len(page.merchants) == 2
        seen += [merchant.code for merchant in page.merchants]
        request.page_token = page.next_page_token
    assert seen[:5] == made[::-1]
    only = server.merchants.ListMerchants(pb.ListMerchantsRequest(code=made[2]))
    assert [merchant.code for merchant in only.merchants] == [made[2]]
    assert only.next_page_token == ""
    none = server.merchants.ListMerchants(pb.ListMerchantsRequest(code="no such"))
    assert not none.merchants


@pytest.mark.parametrize("token", ["x", "AAAA", "!!!!", "MjAyNg", "二"])
def test_token_that_no_list_answered(server: AdminServer, token: str) -> None:
    request = pb.ListMerchantsRequest(page_token=token)
    assert named_fields(refusal_of(server.merchants.ListMerchants, request)) == ["page_token"]


# API keys -----------------------------------------------------------------------------------------


def test_key_is_shown_once_and_revoked_for_good(server: AdminServer) -> None:
    merchant = make(server)
    later = datetime.now(UTC) + timedelta(days=30)
    request = pb.CreateCredentialRequest(merchant_code=merchant.code, label="till 1")
    request.expires_at.FromDatetime(later)
    made = server.merchants.CreateCredential(request)
    key_id = made.credential.key_id
    assert key_id.startswith("npk_")
    assert made.secret.startswith("nps_")
    row = fetch_one("SELECT * FROM credentials WHERE key_id = %s", (key_id,))
    assert row is not None
    place = sealed_places.credential_secret(merchant.id, key_id)
    assert BOX.open(bytes(row["secret_sealed"]), place).decode() == made.secret
    assert stored(merchant)["version"] == 2

    listed = server.merchants.ListCredentials(
        pb.ListCredentialsRequest(merchant_code=merchant.code)
    )
    assert list(listed.credentials) == [made.credential]
    assert made.secret not in str(listed)

    revoke = pb.RevokeCredentialRequest(key_id=key_id)
    for _ in range(2):
        assert not server.merchants.RevokeCredential(revoke).credential.enabled
    assert stored(merchant)["version"] == 3
    created, revoked = audits(f"credential:{key_id}")
    assert (created["action"], revoked["action"]) == ("credential.create", "credential.revoke")
    assert json.loads(revoked["after"]) == {"enabled": False}


def test_several_keys_live_at_once(server: AdminServer) -> None:
    merchant = make(server)
    request = pb.CreateCredentialRequest(merchant_code=merchant.code)
    keys = [server.merchants.CreateCredential(request).credential.key_id for _ in range(3)]
    listed = server.merchants.ListCredentials(
        pb.ListCredentialsRequest(merchant_code=merchant.code)
    )
    assert [credential.key_id for credential in listed.credentials] == keys[::-1]
    assert all(credential.enabled for credential in listed.credentials)


def test_key_that_cannot_be(server: AdminServer) -> None:
    merchant = make(server)
    past = pb.CreateCredentialRequest(merchant_code=merchant.code)
    past.expires_at.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    assert named_fields(refusal_of(server.merchants.CreateCredential, past)) == ["expiresAt"]
    nobody = pb.CreateCredentialRequest(merchant_code="nobody")
    assert refusal_of(server.merchants.CreateCredential, nobody).reason == "MERCHANT_NOT_FOUND"
    unknown = pb.RevokeCredentialRequest(key_id="npk_unknown")
    assert refusal_of(server.merchants.RevokeCredential, unknown).reason == "NOT_FOUND"


# Channel accounts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "stored_as", "word"),
    [
        ("alipay.page", "alipay.page", "alipay"),
        ("wxpay.native", "wxpay.native", "wxpay"),
        ("wechat.native", "wxpay.native", "wxpay"),
    ],
)
def test_account_is_sealed_masked_and_has_its_callback_address(
    server: AdminServer, channel: str, stored_as: str, word: str
) -> None:
    merchant = make(server)
    config = dict((alipay_account("A1") if word == "alipay" else wechat_account("W1")).config)
    account = make_account(server, merchant, channel, display_name="主账号")
    assert (account.channel_code, account.enabled) == (stored_as, True)
    assert account.callback_url == (
        f"{BASE_URL}/api/payments/callback/{word}/{account.id}/{account.callback_token}"
    )
    assert len(account.callback_token) >= 43
    shown = json.loads(account.config)
    assert shown.keys() == config.keys()
    assert shown["appId"] == config["appId"]
    assert len(shown["privateKey"]) == 12
    assert config["privateKey"] not in account.config
    row = fetch_one("SELECT * FROM channel_accounts WHERE id = %s", (account.id,))
    assert row is not None
    place = sealed_places.account_config(merchant.id, account.id)
    opened = json.loads(BOX.open(bytes(row["config_sealed"]), place))
    assert opened == {"config": config, "callbackToken": account.callback_token}
    assert stored(merchant)["version"] == 2
    listed = server.merchants.ListChannelAccounts(
        pb.ListChannelAccountsRequest(merchant_code=merchant.code)
    )
    assert list(listed.accounts) == [account]
    (record,) = audits(f"channel_account:{account.id}")
    assert account.callback_token not in record["after"]
    assert config["privateKey"] not in record["after"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("[1]", ["config"]),
        ("{", ["config"]),
        ("[" * 100_000, ["config"]),
        (alipay_json(apiV3Key="x"), ["config.apiV3Key"]),
        (alipay_json(appId=""), ["config.appId"]),
        (alipay_json(privateKey="nonsense"), ["config.privateKey"]),
        (alipay_json(appId=7), ["config.appId"]),
        (alipay_json(gatewayUrl="http://127.0.0.1:1/gateway.do"), ["config.gatewayUrl"]),
    ],
)
def test_config_that_cannot_work_is_named(
    server: AdminServer, config: str, named: list[str]
) -> None:
    merchant = make(server)
    request = pb.CreateChannelAccountRequest(
        merchant_code=merchant.code, channel_code="alipay.page", config=config
    )
    assert named_fields(refusal_of(server.merchants.CreateChannelAccount, request)) == named
    assert stored(merchant)["version"] == 1


def test_account_for_an_unknown_channel_or_merchant(server: AdminServer) -> None:
    request = pb.CreateChannelAccountRequest(
        merchant_code=make(server).code, channel_code="cash", config="{}"
    )
    refusal = refusal_of(server.merchants.CreateChannelAccount, request)
    assert refusal.reason == "UNSUPPORTED_CHANNEL"
    request = pb.CreateChannelAccountRequest(
        merchant_code="nobody", channel_code="alipay.page", config=alipay_json()
    )
    refusal = refusal_of(server.merchants.CreateChannelAccount, request)
    assert refusal.reason == "MERCHANT_NOT_FOUND"


def test_account_update_merges_and_keeps_masked_secrets(server: AdminServer) -> None:
    merchant = make(server)
    account = make_account(server, merchant)
    place = sealed_places.account_config(merchant.id, account.id)

    def opened() -> dict[str, Any]:
        row = fetch_one("SELECT config_sealed FROM channel_accounts WHERE id = %s", (account.id,))
        assert row is not None
        values: dict[str, Any] = json.loads(BOX.open(bytes(row["config_sealed"]), place))["config"]
        return values

    def update(**fields: Any) -> pb.ChannelAccount:
        request = pb.UpdateChannelAccountRequest(id=account.id, **fields)
        updated: pb.ChannelAccount = server.merchants.UpdateChannelAccount(request).account
        return updated

    assert update(config=account.config) == account
    assert stored(merchant)["version"] == 2
    update(config=json.dumps({"privateKey": "MIIE****old="}))
    assert opened() == alipay_account("A1").config
    update(config=json.dumps({"sellerId": None}))
    without_seller = {k: v for k, v in alipay_account("A1").config.items() if k != "sellerId"}
    assert opened() == without_seller
    other = alipay_account("A1").config["sellerId"]
    update(config=json.dumps({"sellerId": other}), enabled=False, display_name="Second")
    assert opened() == alipay_account("A1").config
    renamed = update(enabled=True)
    assert (renamed.display_name, renamed.enabled) == ("Second", True)
    assert renamed.callback_token == account.callback_token
    refusal = refusal_of(
        server.merchants.UpdateChannelAccount,
        pb.UpdateChannelAccountRequest(id=account.id, config='{"appId": ""}'),
    )
    assert named_fields(refusal) == ["config.appId"]
    unknown = pb.UpdateChannelAccountRequest(id="acc_none", enabled=True)
    refusal = refusal_of(server.merchants.UpdateChannelAccount, unknown)
    assert refusal.reason == "CHANNEL_ACCOUNT_NOT_FOUND"
    assert len(audits(f"channel_account:{account.id}")) == 4
    assert stored(merchant)["version"] == 5


# Bindings -----------------------------------------------------------------------------------------


def bind_request(merchant: pb.Merchant, *cleared: str, **fields: Any) -> pb.SetBindingRequest:
    channel = fields.pop("channel_code", "alipay.page")
    # Over HTTP the mask also has the fields that say which binding it is.
    mask = FieldMask(paths=["merchant_code", "channel_code", *cleared, *fields])
    return pb.SetBindingRequest(
        merchant_code=merchant.code, channel_code=channel, update_mask=mask, **fields
    )


def bind(server: AdminServer, merchant: pb.Merchant, *cleared: str, **fields: Any) -> pb.Binding:
    request = bind_request(merchant, *cleared, **fields)
    binding: pb.Binding = server.merchants.SetBinding(request).binding
    return binding


def test_new_binding_has_defaults(server: AdminServer) -> None:
    merchant = make(server)
    binding = bind(server, merchant)
    assert binding.enabled
    assert binding.fee_rate == "0.0000"
    assert binding.merchant_code == merchant.code
    for field in ("merchant_channel_account_id", "merchant_channel_account", "min_amount"):
        assert not binding.HasField(field)
    assert stored(merchant)["version"] == 2


def test_binding_changes_only_what_is_named(server: AdminServer) -> None:
    merchant = make(server)
    account = make_account(server, merchant)
    full = bind(
        server,
        merchant,
        min_amount="2",
        max_amount="100.00",
        fee_rate="0.006",
        merchant_channel_account_id=account.id,
    )
    assert (full.min_amount, full.max_amount, full.fee_rate) == ("2.00", "100.00", "0.0060")
    assert full.merchant_channel_account.id == account.id
    assert full.merchant_channel_account.display_name == account.display_name
    off = bind(server, merchant, enabled=False)
    assert off.id == full.id
    assert (off.min_amount, off.fee_rate, off.enabled) == ("2.00", "0.0060", False)
    bare = bind(server, merchant, "min_amount", "merchant_channel_account_id", max_amount="")
    assert not bare.HasField("min_amount")
    assert not bare.HasField("max_amount")
    assert not bare.HasField("merchant_channel_account")
    assert (bare.enabled, bare.fee_rate) == (False, "0.0060")
    created, *changed = audits(f"binding:{full.id}")
    assert created["before"] is None
    assert [json.loads(row["before"]) for row in changed] == [
        {"enabled": True},
        {"merchantChannelAccountId": account.id, "minAmount": "2.00", "maxAmount": "100.00"},
    ]
    assert bind(server, merchant, enabled=False) == bare
    assert len(audits(f"binding:{full.id}")) == 3
    assert stored(merchant)["version"] == 5


def test_bound_account_must_be_the_merchants_and_the_channels(server: AdminServer) -> None:
    merchant, other = make(server), make(server)
    foreign = make_account(server, other)
    wechat = make_account(server, merchant, "wxpay.native")
    for account_id, reason in (
        (foreign.id, "ACCOUNT_NOT_OF_MERCHANT"),
        ("acc_none", "ACCOUNT_NOT_OF_MERCHANT"),
        ("'", "ACCOUNT_NOT_OF_MERCHANT"),
        (wechat.id, "ACCOUNT_CHANNEL_MISMATCH"),
    ):
        request = bind_request(merchant, merchant_channel_account_id=account_id)
        assert refusal_of(server.merchants.SetBinding, request).reason == reason
    by_alias = bind(
        server, merchant, channel_code="wechat.native", merchant_channel_account_id=wechat.id
    )
    assert by_alias.channel_code == "wxpay.native"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"min_amount": "0"}, "INVALID_AMOUNT"),
        ({"max_amount": "1.001"}, "INVALID_AMOUNT"),
        ({"max_amount": "1e2"}, "INVALID_AMOUNT"),
        ({"fee_rate": "2"}, "INVALID_REQUEST"),
        ({"fee_rate": "0.00001"}, "INVALID_REQUEST"),
        ({"min_amount": "10.00", "max_amount": "1.00"}, "INVALID_REQUEST"),
        ({"channel_code": "cash"}, "UNSUPPORTED_CHANNEL"),
    ],
)
def test_binding_that_cannot_be(server: AdminServer, fields: dict[str, Any], reason: str) -> None:
    merchant = make(server)
    request = bind_request(merchant, **fields)
    assert refusal_of(server.merchants.SetBinding, request).reason == reason
    assert stored(merchant)["version"] == 1


def test_limits_are_compared_with_those_that_stay(server: AdminServer) -> None:
    merchant = make(server)
    bind(server, merchant, max_amount="5.00")
    request = bind_request(merchant, min_amount="5.01")
    assert named_fields(refusal_of(server.merchants.SetBinding, request)) == ["minAmount"]
    assert bind(server, merchant, min_amount="5.00").min_amount == "5.00"
    cleared = bind_request(merchant, "enabled")
    assert named_fields(refusal_of(server.merchants.SetBinding, cleared)) == ["enabled"]
    nobody = pb.SetBindingRequest(merchant_code="nobody", channel_code="alipay.page")
    assert refusal_of(server.merchants.SetBinding, nobody).reason == "MERCHANT_NOT_FOUND"


def test_bindings_are_listed_newest_first(server: AdminServer) -> None:
    merchant = make(server)
    made = [bind(server, merchant), bind(server, merchant, channel_code="wxpay.native")]
    request = pb.ListBindingsRequest(merchant_code=merchant.code)
    assert list(server.merchants.ListBindings(request).bindings) == made[::-1]
    first = server.merchants.ListBindings(pb.ListBindingsRequest(page_size=1))
    assert list(first.bindings) == made[1:]
    second = server.merchants.ListBindings(
        pb.ListBindingsRequest(page_size=1, page_token=first.next_page_token)
    )
    assert list(second.bindings) == made[:1]
    nobody = pb.ListBindingsRequest(merchant_code="nobody")
    assert not server.merchants.ListBindings(nobody).bindings


def test_changes_at_once_make_one_binding_and_lose_none(server: AdminServer) -> None:
    merchant = make(server)
    fields = [
        {"min_amount": "1.00"},
        {"max_amount": "9.00"},
        {"fee_rate": "0.01"},
        {"enabled": False},
    ]
    with ThreadPoolExecutor(len(fields)) as threads:
        made = list(threads.map(lambda each: bind(server, merchant, **each), fields))
    assert len({binding.id for binding in made}) == 1
    (binding,) = server.merchants.ListBindings(
        pb.ListBindingsRequest(merchant_code=merchant.code)
    ).bindings
    assert (binding.min_amount, binding.max_amount) == ("1.00", "9.00")
    assert (binding.fee_rate, binding.enabled) == ("0.0100", False)
    assert len(audits(f"binding:{binding.id}")) == len(fields)
    assert stored(merchant)["version"] == 1 + len(fields)


# Secrets ------------------------------------------------------------------------------------------


def test_s01_no_secret_in_any_table(server: AdminServer) -> None:
    merchant = make(server, notify_secret="notify-canary-7d1f0c55a2-test")
    request = pb.CreateCredentialRequest(merchant_code=merchant.code)
    api_secret = server.merchants.CreateCredential(request).secret
    account = make_account(server, merchant, "wxpay.native")
    change(server, merchant, notify_secret="notify-canary-8e2f1d66b3-test")
    config = wechat_account("W1").config
    tables = fetch_all(
        "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    # As a dump has it: every value as text, and bytes also as the characters that they stand for.
    dump = "".join(
        str(row["line"])
        for table in tables
        for row in fetch_all(f'SELECT t::text AS line FROM "{table["name"]}" t')
    )
    sealed = fetch_all(
        "SELECT notify_secret_sealed AS value FROM merchants UNION ALL"
        " SELECT secret_sealed FROM credentials UNION ALL"
        " SELECT config_sealed FROM channel_accounts"
    )
    dump += "".join(bytes(row["value"]).decode("latin-1") for row in sealed)
    assert merchant.id in dump
    for secret in (
        "notify-canary-7d1f0c55a2-test",
        "notify-canary-8e2f1d66b3-test",
        api_secret,
        account.callback_token,
        config["apiV3Key"],
        config["privateKey"].splitlines()[1],
    ):
        assert secret not in dump
        assert secret.encode().hex() not in dump


def test_v23_without_its_record_no_change_stands(server: AdminServer) -> None:
    merchant = make(server, legal_name="A Ltd.")
    execute("ALTER TABLE audit_records ADD CONSTRAINT none_today CHECK (id = '') NOT VALID")
    try:
        with pytest.raises(IntegrityError, match="none_today"):
            Merchants(BOX, []).update(service_call(), merchant.id, {"name": "B"}, now=NOW)
    finally:
        execute("ALTER TABLE audit_records DROP CONSTRAINT none_today")
    assert stored(merchant)["name"] == merchant.name
    assert stored(merchant)["version"] == 1
