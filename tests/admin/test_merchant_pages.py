"""Every page and file of the merchants' console, asked for what another merchant has."""

import re
import secrets
from urllib.parse import urlencode

import pytest

from admin.merchant import MerchantConsole
from core_service.schema import method_named
from tests.merchant_people import COOKIE, new_member
from tests.stack import AdminSession, Answer, Merchant, Stack

PAGES = [
    page for family in MerchantConsole.families for page in family.pages if page.rpc
]  # those that need a session
ROLES = ("OWNER", "OPERATIONS", "DEVELOPER", "VIEWER")


@pytest.fixture(scope="module")
def canary() -> str:
    return f"canary{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def rival(stack: Stack, canary: str, configurations: dict[str, dict[str, object]]) -> list[str]:
    """Numbers of what another merchant has; the canary is in its texts."""
    shop = stack.new_merchant(f"{canary}-code")
    account = stack.add_account(shop, "alipay.page", configurations["alipay.page"])
    order = shop.create_order(subject=canary, externalOrderId=f"{canary}-order").json["order"]
    new_member(stack, shop.code)
    return [shop.code, account["id"], order["id"], f"{canary}-order", shop.key_id]


@pytest.fixture(scope="module")
def tokens(stack: Stack, merchant: Merchant) -> dict[str, str]:
    return {role: new_member(stack, merchant.code, role).token for role in ROLES}


def look(stack: Stack, token: str, path: str) -> Answer:
    return stack.http.request(
        "GET", path, headers={"cookie": f"{COOKIE}={token}", "accept-language": "en"}
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_s20_no_page_and_no_file_shows_another_merchant(
    stack: Stack, tokens: dict[str, str], rival: list[str], canary: str, page: type
) -> None:
    path: str = page.path  # type: ignore[attr-defined]
    for number in rival:
        for query in ({}, {"merchant_code": rival[0]}, {"search": number}, {"key_id": number}):
            there = re.sub(r"{\w+}", number, path)
            answer = look(stack, tokens["OWNER"], f"{there}?{urlencode(query)}")
            assert answer.status < 500, (there, query)
            # What was asked for may be shown where it was typed in, and nothing else.
            shown = answer.raw.decode(errors="replace").replace(there, "")
            for sent in query.values():
                shown = shown.replace(urlencode({"": sent})[1:], "").replace(sent, "")
            assert canary not in shown, (there, query)
            if "{" in path and "channel" not in path:
                assert answer.status in (303, 404), (there, query)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a16_a_page_opens_for_those_who_may_call_its_rpc(
    stack: Stack, tokens: dict[str, str], page: type, role: str
) -> None:
    path: str = re.sub(r"{\w+}", "x", page.path)  # type: ignore[attr-defined]
    answer = look(stack, tokens[role], path)
    is_allowed = role in method_named(page.rpc).staff_roles  # type: ignore[attr-defined]
    assert (answer.status == 403) == (not is_allowed), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_without_a_session_every_page_leads_to_sign_in(stack: Stack, page: type) -> None:
    path: str = re.sub(r"{\w+}", "x", page.path)  # type: ignore[attr-defined]
    answer = stack.http.request("GET", path)
    assert (answer.status, answer.headers["location"].partition("?")[0]) == (
        303,
        "/merchant/sign-in",
    )


def test_an_operator_and_the_command_line_give_a_merchant_its_first_people(
    stack: Stack, fresh_merchant: Merchant, admin: AdminSession
) -> None:
    email = f"{secrets.token_hex(6)}@example.com"
    made = stack.cli("staff", "create", "--merchant", fresh_merchant.code, "--email", email)
    assert (made["email"], len(made["firstPassword"])) == (email, 20)
    shown = admin.get(f"/admin/merchants/{fresh_merchant.code}/people")
    assert shown.status == 200
    assert email in shown.raw.decode()
    assert made["firstPassword"] not in shown.raw.decode()
