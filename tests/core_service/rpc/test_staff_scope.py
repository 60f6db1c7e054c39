"""Every RPC for merchants' staff: which role may call it, and that it never shows another merchant's data."""

import secrets
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from core_service.calls import Principal
from core_service.schema import Method, methods
from core_service.storage.database import connection_scope, execute
from core_service.storage.secret_box import SecretBox
from tests.core_service.merchant_rows import (
    TEST_KEYS,
    KnownMerchant,
    insert_account,
    insert_key,
    insert_merchant,
)
from tests.core_service.rpc.running import invoke, reason
from tests.core_service.staff_rows import ROLES, as_staff, insert_staff, open_session
from tests.core_service.whole_core import whole_core
from tests.factories import TestMerchant, make_order, make_refund

OWNER, OPERATIONS, DEVELOPER, VIEWER = ROLES
EVERYBODY = set(ROLES)
MAY_CALL = {
    "SignOut": EVERYBODY,
    "GetSession": EVERYBODY,
    "ChangePassword": EVERYBODY,
    "ListStaff": EVERYBODY,
    "CreateStaff": {OWNER},
    "UpdateStaff": {OWNER},
    "GetMerchant": EVERYBODY,
    "UpdateMerchant": {OWNER, DEVELOPER},
    "GetMerchantLogo": EVERYBODY,
    "SetMerchantLogo": {OWNER},
    "ListBindings": EVERYBODY,
    "DescribeChannelAccount": EVERYBODY,
    "CheckChannelAccount": {OWNER, DEVELOPER},
    "CreateChannelAccount": {OWNER, DEVELOPER},
    "ListChannelAccounts": EVERYBODY,
    "UpdateChannelAccount": {OWNER, DEVELOPER},
    "CreateCredential": {OWNER, DEVELOPER},
    "ListCredentials": {OWNER, DEVELOPER},
    "RevokeCredential": {OWNER, DEVELOPER},
    "SendTestCallback": {OWNER, DEVELOPER},
    "RotateNotifySecret": {OWNER, DEVELOPER},
    "ListSignedRequests": EVERYBODY,
    "ExplainSignature": {OWNER, DEVELOPER},
    "GetOnboarding": EVERYBODY,
    "ListPaymentOrders": EVERYBODY,
    "GetPaymentOrder": EVERYBODY,
    "QueryPaymentOrder": EVERYBODY,
    "ClosePaymentOrder": {OWNER, OPERATIONS},
    "ListDeliveries": EVERYBODY,
    "GetDelivery": EVERYBODY,
    "RetryCallback": {OWNER, OPERATIONS, DEVELOPER},
    "RetryDelivery": {OWNER, OPERATIONS, DEVELOPER},
    "ListAnomalies": EVERYBODY,
    "GetOverview": EVERYBODY,
    "CreateRefund": {OWNER, OPERATIONS},
    "QueryRefund": EVERYBODY,
    "ListRefunds": EVERYBODY,
}
FOR_STAFF = [method for method in methods() if Principal.STAFF in method.principals]
NOT_FOR_STAFF = [method for method in methods() if Principal.STAFF not in method.principals]
ABOUT_A_MERCHANT = {"GetMerchant", "UpdateMerchant", "GetMerchantLogo", "SetMerchantLogo"}
WITHOUT_MERCHANT = {
    "SignOut",
    "GetSession",
    "ChangePassword",
    *ABOUT_A_MERCHANT,
    "DescribeChannelAccount",
    # By an id of their own.
    "CheckChannelAccount",
    "UpdateChannelAccount",
    "RevokeCredential",
    "RetryCallback",
}
CANARY = "canary7f3a"


@pytest.fixture(scope="module")
def channel(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[grpc.Channel]:
    with whole_core(module_database_url, tmp_path_factory.mktemp("core")) as channel:
        yield channel


@pytest.fixture
def merchant(channel: grpc.Channel, box: SecretBox) -> KnownMerchant:
    return insert_merchant(box)


def test_the_table_has_every_rpc_for_staff() -> None:
    assert {method.name: set(method.staff_roles) for method in FOR_STAFF} == MAY_CALL


def test_every_rpc_for_staff_can_be_kept_to_one_merchant() -> None:
    without = {
        method.name
        for method in FOR_STAFF
        if "merchant_code" not in method.request_type.DESCRIPTOR.fields_by_name
    }
    assert without == WITHOUT_MERCHANT


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", FOR_STAFF, ids=lambda method: method.name)
def test_a16_each_role_may_call_what_is_its_own(
    channel: grpc.Channel, merchant: KnownMerchant, method: Method, role: str
) -> None:
    answer = reason(invoke(channel, method.path, sent=as_staff(merchant, role))[0])
    if role in MAY_CALL[method.name]:
        assert answer not in ("PERMISSION_DENIED", "STAFF_UNAUTHENTICATED")
    else:
        assert answer == "PERMISSION_DENIED"


@pytest.mark.parametrize("method", NOT_FOR_STAFF, ids=lambda method: method.name)
def test_a16_an_owners_session_opens_nothing_else(
    channel: grpc.Channel, merchant: KnownMerchant, method: Method
) -> None:
    answer = reason(invoke(channel, method.path, sent=as_staff(merchant))[0])
    if Principal.PUBLIC not in method.principals:
        assert answer in ("ADMIN_UNAUTHENTICATED", "API_KEY_REQUIRED", "UNAUTHENTICATED")


# Another merchant's data --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(channel: grpc.Channel, module_database_url: str) -> tuple[KnownMerchant, dict[str, Any]]:
    """A merchant with the canary in every text of everything it has, and the ids of it all."""
    box = SecretBox(TEST_KEYS)
    merchant = insert_merchant(
        box,
        code=f"{CANARY}-{secrets.token_hex(4)}",
        callback_base=f"https://{CANARY}.example.com/",
        api_ip_whitelist="192.0.2.0/24",
        **{
            name: f"{CANARY} {name}"
            for name in (
                *("name", "legal_name", "contact_name", "contact_email", "contact_phone"),
                *("company_registration_id", "onboarding_note", "review_note"),
            )
        },
    )
    member = insert_staff(merchant, email=f"{CANARY}@example.com")
    account = insert_account(box, merchant.id, {"appId": CANARY})
    key = insert_key(box, merchant.id, label=CANARY)
    owner = TestMerchant(merchant.id, merchant.code, "")
    with connection_scope():
        execute("UPDATE channel_accounts SET display_name = %s WHERE id = %s", (CANARY, account))
        order = make_order(
            owner,
            account_id=account,
            status="SUCCEEDED",
            external_order_id=f"{CANARY}-order",
            subject=CANARY,
            description=CANARY,
            metadata=f'{{"x":"{CANARY}"}}',
            gateway_order_id=f"{CANARY}-gateway",
        )
        refund = make_refund(owner, order, reason=CANARY, external_refund_id=f"{CANARY}-refund")
        execute(
            "INSERT INTO deliveries (merchant_id, id, order_id, subject_id, event, "
            "resulting_status, body, status, due_at, created_at, updated_at) VALUES "
            "(%s, 'dlv_canary', %s, %s, 'payment.order.updated', 'SUCCEEDED', %s, 'FAILED', "
            "now(), now(), now())",
            (merchant.id, order, order, CANARY.encode()),
        )
        execute(
            "INSERT INTO signed_requests VALUES (%s, 'req_canary', now(), %s, 'OK', %s, %s, "
            "NULL, %s, 1)",
            (merchant.id, CANARY, CANARY, key.key_id, CANARY),
        )
    names = {
        "merchant": merchant.id,
        "code": merchant.code,
        "staff": member.id,
        "account": account,
        "key": key.key_id,
        "order": order,
        "external_order": f"{CANARY}-order",
        "gateway": f"{CANARY}-gateway",
        "refund": refund,
        "external_refund": f"{CANARY}-refund",
        "delivery": "dlv_canary",
        "request": "req_canary",
    }
    return merchant, names


@pytest.mark.parametrize("method", FOR_STAFF, ids=lambda method: method.name)
def test_s20_nothing_of_another_merchant_is_shown_whatever_is_named(
    channel: grpc.Channel,
    merchant: KnownMerchant,
    other: tuple[KnownMerchant, dict[str, Any]],
    method: Method,
) -> None:
    """Each text field of the request gets each number of the other merchant in turn."""
    _, names = other
    member = insert_staff(merchant)
    fields = [
        field.name
        for field in method.request_type.DESCRIPTOR.fields
        if field.type == field.TYPE_STRING and not field.is_repeated
    ]
    requests = [method.request_type()]
    requests += [method.request_type(**{f: name}) for f in fields for name in names.values()]
    for request in requests:
        answer, trailing = invoke(channel, method.path, request, open_session(member))
        if reason(answer) == "OK":
            shown = answer.SerializeToString()
            # What the caller sent may come back (an account's new name), other data may not.
            for field in fields:
                shown = shown.replace(getattr(request, field).encode() or b"\0\0", b"")
            assert CANARY.encode() not in shown, request
        else:
            assert CANARY not in repr(trailing), request


@pytest.mark.parametrize("name", ["code", "merchant"])
@pytest.mark.parametrize(
    "method",
    [method for method in FOR_STAFF if method.name in ABOUT_A_MERCHANT],
    ids=lambda method: method.name,
)
def test_another_merchant_does_not_exist_for_staff(
    channel: grpc.Channel,
    merchant: KnownMerchant,
    other: tuple[KnownMerchant, dict[str, Any]],
    method: Method,
    name: str,
) -> None:
    request = method.request_type(id=other[1][name])
    assert reason(invoke(channel, method.path, request, as_staff(merchant))[0]) == (
        "MERCHANT_NOT_FOUND"
    )


@pytest.mark.parametrize(
    "method",
    [method for method in FOR_STAFF if method.name not in WITHOUT_MERCHANT],
    ids=lambda method: method.name,
)
def test_another_merchants_code_is_not_found(
    channel: grpc.Channel,
    merchant: KnownMerchant,
    other: tuple[KnownMerchant, dict[str, Any]],
    method: Method,
) -> None:
    request = method.request_type(merchant_code=other[1]["code"])
    assert reason(invoke(channel, method.path, request, as_staff(merchant))[0]) == (
        "MERCHANT_NOT_FOUND"
    )


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("CheckChannelAccount", "account", "CHANNEL_ACCOUNT_NOT_FOUND"),
        ("UpdateChannelAccount", "account", "CHANNEL_ACCOUNT_NOT_FOUND"),
        ("RevokeCredential", "key", "NOT_FOUND"),
        ("UpdateStaff", "staff", "NOT_FOUND"),
        ("GetPaymentOrder", "order", "ORDER_NOT_FOUND"),
        ("QueryPaymentOrder", "order", "ORDER_NOT_FOUND"),
        ("ClosePaymentOrder", "order", "ORDER_NOT_FOUND"),
        ("RetryCallback", "order", "ORDER_NOT_FOUND"),
        ("GetDelivery", "delivery", "NOT_FOUND"),
        ("RetryDelivery", "delivery", "NOT_FOUND"),
        ("QueryRefund", "refund", "REFUND_NOT_FOUND"),
    ],
)
def test_what_another_merchant_has_is_not_found(
    channel: grpc.Channel,
    merchant: KnownMerchant,
    other: tuple[KnownMerchant, dict[str, Any]],
    name: str,
    number: str,
    expected: str,
) -> None:
    method = next(method for method in FOR_STAFF if method.name == name)
    fields = method.request_type.DESCRIPTOR.fields_by_name
    field = next(
        name for name in ("key_id", "order_reference", "refund_reference", "id") if name in fields
    )
    request = method.request_type(**{field: other[1][number]})
    assert reason(invoke(channel, method.path, request, as_staff(merchant))[0]) == expected


def test_staff_are_not_told_which_operator_did_something(
    channel: grpc.Channel, merchant: KnownMerchant, box: SecretBox
) -> None:
    """An order closed by an operator, with an anomaly that an operator put away with a note."""
    account = insert_account(box, merchant.id, {})
    with connection_scope():
        order = make_order(
            TestMerchant(merchant.id, merchant.code, ""), account_id=account, status="CANCELLED"
        )
        execute(
            "INSERT INTO payment_events (merchant_id, order_id, id, at, actor, cause, "
            "before_status, after_status) VALUES "
            "(%s, %s, 'ev_1', now(), %s, 'close', 'PENDING', 'CANCELLED')",
            (merchant.id, order, f"operator:{CANARY}@example.com"),
        )
        execute(
            "INSERT INTO anomalies (merchant_id, id, kind, order_id, fingerprint, created_at, "
            "resolved_at, resolved_by, note) VALUES "
            "(%s, %s, 'LATE_PAYMENT', %s, 'x', now(), now(), %s, %s)",
            (merchant.id, f"an_{order}", order, f"{CANARY}@example.com", CANARY),
        )
    by_name = {method.name: method for method in FOR_STAFF}
    shown = by_name["GetPaymentOrder"]
    story, _ = invoke(channel, shown.path, shown.request_type(id=order), as_staff(merchant))
    assert [entry.actor for entry in story.timeline if entry.code == "close"] == ["operator"]
    listed = by_name["ListAnomalies"]
    found, _ = invoke(channel, listed.path, listed.request_type(resolved=True), as_staff(merchant))
    assert len(found.anomalies) == len(story.anomalies) == 1
    assert CANARY not in f"{story}{found}"
