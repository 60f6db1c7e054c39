"""The documentation in a browser: sound pages, the filter box, and the page that signs and sends."""

import pytest
from playwright.sync_api import Page, Request, ViewportSize, expect

from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import DESKTOP, PHONE, ColorScheme, Language, Windows
from tests.stack import Merchant

PAGES = ("/docs/guides/callbacks", "/docs/guides/states", "/docs/reference/createPaymentOrder")


@pytest.mark.parametrize(
    ("language", "viewport", "color_scheme"),
    [("zh-CN", DESKTOP, "dark"), ("en", PHONE, "light")],
    ids=["zh-desktop-dark", "en-phone-light"],
)
def test_pages_are_sound(
    open_page: Windows, language: Language, viewport: ViewportSize, color_scheme: ColorScheme
) -> None:
    page = open_page(language=language, viewport=viewport, color_scheme=color_scheme)
    for address in PAGES:
        page.goto(address)
        check_accessibility(page)
        check_fits(page)


def test_pages_read_without_javascript(open_page: Windows) -> None:
    page = open_page("/docs/guides/first-payment", language="en", javascript=False)
    expect(page.get_by_role("heading", level=1)).to_have_text("First payment in three minutes")
    page.locator("summary", has_text="Go").last.click()
    expect(page.locator("pre", has_text="package main")).to_be_visible()


def test_filter_box_finds_pages_by_field_and_code(open_page: Windows) -> None:
    page = open_page("/docs", language="en")
    page.keyboard.press("/")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.keyboard.type("refund_amount_exceeded")
    links = page.locator("nav section li:visible")
    expect(links.filter(has_text="Refund a paid order")).to_be_visible()
    expect(links.filter(has_text="List payment channels")).to_have_count(0)
    page.get_by_label("Filter").fill("no such thing anywhere")
    expect(page.get_by_text("No page has that.")).to_be_visible()


def create_an_order(page: Page) -> None:
    operation = page.locator("#operations-Payment-createPaymentOrder")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Execute").click()


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_try_page_signs_and_sends_and_keeps_the_secret(
    open_page: Windows, merchant: Merchant, language: Language
) -> None:
    page = open_page("/docs/try", language=language)
    expect(page.locator("#operations-Payment-createPaymentOrder")).to_be_visible()
    check_fits(page)
    sent: list[Request] = []

    def remember(request: Request) -> None:
        sent.append(request)

    page.on("request", remember)
    page.locator("#key").fill(merchant.key_id)
    page.locator("#secret").fill(merchant.secret)
    page.locator("#merchant").fill(merchant.code)
    page.locator("#merchant").blur()
    create_an_order(page)
    answer = page.locator("#operations-Payment-createPaymentOrder .live-responses-table")
    expect(answer).to_contain_text('"created": true')
    expect(answer).to_contain_text("年度会员")
    assert any("x-novapay-signature" in request.headers for request in sent)
    for request in sent:
        everything = f"{request.url} {request.all_headers()} {request.post_data or ''}"
        assert merchant.secret not in everything
    stored = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    )
    assert merchant.secret not in stored


def test_try_page_says_when_the_key_is_missing(open_page: Windows) -> None:
    page = open_page("/docs/try", language="en")
    open_page.guard(page).expect("401")
    create_an_order(page)
    expect(page.get_by_role("alert")).to_have_text("Fill in the API key id and its secret first.")
    answer = page.locator("#operations-Payment-createPaymentOrder .live-responses-table")
    expect(answer).to_contain_text("API_KEY_REQUIRED")
