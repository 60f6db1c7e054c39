"""Contract section 7: sessions, roles, masks, audit, merchants, bindings, system configuration."""

import json
import secrets
import time
from typing import Any

import pytest

from tests.stack import ADMIN_EMAIL, ADMIN_PASSWORD, AdminSession, Merchant, Stack, wait_until

MERCHANTS = "/api/admin/merchants"
BINDINGS = "/api/admin/merchant-channel-bindings"
CONFIG = "/api/admin/system-config"
SESSION = "/api/admin/session"


def created(admin: AdminSession, **fields: Any) -> Any:
    body = {"code": f"adm-{secrets.token_hex(5)}", "name": "管理员创建", **fields}
    answer = admin.send("POST", MERCHANTS, body)
    assert answer.status == 201, answer.raw
    return answer.json


def test_a13_session_cookie_and_its_end(stack: Stack) -> None:
    answer = stack.http.post_json(
        SESSION, {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}, origin=stack.base
    )
    flags = answer.headers["set-cookie"].lower()
    assert flags.startswith("novapay_admin_session=")
    assert "httponly" in flags
    assert "samesite=lax" in flags
    session = stack.sign_in()
    assert session.cookie != answer.headers["set-cookie"].split(";")[0]
    assert session.get(MERCHANTS).status == 200
    assert session.send("DELETE", SESSION, {}).status in (200, 204)
    ended = session.get(MERCHANTS)
    assert (ended.status, ended.code) == (401, "ADMIN_UNAUTHENTICATED")


@pytest.mark.parametrize("cookie", ["", "novapay_admin_session=nonsense", "novapay_admin_session="])
def test_no_session(stack: Stack, cookie: str) -> None:
    answer = stack.http.request("GET", MERCHANTS, headers={"cookie": cookie})
    assert (answer.status, answer.code) == (401, "ADMIN_UNAUTHENTICATED")


def test_a15_wrong_sign_in_says_nothing_and_is_throttled(stack: Stack) -> None:
    email = f"{secrets.token_hex(4)}@example.com"
    stack.cli(
        "admins", "create", "--email", email, "--role", "VIEWER", stdin="the right password 1"
    )
    unknown = stack.http.post_json(
        SESSION, {"email": "nobody@example.com", "password": "x"}, origin=stack.base
    )
    wrong = stack.http.post_json(SESSION, {"email": email, "password": "x"}, origin=stack.base)
    assert wrong.status == unknown.status == 401
    assert wrong.json["error"] == unknown.json["error"]


def test_a14_changes_need_origin_or_token(stack: Stack, admin: AdminSession) -> None:
    body = json.dumps({"code": "csrf-1", "name": "x"}).encode()
    base = {"cookie": admin.cookie, "content-type": "application/json"}
    for extra in ({}, {"origin": "https://evil.example"}, {"x-csrf-token": "wrong"}):
        answer = stack.http.request("POST", MERCHANTS, body=body, headers=base | extra)
        assert (answer.status, answer.code) == (403, "CSRF_REJECTED"), extra
    form = stack.http.request(
        "POST",
        MERCHANTS,
        body=body,
        headers=base | {"origin": admin.origin, "content-type": "text/plain"},
    )
    assert form.status == 400


def test_create_defaults_and_duplicates(admin: AdminSession) -> None:
    merchant = created(admin)
    assert (merchant["status"], merchant["callbackEnabled"]) == ("APPROVED", True)
    assert merchant["approvedAt"]
    assert merchant["approvedBy"]
    assert merchant["legalName"] is None
    again = admin.send("POST", MERCHANTS, {"code": merchant["code"], "name": "other"})
    assert (again.status, again.code) == (409, "MERCHANT_CODE_TAKEN")


def test_list_filters_and_pages(admin: AdminSession) -> None:
    mine = [created(admin)["code"] for _ in range(3)]
    one = admin.get(f"{MERCHANTS}?code={mine[0]}").json
    assert [merchant["code"] for merchant in one["merchants"]] == [mine[0]]
    assert "nextPageToken" not in admin.get(f"{MERCHANTS}?code={mine[0]}").json
    first = admin.get(f"{MERCHANTS}?page_size=2").json
    assert len(first["merchants"]) == 2
    second = admin.get(f"{MERCHANTS}?page_size=2&page_token={first['nextPageToken']}").json
    seen = {m["id"] for m in first["merchants"]} & {m["id"] for m in second["merchants"]}
    assert not seen


def test_absent_stays_null_and_empty_clear(admin: AdminSession) -> None:
    merchant = created(
        admin, legalName="A", contactName="B", contactPhone="1", contactEmail="a@example.com"
    )
    path = f"{MERCHANTS}/{merchant['id']}"
    changed = admin.send(
        "PUT", path, {"legalName": None, "contactName": "", "contactPhone": "2"}
    ).json
    assert (changed["legalName"], changed["contactName"]) == (None, None)
    assert (changed["contactPhone"], changed["contactEmail"]) == ("2", "a@example.com")
    refused = admin.send("PUT", path, {"name": None})
    assert (refused.status, refused.code) == (400, "INVALID_REQUEST")


def test_status_times(admin: AdminSession) -> None:
    merchant = created(admin, status="PENDING")
    assert (merchant["approvedAt"], merchant["approvedBy"]) == (None, None)
    path = f"{MERCHANTS}/{merchant['id']}"
    approved = admin.send("PUT", path, {"status": "APPROVED"}).json
    assert approved["approvedAt"]
    assert approved["approvedBy"]
    assert approved["statusChangedAt"] != merchant["statusChangedAt"]
    admin.send("PUT", path, {"status": "SUSPENDED"})
    again = admin.send("PUT", path, {"status": "APPROVED"}).json
    assert again["approvedAt"] == approved["approvedAt"]
    wrong = admin.send("PUT", path, {"status": "WHATEVER"})
    assert (wrong.status, wrong.code) == (400, "INVALID_REQUEST")


def test_s06_notify_secret_is_masked_and_the_mask_changes_nothing(admin: AdminSession) -> None:
    secret = "abcd-a-test-secret-value-wxyz"  # a test secret
    merchant = created(admin, notifySecret=secret)
    mask = merchant["notifySecret"]
    assert mask.startswith("abcd")
    assert mask.endswith("wxyz")
    assert secret not in json.dumps(merchant)
    path = f"{MERCHANTS}/{merchant['id']}"
    assert admin.send("PUT", path, {"notifySecret": mask}).json["notifySecret"] == mask
    assert (
        admin.send("PUT", path, {"notifySecret": "zzzz-another-test-secret-1234"}).json[
            "notifySecret"
        ]
        != mask
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("PENDING", "MERCHANT_PENDING_REVIEW"),
        ("REJECTED", "MERCHANT_REJECTED"),
        ("SUSPENDED", "MERCHANT_SUSPENDED"),
    ],
)
def test_a09_only_approved_merchants_create(
    stack: Stack, admin: AdminSession, fresh_shop: Merchant, status: str, code: str
) -> None:
    order = fresh_shop.create_order().json["order"]
    admin.send("PUT", f"{MERCHANTS}/{merchant_id(admin, fresh_shop)}", {"status": status})
    refused = fresh_shop.create_order()
    assert (refused.status, refused.code) == (403, code)
    assert fresh_shop.order(order["id"])["id"] == order["id"]
    assert fresh_shop.post(f"/api/payment-orders/{order['id']}/close", {}).status in (200, 409)


def test_incomplete_profile(admin: AdminSession, fresh_shop: Merchant) -> None:
    path = f"{MERCHANTS}/{merchant_id(admin, fresh_shop)}"
    admin.send("PUT", path, {"legalName": None, "contactPhone": ""})
    refused = fresh_shop.create_order()
    assert (refused.status, refused.code) == (403, "MERCHANT_PROFILE_INCOMPLETE")
    assert sorted(refused.json["details"]) == ["contactPhone", "legalName"]


def merchant_id(admin: AdminSession, merchant: Merchant) -> str:
    return str(admin.get(f"{MERCHANTS}?code={merchant.code}").json["merchants"][0]["id"])


def test_bindings(admin: AdminSession, fresh_shop: Merchant, other_merchant: Merchant) -> None:
    def bind(**fields: Any) -> Any:
        return admin.send(
            "POST",
            BINDINGS,
            {"merchantCode": fresh_shop.code, "channelCode": "alipay.page", **fields},
        )

    # The shop has a bound account; null takes it away.
    first = bind(merchantChannelAccountId=None, feeRate="0.0060", minAmount=2, maxAmount="100.00")
    assert first.status == 201
    assert (first.json["feeRate"], first.json["minAmount"], first.json["maxAmount"]) == (
        "0.0060",
        "2.00",
        "100.00",
    )
    assert first.json["merchantChannelAccountId"] is None
    again = bind(enabled=True)
    assert (again.status, again.json["id"], again.json["minAmount"]) == (
        201,
        first.json["id"],
        "2.00",
    )

    assert fresh_shop.create_order(amount="1.99").code == "AMOUNT_TOO_SMALL"
    assert fresh_shop.create_order(amount="100.01").code == "AMOUNT_TOO_LARGE"
    assert fresh_shop.create_order(amount="100.00").json["order"]["feeAmount"] == "0.60"
    bind(enabled=False)
    assert fresh_shop.create_order(amount="5.00").code == "CHANNEL_DISABLED"
    bind(enabled=True)

    foreign = admin.get(f"{BINDINGS}?merchantCode={other_merchant.code}").json["bindings"]
    other_account = next(
        b["merchantChannelAccountId"] for b in foreign if b["channelCode"] == "alipay.page"
    )
    assert bind(merchantChannelAccountId=other_account).code == "ACCOUNT_NOT_OF_MERCHANT"
    assert bind(feeRate="2").status == 400
    assert bind(minAmount="10.00", maxAmount="1.00").status == 400
    unknown = admin.send(
        "POST", BINDINGS, {"merchantCode": "no-such", "channelCode": "alipay.page"}
    )
    assert (unknown.status, unknown.code) == (404, "MERCHANT_NOT_FOUND")
    channel = admin.send("POST", BINDINGS, {"merchantCode": fresh_shop.code, "channelCode": "cash"})
    assert (channel.status, channel.code) == (404, "UNSUPPORTED_CHANNEL")


def test_bound_account_of_another_channel(admin: AdminSession, other_merchant: Merchant) -> None:
    listed = admin.get(f"{BINDINGS}?merchantCode={other_merchant.code}").json["bindings"]
    by_channel = {binding["channelCode"]: binding for binding in listed}
    assert by_channel["alipay.page"]["merchantChannelAccount"]["enabled"] is True
    body = {
        "merchantCode": other_merchant.code,
        "channelCode": "alipay.page",
        "merchantChannelAccountId": by_channel["wxpay.native"]["merchantChannelAccountId"],
    }
    answer = admin.send("POST", BINDINGS, body)
    assert (answer.status, answer.code) == (422, "ACCOUNT_CHANNEL_MISMATCH")


def test_system_config_takes_effect(admin: AdminSession, merchant: Merchant) -> None:
    listed = {config["key"]: config for config in admin.get(CONFIG).json["configs"]}
    assert listed["PAYMENT_EXPIRE_MINUTES"]["value"] == "30"
    changed = admin.send(
        "PUT", CONFIG, {"configs": [{"key": "MERCHANT_SIGNATURE_MAX_AGE_SECONDS", "value": "60"}]}
    )
    assert (changed.status, changed.json) == (200, {"success": True, "updated": 1})

    def refused() -> bool:
        stamp = str(int(time.time()) - 120)
        return (
            merchant.post("/api/payment-orders/x", {"sync": False}, timestamp=stamp).code
            == "SIGNATURE_EXPIRED"
        )

    try:
        wait_until(refused, seconds=5, what="the new setting to take effect")
    finally:
        admin.send(
            "PUT",
            CONFIG,
            {"configs": [{"key": "MERCHANT_SIGNATURE_MAX_AGE_SECONDS", "value": "300"}]},
        )
    wait_until(lambda: not refused(), seconds=5, what="the old setting to take effect")


@pytest.mark.parametrize(
    "configs",
    [[{"key": "NO_SUCH_KEY", "value": "1"}], [{"key": "PAYMENT_EXPIRE_MINUTES", "value": "soon"}],
     [{"key": "PAYMENT_EXPIRE_MINUTES", "value": "-1"}], [{"key": "PAYMENT_EXPIRE_MINUTES"}], [], "x"],
)  # fmt: skip
def test_wrong_system_config_changes_nothing(admin: AdminSession, configs: Any) -> None:
    good = [{"key": "CALLBACK_MAX_ATTEMPTS", "value": "3"}]
    sent = good + configs if isinstance(configs, list) and configs else configs
    answer = admin.send("PUT", CONFIG, {"configs": sent})
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    values = {config["key"]: config["value"] for config in admin.get(CONFIG).json["configs"]}
    assert values["CALLBACK_MAX_ATTEMPTS"] == "14"


ROLES_THAT_CHANGE = {"SUPER_ADMIN", "OPS_ADMIN"}


@pytest.mark.parametrize("role", ["SUPER_ADMIN", "OPS_ADMIN", "FINANCE_ADMIN", "VIEWER"])
def test_a16_roles(stack: Stack, role: str) -> None:
    email, password = f"{secrets.token_hex(5)}@example.com", "a long test password"
    stack.cli("admins", "create", "--email", email, "--role", role, stdin=password)
    session = stack.sign_in(email, password)
    for path in (MERCHANTS, BINDINGS, CONFIG):
        assert session.get(path).status == 200
    may_change = role in ROLES_THAT_CHANGE
    answers = {
        "merchant": session.send(
            "POST", MERCHANTS, {"code": f"r-{secrets.token_hex(4)}", "name": "x"}
        ),
        "update": session.send("PUT", f"{MERCHANTS}/mch_nothing", {"name": "x"}),
        "binding": session.send(
            "POST", BINDINGS, {"merchantCode": "none", "channelCode": "alipay.page"}
        ),
        "retry": session.send("POST", "/api/admin/payment-orders/x/retry-callback", {}),
    }
    for name, answer in answers.items():
        assert (answer.code != "PERMISSION_DENIED") == may_change, (name, answer.raw)
    config = session.send(
        "PUT", CONFIG, {"configs": [{"key": "SETTLEMENT_HOLD_DAYS", "value": "1"}]}
    )
    assert (config.status == 200) == (role == "SUPER_ADMIN")


def test_refund_events_can_be_switched_off(admin: AdminSession) -> None:
    merchant = created(admin)
    assert merchant["refundCallbackEnabled"] is True
    changed = admin.send(
        "PUT", f"{MERCHANTS}/{merchant['id']}", {"refundCallbackEnabled": False}
    ).json
    assert (changed["refundCallbackEnabled"], changed["callbackEnabled"]) == (False, True)
