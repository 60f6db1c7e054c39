"""The operators' console in a browser: every page is sound, and two-step sign-in as an operator meets it."""

import base64
import re
import secrets
import time

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from admin.operator import OperatorConsole
from core_service.domain import one_time_code
from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import DESKTOP, PHONE, ColorScheme, Language, Windows
from tests.stack import AdminSession

NEW_PASSWORD = "a password of my own 1"  # a test password
OWN_PAGES = ("/admin/settings", "/admin/operators", "/admin/audit-log", "/admin/account",
             "/admin/audit-log/verification", "/admin/nowhere")  # fmt: skip


def open_as(windows: Windows, admin: AdminSession, path: str, **options: object) -> Page:
    """A page of an operator who is signed in."""
    name, _, value = admin.cookie.partition("=")
    page = windows(cookies={name: value}, **options)  # type: ignore[arg-type]  # as Windows takes them
    windows.guard(page).expect(r"status of 404 .*/admin/nowhere")
    page.goto(path)
    return page


def press(page: Page, name: str) -> None:
    """A button on the page itself, not in a dialog that is closed."""
    page.get_by_role("button", name=name, exact=True).locator("visible=true").first.click()


def sign_in(page: Page, email: str, password: str, code: str = "") -> None:
    page.goto("/admin/account")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_label("One-time code").fill(code)
    press(page, "Sign in")


@pytest.mark.parametrize(
    ("language", "viewport", "color_scheme"),
    [("zh-CN", DESKTOP, "dark"), ("en", PHONE, "light")],
    ids=["zh-desktop-dark", "en-phone-light"],
)
def test_pages_are_sound(
    open_page: Windows,
    admin: AdminSession,
    language: Language,
    viewport: ViewportSize,
    color_scheme: ColorScheme,
) -> None:
    page = open_as(
        open_page, admin, "/admin/settings",
        language=language, viewport=viewport, color_scheme=color_scheme,
    )  # fmt: skip
    first_pages = [family.path for family in OperatorConsole.families if family.group]
    for path in dict.fromkeys([*OWN_PAGES, *first_pages]):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).not_to_be_empty()
        check_accessibility(page)
        check_fits(page)


def test_a_setting_is_changed_with_a_reason_that_the_log_keeps(
    open_page: Windows, admin: AdminSession
) -> None:
    page = open_as(open_page, admin, "/admin/settings", language="en")
    row = page.get_by_role("row").filter(has_text="SETTLEMENT_HOLD_DAYS")
    expect(row).to_contain_text("nothing uses it yet")
    row.get_by_role("button", name="Change").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.get_by_label("New value")).to_be_focused()
    check_accessibility(page)
    dialog.get_by_label("New value").fill("2")
    reason = f"because {secrets.token_hex(4)}"
    dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("SETTLEMENT_HOLD_DAYS is changed.")
    page.goto("/admin/audit-log?target=system_config")
    expect(page.get_by_role("row").filter(has_text=reason)).to_have_count(1)
    press(page, "Verify")
    expect(page.locator("#verification")).to_contain_text("records fit the chain")


def test_a_new_operator_chooses_a_password_and_switches_two_step_sign_in_on(
    open_page: Windows, admin: AdminSession
) -> None:
    boss = open_as(open_page, admin, "/admin/operators", language="en")
    email = f"{secrets.token_hex(6)}@example.com"
    press(boss, "Add operator")
    boss.locator("dialog[open]").get_by_label("E-mail address").fill(email)
    boss.locator("dialog[open]").get_by_role("button", name="Add operator").click()
    password = boss.locator(".copyable.block code").inner_text()

    page = open_page(language="en", viewport=PHONE)
    sign_in(page, email, password)
    page.goto("/admin/settings")
    expect(page).to_have_url(re.compile("/admin/account$"))
    page.get_by_label("Current password").first.fill(password)
    page.get_by_label("New password").fill(NEW_PASSWORD)
    press(page, "Change password")
    expect(page.get_by_role("status")).to_contain_text("Your password is changed")

    page.get_by_label("Current password").last.fill(NEW_PASSWORD)
    press(page, "Set up")
    expect(page.get_by_role("img", name="Scan this code")).to_be_visible()
    check_accessibility(page)
    check_fits(page)
    open_page.guard(page).expect(r"status of 400")
    page.get_by_label("Six digits").fill("000000")
    press(page, "Switch it on")
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    secret = page.locator(".copyable code").inner_text()
    page.get_by_label("Six digits").fill(_code(secret))
    press(page, "Switch it on")
    codes = page.locator(".copyable.block code").inner_text().split()
    assert 10 == len(codes)

    other = open_page(language="en")
    open_page.guard(other).expect(r"status of 401")
    sign_in(other, email, NEW_PASSWORD)
    expect(other.get_by_role("alert")).to_contain_text("one-time code is wrong")
    sign_in(other, email, NEW_PASSWORD, codes[0])
    expect(other.get_by_text("9 recovery codes are left.")).to_be_visible()


def _code(secret: str) -> str:
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return one_time_code.code_at(key, int(time.time()) // one_time_code.STEP_SECONDS)
