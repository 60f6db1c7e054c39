"""The merchants' console in a browser: a stranger becomes a merchant, and every page is sound."""

import re
import secrets

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import DESKTOP, PHONE, ColorScheme, Language, Windows
from tests.merchant_people import COOKIE, PASSWORD, new_member
from tests.payer import Payer
from tests.stack import Merchant, Receiver, Stack, wait_until

PAGES = (
    "start",
    "orders",
    "refunds",
    "deliveries",
    "anomalies",
    "accounts",
    "accounts/new/alipay.page",
    "accounts/new/wxpay.native",
    "credentials",
    "callbacks",
    "requests",
    "requests/explain",
    "profile",
    "team",
    "account",
)


def press(page: Page, name: str) -> None:
    """A button on the page itself, not in a dialog that is closed."""
    page.get_by_role("button", name=name, exact=True).locator("visible=true").first.click()


def test_a_stranger_registers_signs_in_and_sees_what_is_to_be_done(open_page: Windows) -> None:
    page = open_page("/merchant", language="en")
    page.get_by_role("link", name="Register a merchant").click()
    check_accessibility(page)
    address = f"{secrets.token_hex(6)}@example.com"
    page.get_by_label("Name", exact=True).fill("Tea & Co <b>")
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Register a merchant")
    expect(page.get_by_role("status")).to_contain_text("you can sign in with it now")
    page.get_by_label("E-mail address").fill(address)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Sign in")
    expect(page.get_by_role("heading", level=1)).to_have_text("Tea & Co <b>")
    expect(page.get_by_role("status")).to_contain_text("under review")
    expect(page.get_by_role("heading", name="Getting started: 0 of 4 done")).to_be_visible()


def test_whoever_started_it_signs_in_to_the_demo_merchant_at_once(
    open_page: Windows, stack: Stack
) -> None:
    said = dict(
        line.split(maxsplit=1)
        for line in stack.log.read_text().splitlines()
        if line.startswith("  ")
    )
    assert said["merchantConsole"].endswith("/merchant")
    page = open_page("/merchant", language="en")
    page.get_by_label("E-mail address").fill(said["owner"])
    page.get_by_label("Password").fill(said["ownerPassword"])
    press(page, "Sign in")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Demo shop")
    # Its accounts are all at the sandbox: nothing asks for a live payment.
    steps = page.get_by_role("region", name="Getting started")
    expect(steps).to_contain_text("The sandbox takes no money")
    expect(steps).not_to_contain_text("Take a first live payment")


@pytest.mark.parametrize(
    ("language", "viewport", "color_scheme"),
    [("zh-CN", DESKTOP, "dark"), ("en", PHONE, "light")],
    ids=["zh-desktop-dark", "en-phone-light"],
)
def test_pages_are_sound(
    open_page: Windows,
    stack: Stack,
    merchant: Merchant,
    language: Language,
    viewport: ViewportSize,
    color_scheme: ColorScheme,
) -> None:
    cookies = {COOKIE: new_member(stack, merchant.code).token}
    page = open_page(
        language=language, viewport=viewport, color_scheme=color_scheme, cookies=cookies
    )
    for name in ("sign-in", "register", *PAGES):
        page.goto(f"/merchant/{name}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        check_accessibility(page)
        check_fits(page)


def test_a_key_is_shown_once_and_works(
    open_page: Windows, stack: Stack, fresh_merchant: Merchant
) -> None:
    cookies = {COOKIE: new_member(stack, fresh_merchant.code).token}
    page = open_page("/merchant/credentials", language="en", cookies=cookies)
    press(page, "New key")
    page.get_by_role("dialog").get_by_label("Label").fill("server")
    page.get_by_role("dialog").get_by_role("button", name="New key").click()
    key_id, secret = (
        text.strip() for text in page.get_by_role("status").locator("pre").all_inner_texts()
    )
    made = Merchant(stack.http, fresh_merchant.code, key_id, secret)
    assert made.create_order().code == "CHANNEL_NOT_CONFIGURED"
    page.reload()
    expect(page.get_by_text(secret)).to_have_count(0)
    row = page.get_by_role("row").filter(has_text=key_id)
    row.get_by_role("button", name="Revoke").first.click()
    row.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("Revoked")
    assert made.create_order().code == "INVALID_API_KEY"

    def is_logged() -> bool:
        page.goto("/merchant/requests?outcome=refused")
        return page.get_by_role("row").filter(has_text="INVALID_API_KEY").count() == 1

    wait_until(is_logged, what="the request in the log")


def test_a_test_event_confirms_the_address_and_the_secret_is_rotated(
    open_page: Windows, stack: Stack, fresh_merchant: Merchant
) -> None:
    cookies = {COOKIE: new_member(stack, fresh_merchant.code, "DEVELOPER").token}
    page = open_page("/merchant/callbacks", language="en", cookies=cookies)
    with Receiver() as receiver:
        page.get_by_label("Default callback address").fill(receiver.url)
        press(page, "Save")
        expect(page.get_by_text("This address is not confirmed yet")).to_be_visible()
        press(page, "Send test event")
        expect(page.get_by_role("heading", name="Result of the test")).to_contain_text("Delivered")
    ((headers, body),) = receiver.received
    shown = (
        page.get_by_role("region", name="Result of the test")
        .or_(page.locator("section.card"))
        .first
    )
    expect(shown).to_contain_text(headers["x-novapay-signature"])
    expect(shown).to_contain_text(body.decode())
    expect(page.get_by_text("A test event confirmed this address")).to_be_visible()
    press(page, "Rotate secret")
    page.get_by_role("dialog").get_by_role("button", name="Rotate secret").click()
    expect(page.get_by_role("status")).to_contain_text("whsec_")
    expect(page.get_by_text("The secret before it signs too until")).to_be_visible()


def test_the_allowlist_asks_before_it_shuts_servers_out(
    open_page: Windows, stack: Stack, fresh_merchant: Merchant
) -> None:
    cookies = {COOKIE: new_member(stack, fresh_merchant.code, "DEVELOPER").token}
    page = open_page("/merchant/callbacks", language="zh-CN", cookies=cookies)
    press(page, "修改白名单")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("立即被拒绝")
    dialog.get_by_label("IP 地址与网段").fill("203.0.113.7")
    dialog.get_by_role("button", name="保存").click()
    expect(page.locator("pre", has_text="203.0.113.7")).to_be_visible()
    assert fresh_merchant.create_order().code == "IP_NOT_ALLOWED"

    def is_logged_in_chinese() -> bool:
        page.goto("/merchant/requests")
        said = page.get_by_role("row").filter(has_text="IP_NOT_ALLOWED")
        return said.filter(has_text="来源地址不在商户的白名单内").count() == 1

    wait_until(is_logged_in_chinese, what="the refusal in the log, in Chinese")


def test_the_explainer_finds_the_byte(
    open_page: Windows, stack: Stack, fresh_merchant: Merchant
) -> None:
    cookies = {COOKIE: new_member(stack, fresh_merchant.code).token}
    page = open_page("/merchant/requests/explain", language="en", cookies=cookies)
    body = f'{{"merchantCode":"{fresh_merchant.code}"}}'
    sent = fresh_merchant.sign(body.encode())
    page.get_by_label("x-novapay-key").fill(sent["x-novapay-key"])
    page.get_by_label("x-novapay-timestamp").fill(sent["x-novapay-timestamp"])
    page.get_by_label("x-novapay-nonce").fill(sent["x-novapay-nonce"])
    page.get_by_label("x-novapay-signature").fill(sent["x-novapay-signature"])
    page.get_by_label(re.compile("^Body")).fill(body)
    press(page, "Explain")
    expect(page.get_by_role("status")).to_have_text("Every check that could be made holds.")
    page.get_by_label("x-novapay-timestamp").fill("1000000000")
    press(page, "Explain")
    expect(page.get_by_role("status")).to_contain_text("The timestamp is too far from now")
    page.get_by_label("x-novapay-timestamp").fill(sent["x-novapay-timestamp"])
    string = f"{sent['x-novapay-timestamp']}.{sent['x-novapay-nonce']}.{body} "
    page.get_by_label("The string that you signed").fill(string)
    press(page, "Explain")
    expect(
        page.get_by_role("heading", name=f"Different from byte {len(string) - 1} on")
    ).to_be_visible()


def test_the_team_grows_and_a_first_password_must_be_changed(
    open_page: Windows, stack: Stack, fresh_merchant: Merchant
) -> None:
    cookies = {COOKIE: new_member(stack, fresh_merchant.code).token}
    page = open_page("/merchant/team", language="en", cookies=cookies)
    address = f"{secrets.token_hex(6)}@example.com"
    press(page, "Add member")
    page.get_by_role("dialog").get_by_label("E-mail address").fill(address)
    page.get_by_role("dialog").get_by_label("Role").select_option("VIEWER")
    page.get_by_role("dialog").get_by_role("button", name="Add member").click()
    first = page.get_by_role("status").locator("pre").inner_text().strip()
    other = open_page("/merchant/sign-in", language="en")
    other.get_by_label("E-mail address").fill(address)
    other.get_by_label("Password").fill(first)
    press(other, "Sign in")
    expect(other).to_have_url(re.compile("/merchant/account$"))
    other.goto("/merchant/start")
    expect(other).to_have_url(re.compile("/merchant/account$"))
    other.get_by_label("Present password").fill(first)
    other.get_by_label("New password").fill(PASSWORD)
    press(other, "Change password")
    expect(other.get_by_role("heading", name="Getting started")).to_be_visible()
    expect(other.get_by_role("navigation").get_by_role("link", name="API keys")).to_have_count(0)
    open_page.guard(other).expect("403")
    other.goto("/merchant/credentials")
    expect(other.get_by_role("alert")).to_contain_text("PERMISSION_DENIED")


def test_a_refused_dialog_says_why_in_itself(
    open_page: Windows, stack: Stack, fresh_merchant: Merchant
) -> None:
    cookies = {COOKIE: new_member(stack, fresh_merchant.code).token}
    page = open_page("/merchant/team", language="en", cookies=cookies)
    open_page.guard(page).expect("status of 400")
    press(page, "Change")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Role").select_option("VIEWER")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator("li")).to_contain_text("a merchant needs an enabled owner")
    # What a field says beside itself is not said twice.
    page.goto("/merchant/team")
    press(page, "Add member")
    dialog.locator("form").evaluate("form => { form.noValidate = true }")
    dialog.get_by_label("E-mail address").fill("nobody")
    dialog.get_by_role("button", name="Add member").click()
    expect(dialog.locator("small.error")).to_be_visible()
    expect(dialog.locator("li")).to_have_count(0)


def test_an_order_is_found_and_refunded(
    open_page: Windows, stack: Stack, merchant: Merchant, payer: Payer
) -> None:
    order = payer.paid_alipay(merchant, "88.10")
    cookies = {COOKIE: new_member(stack, merchant.code, "OPERATIONS").token}
    page = open_page("/merchant/orders", language="en", cookies=cookies)
    page.get_by_label("Any number").fill(order["externalOrderId"])
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(order["externalOrderId"])
    check_accessibility(page)
    press(page, "Refund")
    page.get_by_role("dialog").get_by_label("Amount in yuan").fill("8.10")
    page.get_by_role("dialog").get_by_label("Reason").fill("returned")
    page.get_by_role("dialog").get_by_role("button", name="Refund").click()
    expect(page.get_by_role("status")).to_contain_text("The refund is sent")
    page.goto("/merchant/refunds")
    row = page.get_by_role("row").filter(has_text="returned")
    expect(row).to_contain_text("¥8.10")
    expect(page.get_by_role("columnheader", name="Merchant")).to_have_count(0)
