"""The channel doctor on the running stack: green in the sandbox, red for a stranger's key, forms declared."""

from typing import Any

from sandbox import rsa_keys
from tests.stack import AdminSession, Stack


def account(stack: Stack, channel: str, **changes: Any) -> str:
    """The account of a fresh merchant in the sandbox."""
    accounts = stack.sandbox.request("GET", "/control/accounts").json["accounts"]
    config = next(one["config"] for one in accounts if one["channel"] == channel)
    made: dict[str, str] = stack.add_account(stack.new_merchant(), channel, config | changes)
    return made["id"]


def check(admin: AdminSession, account_id: str) -> Any:
    answer = admin.send("POST", f"/api/admin/channel-accounts/{account_id}/check", {})
    assert answer.status == 200, answer.raw
    return answer.json["check"]


def codes(found: Any, severity: str) -> set[str]:
    return {one["code"] for one in found["findings"] if one["severity"] == severity}


def test_sandbox_accounts_are_green(stack: Stack, admin: AdminSession) -> None:
    for channel in ("alipay.page", "wxpay.native"):
        found = check(admin, account(stack, channel))
        assert (found["status"], codes(found, "WARNING")) == ("OK", set()), found
        assert {"PROVIDER_ACCEPTS", "PROVIDER_TRUSTED", "CALLBACK_REACHABLE", "ACCOUNT_SERVES"} <= (
            codes(found, "OK")
        )


def test_a_strangers_key_turns_an_account_red(stack: Stack, admin: AdminSession) -> None:
    private_key = rsa_keys.new_private_key()
    account_id = account(stack, "wxpay.native", privateKey=private_key)
    found = check(admin, account_id)
    assert (found["status"], codes(found, "ERROR")) == ("ERROR", {"SIGNATURE_REFUSED"})
    assert private_key.splitlines()[1] not in str(found)
    listed = admin.get("/api/admin/account-troubles?status=ERROR&pageSize=1").json
    assert listed["troubles"][0]["accountId"] == account_id
    assert listed["troubles"][0]["check"]["statusSince"] == found["statusSince"]


def test_unknown_accounts_and_channels(admin: AdminSession) -> None:
    missing = admin.send("POST", "/api/admin/channel-accounts/acc_none/check", {})
    assert (missing.status, missing.code) == (404, "CHANNEL_ACCOUNT_NOT_FOUND")
    unknown = admin.get("/api/admin/channels/paypal/account-fields")
    assert (unknown.status, unknown.code) == (404, "UNSUPPORTED_CHANNEL")
    wrong = admin.get("/api/admin/account-troubles?status=OK")
    assert (wrong.status, wrong.code) == (400, "INVALID_REQUEST")


def test_every_channel_declares_a_form_in_both_languages(stack: Stack, admin: AdminSession) -> None:
    for channel in stack.http.request("GET", "/api/channels").json["channels"]:
        path = f"/api/admin/channels/{channel['code']}/account-fields"
        fields = admin.get(path).json["fields"]
        assert {"privateKey"} <= {field["name"] for field in fields if field["secret"]}
        for field in fields:
            assert field["kind"] in ("TEXT", "PEM", "PEM_LIST", "URL")
            texts = [field[name] for name in ("labelZh", "labelEn", "helpZh", "helpEn")]
            group = field["group"] or {}
            assert all([*texts, *group.values()]), field
