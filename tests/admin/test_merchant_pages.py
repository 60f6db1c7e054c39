"""An operator in a browser takes a merchant from nothing to a green account, and keeps it in order."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from sandbox import rsa_keys
from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import DESKTOP, PHONE, Windows
from tests.pictures import png
from tests.stack import AdminSession, Merchant, Stack

MERCHANTS = "/admin/merchants"


def cookies(session: AdminSession) -> dict[str, str]:
    name, _, value = session.cookie.partition("=")
    return {name: value}


@pytest.fixture
def console(open_page: Windows, admin: AdminSession) -> Page:
    """The operators' console in English, signed in. A form that is refused answers with a 4xx on purpose."""
    page = open_page(language="en", cookies=cookies(admin))
    open_page.guard(page).expect(r"status of 4(00|22)")
    return page


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


def confirm(page: Page, name: str, reason: str | None = None) -> None:
    """Opens a dialog by its button, gives the reason and presses the same button in it."""
    press(page, name)
    dialog = page.locator("dialog[open]")
    if reason is not None:
        dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=name, exact=True).click()


def told(page: Page, text: str) -> None:
    expect(page.locator("[role=status]")).to_contain_text(text)


def fill_account(page: Page, config: Mapping[str, Any]) -> None:
    """Enters a configuration as a person would: every field that the form has."""
    for name, value in config.items():
        given = "\n".join(value) if isinstance(value, list) else value
        page.locator(f"[name='config.{name}']").fill(given)


def test_a_merchant_is_created_reviewed_and_found(console: Page) -> None:
    code = f"ui-{secrets.token_hex(4)}"
    console.goto(MERCHANTS)
    press(console, "New merchant")
    dialog = console.locator("dialog[open]")
    dialog.get_by_label("Name").fill(f"Tea house {code}")
    dialog.get_by_label("Code").fill(code)
    dialog.get_by_role("button", name="New merchant").click()
    expect(console).to_have_url(f"{console.url.split('/admin')[0]}{MERCHANTS}/{code}/profile")
    console.get_by_label("Legal name").fill("Tea House Ltd")
    console.get_by_label("Seconds of success").fill("12")
    press(console, "Save")
    told(console, "Saved")
    console.get_by_role("link", name="Overview and review").click()
    expect(console.locator(".notice.busy li")).to_have_text(
        ["Contact name", "Contact phone", "Company registration id"]
    )
    confirm(console, "Approve")
    told(console, "approved")
    confirm(console, "Suspend", reason="asked by the merchant")
    told(console, "suspended")
    confirm(console, "Reactivate", reason="mended")
    console.goto(f"{MERCHANTS}?q={code.upper()}&status=APPROVED")
    expect(console.locator("main tbody tr")).to_have_count(1)
    console.goto(f"{MERCHANTS}?q={code}&status=PENDING")
    expect(console.locator(".empty")).to_be_visible()


def test_each_form_changes_what_it_shows_and_nothing_else(
    console: Page, stack: Stack, admin: AdminSession, tmp_path: Path
) -> None:
    merchant = stack.new_merchant()
    api = f"/api/admin/merchants/{merchant.code}"
    before = admin.get(api).json
    console.goto(f"{MERCHANTS}/{merchant.code}/profile")
    console.get_by_label("Default callback address").fill("http://127.0.0.1:9/hook")
    console.locator("form:has([name=callbackBase]) button").click()
    told(console, "Saved")
    console.get_by_label("Addresses that may call").fill("10.0.0.0/8\n192.168.0.1")
    console.locator("form:has([name=apiIpWhitelist]) button").click()
    told(console, "Saved")
    console.get_by_label("Seconds of success").fill("7")
    console.locator("form:has([name=returnDelaySeconds]) button").click()
    told(console, "Saved")
    picture = tmp_path / "logo.png"
    picture.write_bytes(png(64, 64))
    console.locator("[name=content]").set_input_files(picture)
    press(console, "Upload")
    told(console, "Saved")
    expect(console.locator("img.logo")).to_have_js_property("naturalWidth", 64)
    after = admin.get(api).json
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {
        "callbackBase",
        "apiIpWhitelist",
        "returnDelaySeconds",
        "logoEtag",
        "updatedAt",
    }
    picture.write_bytes(b"<svg/>")
    console.locator("[name=content]").set_input_files(picture)
    press(console, "Upload")
    expect(console.locator(".error")).to_contain_text("PNG, JPEG or WebP")
    confirm(console, "Remove logo")
    told(console, "Saved")
    expect(console.locator("img.logo")).to_have_count(0)


def test_an_account_is_entered_examined_and_mended(
    console: Page, stack: Stack, configurations: dict[str, dict[str, Any]]
) -> None:
    merchant, config = stack.new_merchant(), configurations["wxpay.native"]
    stranger = rsa_keys.new_private_key()
    console.goto(f"{MERCHANTS}/{merchant.code}/new-account/wxpay.native")
    fill_account(console, {**config, "apiV3Key": "short"})
    press(console, "Save and check")
    expect(console.locator("#field-config-apiV3Key-help .error")).to_have_text(
        "must be 32 ASCII characters"
    )
    assert config["privateKey"].splitlines()[1] not in console.content()
    fill_account(console, {**config, "privateKey": stranger})
    press(console, "Save and check")
    told(console, "The account is added")
    first = console.locator(".findings > li").first
    expect(first).to_contain_text("refuses our signature")
    expect(first).to_contain_text("Compare the private key")
    console.goto("/admin/account-troubles")
    row = console.locator("main tbody tr").first
    expect(row).to_contain_text("refuses our signature")
    row.get_by_role("link").first.click()
    console.locator("[name='config.privateKey']").fill(config["privateKey"])
    press(console, "Save and check")
    told(console, "examined again")
    expect(console.locator(".findings .badge.bad")).to_have_count(0)
    expect(console.locator(".card h2 .badge").first).to_have_text("OK")
    assert stranger.splitlines()[1] not in console.content()
    confirm(console, "Disable", reason="moved")
    told(console, "disabled")
    confirm(console, "Enable", reason="moved back")
    told(console, "enabled")


def test_a_channel_is_bound_with_limits_and_fee(
    console: Page, stack: Stack, configurations: dict[str, dict[str, Any]]
) -> None:
    merchant = stack.new_merchant()
    account = stack.add_account(merchant, "alipay.page", configurations["alipay.page"])
    console.goto(f"{MERCHANTS}/{merchant.code}/bindings")
    console.get_by_role("button", name="Set", exact=True).first.click()
    console.get_by_label("Account").select_option(account["id"])
    console.get_by_label("Smallest amount").fill("1")
    console.get_by_label("Largest amount").fill("0.50")
    console.get_by_label("Fee (%)").fill("0.38")
    press(console, "Save")
    expect(console.locator("#field-minAmount-help")).to_contain_text("maxAmount")
    console.get_by_label("Largest amount").fill("5000")
    press(console, "Save")
    told(console, "set")
    row = console.locator("main tbody tr").first
    expect(row).to_contain_text("0.38 %")
    expect(row).to_contain_text("¥1.00 – ¥5,000.00")
    assert merchant.create_order("alipay.page", "0.99").code == "AMOUNT_TOO_SMALL"


def test_a_key_is_shown_once_and_revoked_for_good(console: Page, stack: Stack) -> None:
    shop = stack.new_merchant()
    console.goto(f"{MERCHANTS}/{shop.code}/credentials")
    press(console, "New key")
    console.locator("dialog[open]").get_by_label("Label").fill("second server")
    console.locator("dialog[open]").get_by_role("button", name="New key").click()
    key_id, secret = console.locator(".notice code").all_inner_texts()
    second = Merchant(shop.http, shop.code, key_id, secret)
    assert second.create_order("alipay.page").code == "CHANNEL_NOT_CONFIGURED"
    console.goto(f"{MERCHANTS}/{shop.code}/credentials")
    assert secret not in console.content()
    row = console.locator("main tbody tr", has_text=key_id)
    row.get_by_role("button", name="Revoke", exact=True).first.click()
    dialog = console.locator("dialog[open]")
    dialog.get_by_label("Reason").fill("leaked")
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    told(console, "revoked")
    expect(console.locator("main tbody tr", has_text=key_id)).to_contain_text("Revoked")
    assert second.create_order("alipay.page").status == 401


def test_a_viewer_sees_and_cannot_change(stack: Stack, open_page: Windows) -> None:
    email, password = f"{secrets.token_hex(4)}@example.com", "a viewer's password 1"
    stack.cli("admins", "create", "--email", email, "--role", "VIEWER", stdin=password)
    shop = stack.new_merchant()
    page = open_page(language="en", cookies=cookies(stack.sign_in(email, password)))
    for path in ("", "/profile", "/accounts", "/bindings", "/credentials"):
        page.goto(f"{MERCHANTS}/{shop.code}{path}")
        expect(page.locator("main h1")).to_be_visible()
        assert page.locator("main form[method=post] button:enabled").count() == 0
    open_page.guard(page).expect("403")
    answer = page.goto(f"{MERCHANTS}/{shop.code}/new-account/alipay.page")
    assert answer is not None
    assert answer.status == 403


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pages_are_accessible_and_fit(
    open_page: Windows, admin: AdminSession, merchant: Merchant, language: Any, viewport: Any
) -> None:
    scheme: Any = "dark" if viewport is PHONE else "light"
    page = open_page(
        language=language, viewport=viewport, color_scheme=scheme, cookies=cookies(admin)
    )
    base = f"{MERCHANTS}/{merchant.code}"
    paths = ["", "/profile", "/accounts", "/bindings", "/bindings/wxpay.native", "/credentials"]
    for path in [*(base + path for path in paths), MERCHANTS, "/admin/account-troubles"]:
        page.goto(path)
        check_accessibility(page)
        check_fits(page)
    page.goto(f"{base}/new-account/alipay.page")
    check_accessibility(page)
    check_fits(page)
    page.goto(f"{base}/accounts")
    page.locator("main tbody a").first.click()
    press(page, "立即检查" if language == "zh-CN" else "Check now")
    expect(page.locator(".findings > li").first).to_be_visible()
    check_accessibility(page)
    check_fits(page)
