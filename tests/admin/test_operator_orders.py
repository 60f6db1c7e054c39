"""Operators' pages about money in a real browser, over the running product: find, look, act, export."""

import csv
import io
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from admin import csv_file
from admin.layout.formats import ZONE
from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import DESKTOP, PHONE, Windows
from tests.merchant_people import COOKIE, new_member
from tests.payer import Payer
from tests.stack import Receiver, Stack, wait_until
from tests.stack_fixtures import open_shop


@dataclass(frozen=True)
class Shop:
    """What happened before the operator looks."""

    code: str
    paid: dict[str, Any]
    """Its callback was refused at first."""
    waiting: dict[str, Any]
    late: dict[str, Any]
    twice: dict[str, Any]
    """Paid a second time."""
    receiver: Receiver


@pytest.fixture(scope="module")
def shop(
    stack: Stack, configurations: dict[str, dict[str, object]], payer: Payer
) -> Iterator[Shop]:
    """A merchant of its own: a paid order, one that waits, one whose money came late, one paid twice."""
    merchant = open_shop(stack, configurations)[0]
    with Receiver() as receiver:
        receiver.answers[:] = [(500, {})]
        paid = merchant.create_order("wxpay.native", "88.10", callbackUrl=receiver.url).json[
            "order"
        ]
        payer.pay(paid)
        wait_until(lambda: merchant.order(paid["id"])["callbackStatus"] == "DELIVERED", what="told")
        waiting = merchant.create_order("alipay.page", "1234.50", subject="=1+1").json["order"]
        late = merchant.create_order("alipay.page", "20.00").json["order"]
        merchant.post(f"/api/payment-orders/{late['id']}/close", {})
        payer.pay(late)
        wait_until(lambda: merchant.order(late["id"])["status"] == "SUCCEEDED", what="late money")
        twice = merchant.create_order("alipay.page", "30.00").json["order"]
        provider = Payer(stack, stack.accounts_of[merchant.code])
        for number in ("first", "second"):
            assert provider.notify(twice, trade_no=number).status == 200
        yield Shop(merchant.code, merchant.order(paid["id"]), waiting, late, twice, receiver)


def cookies_of(stack: Stack, **credentials: str) -> dict[str, str]:
    name, _, value = stack.sign_in(**credentials).cookie.partition(";")[0].partition("=")
    return {name: value}


@pytest.fixture
def console(stack: Stack, shop: Shop, open_page: Windows) -> Page:
    """An administrator's window, in English."""
    return open_page(language="en", cookies=cookies_of(stack))


def pages_of(shop: Shop, delivery_path: str) -> list[str]:
    orders = [
        f"/admin/orders/{order['id']}" for order in (shop.paid, shop.waiting, shop.late, shop.twice)
    ]
    lists = ("overview", "orders", "refunds", "deliveries", "anomalies", "anomalies?resolved=true")
    return [*(f"/admin/{name}" for name in lists), *orders, delivery_path]


@pytest.mark.parametrize(
    ("language", "viewport", "scheme"),
    [("zh-CN", DESKTOP, "light"), ("en", PHONE, "dark")],
    ids=["desktop", "phone"],
)
def test_every_page_is_sound(
    stack: Stack, shop: Shop, open_page: Windows, language: Any, viewport: Any, scheme: Any
) -> None:
    page = open_page(
        language=language, viewport=viewport, color_scheme=scheme, cookies=cookies_of(stack)
    )
    page.goto("/admin/deliveries")
    delivery_path = page.locator("tbody a").first.get_attribute("href")
    assert delivery_path is not None
    for path in pages_of(shop, delivery_path):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        check_accessibility(page)
        check_fits(page)


def test_one_search_box_goes_straight_to_any_number(console: Page, shop: Shop) -> None:
    for number in (shop.paid["id"], shop.paid["externalOrderId"], shop.paid["gatewayOrderId"]):
        console.goto("/admin/overview")
        console.get_by_label("Any number").fill(number)
        console.get_by_role("button", name="Find").click()
        console.wait_for_url(f"**/admin/orders/{shop.paid['id']}")
    console.goto("/admin/orders?search=nothing-like-it")
    expect(console.get_by_text("Nothing fits the filters.")).to_be_visible()


def test_filters_are_in_the_address(console: Page, shop: Shop, open_page: Windows) -> None:
    open_page.guard(console).expect("status of 400")
    console.goto("/admin/orders")
    console.get_by_label("Merchant", exact=True).fill(shop.code)
    console.get_by_label("Late money").select_option("true")
    console.get_by_role("button", name="Filter").click()
    assert f"merchant_code={shop.code}" in console.url
    expect(console.locator("tbody tr")).to_have_count(1)
    expect(console.locator("tbody")).to_contain_text(shop.late["id"])
    open_page.guard(console).expect("does not conform to the required format")
    console.goto("/admin/orders?created_from=tomorrow", wait_until="load")
    expect(console.get_by_role("alert")).to_contain_text("is not a time")


def test_the_overview_answers_and_leads_on(console: Page, shop: Shop) -> None:
    def counted() -> bool:
        console.goto("/admin/overview")
        return "¥0.00" not in console.locator(".big").first.inner_text()

    wait_until(counted, seconds=60, what="the first count")
    expect(console.locator("[data-chart] canvas")).to_have_count(2)
    console.locator("summary", has_text="Show as a table").click()
    expect(console.get_by_role("region", name="Show as a table").locator("tbody tr")).to_have_count(
        48
    )
    console.get_by_role("link", name="Is anything stuck?").click()
    expect(console.locator("tbody")).to_contain_text(shop.late["id"])


def test_the_money_of_a_day_leads_to_the_orders_of_that_day(console: Page) -> None:
    console.goto("/admin/overview")
    console.get_by_role("link", name="Is money flowing?").click()
    expect(console.get_by_label("Status")).to_have_value("SUCCEEDED")
    began = datetime.fromisoformat(console.get_by_label("Created from").input_value())
    age = datetime.now(ZONE).replace(tzinfo=None) - began
    assert timedelta(hours=23) <= age < timedelta(hours=25)


@pytest.mark.parametrize("width", [360, 390])
def test_the_overview_hides_no_figure_on_a_phone(
    stack: Stack, shop: Shop, open_page: Windows, width: int
) -> None:
    page = open_page(
        language="en", viewport={"width": width, "height": 740}, cookies=cookies_of(stack)
    )

    def is_counted() -> bool:
        page.goto("/admin/overview")
        return (
            page.locator(".table tbody tr").count() > 0
            and page.get_by_role("region", name="Lost-callback meter").count() == 1
        )

    wait_until(is_counted, seconds=60, what="the first count")
    for table in page.locator(".table:visible").all():
        hidden = table.evaluate("table => table.scrollWidth - table.clientWidth")
        assert (table.get_attribute("aria-label"), hidden) == (
            table.get_attribute("aria-label"),
            0,
        )


def test_why_is_it_not_paid(console: Page, shop: Shop) -> None:
    console.goto(f"/admin/orders/{shop.waiting['id']}")
    box = console.locator("section.notice")
    expect(box).to_contain_text("Why is it not paid?")
    expect(box).to_contain_text("it can be paid until")
    expect(console.get_by_role("button", name="Refund")).to_be_disabled()
    expect(console.get_by_text("It is not paid")).to_be_visible()
    console.get_by_role("button", name="Ask the provider").click()
    expect(console.get_by_text("The provider was asked; the order is: Pending.")).to_be_visible()
    expect(box).to_contain_text("The provider's last answer")


def test_an_order_is_refunded_once_with_a_reason(
    console: Page, shop: Shop, open_page: Windows
) -> None:
    open_page.guard(console).expect("status of 422")
    console.goto(f"/admin/orders/{shop.paid['id']}")
    console.get_by_role("button", name="Refund", exact=True).click()
    dialog = console.get_by_role("dialog")
    dialog.get_by_label("Amount in yuan").fill("999")
    dialog.get_by_label("Reason").fill("came broken")
    dialog.get_by_role("button", name="Refund").click()
    expect(console.get_by_role("dialog")).to_contain_text("exceeds")
    dialog.get_by_label("Amount in yuan").fill("8.10")
    dialog.get_by_role("button", name="Refund").click()
    expect(console.get_by_text("The refund is sent")).to_be_visible()
    expect(console.locator(".timeline")).to_contain_text("operator admin@example.com")
    expect(console.locator(".timeline")).to_contain_text(re.compile(r"refund: rf_\w+ \(¥8\.10\)"))
    console.goto(f"/admin/refunds?merchant_code={shop.code}")
    expect(console.locator("tbody tr")).to_have_count(1)
    expect(console.locator("tbody")).to_contain_text("came broken")


def test_a_filter_that_cannot_be_used_stays_in_the_form(
    console: Page, shop: Shop, open_page: Windows
) -> None:
    open_page.guard(console).expect("400")
    console.goto(f"/admin/orders?merchant_code={shop.code}&amount=abc")
    expect(console.get_by_role("alert")).to_contain_text("INVALID_AMOUNT")
    expect(console.get_by_label("Merchant", exact=True)).to_have_value(shop.code)
    console.get_by_label("Amount").fill("¥1,234.50")
    console.get_by_role("button", name="Filter").click()
    expect(console.locator("tbody tr")).to_have_count(1)
    expect(console.locator("tbody")).to_contain_text(shop.waiting["id"])
    console.get_by_role("link", name="Clear").click()
    expect(console).to_have_url(re.compile("/admin/orders$"))


def test_a_delivery_shows_each_attempt_and_is_sent_again(console: Page, shop: Shop) -> None:
    console.goto(f"/admin/orders/{shop.paid['id']}")
    console.get_by_role("link", name="Order update").first.click()
    expect(console.locator("article.card")).to_have_count(2)
    expect(console.locator("article.card").last).to_contain_text("500")
    console.locator("summary", has_text="Request headers").first.click()
    expect(console.locator("article.card").first).to_contain_text("x-novapay-signature")
    before = len(shop.receiver.about(shop.paid["id"]))
    console.get_by_role("button", name="Send callback").click()
    console.get_by_role("dialog").get_by_role("button", name="Send callback").click()
    expect(console.get_by_text("The merchant has accepted it.")).to_be_visible()
    assert len(shop.receiver.about(shop.paid["id"])) == before + 1


def test_the_file_holds_what_the_list_holds_and_no_formula(console: Page, shop: Shop) -> None:
    console.goto(f"/admin/orders?merchant_code={shop.code}")
    with console.expect_download() as started:
        console.get_by_role("button", name="Export CSV").click()
    text = started.value.path().read_text("utf-8-sig")
    rows = {row["Order id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert {shop.paid["id"], shop.waiting["id"], shop.late["id"]} <= set(rows)
    assert rows[shop.waiting["id"]]["Subject"] == "'=1+1"
    assert rows[shop.paid["id"]]["Amount"] == "88.10"


def test_what_is_wrong_with_an_order_stands_above_everything_else(
    stack: Stack, console: Page, shop: Shop, open_page: Windows
) -> None:
    cookies = {COOKIE: new_member(stack, shop.code).token}
    merchants = open_page(language="en", cookies=cookies)
    for page, prefix in ((console, "/admin"), (merchants, "/merchant")):
        page.goto(f"{prefix}/orders/{shop.twice['id']}")
        notice = page.locator(".notice").first
        expect(notice).to_have_class("notice bad")
        expect(notice).to_contain_text("A second payment on one order.")
        expect(notice).to_contain_text("Provider's number of the second payment: second")
        page.goto(f"{prefix}/orders/{shop.paid['id']}")
        expect(page.locator(".notice.bad")).to_have_count(0)
    merchants.goto(f"/merchant/orders/{shop.twice['id']}")
    expect(merchants.locator(".notice.bad a")).to_have_count(0)
    console.goto(f"/admin/orders/{shop.twice['id']}")
    console.locator(".notice.bad").get_by_role("link", name="See the anomalies").click()
    expect(console.locator("tbody tr")).to_have_count(1)
    expect(console.locator("tbody")).to_contain_text(shop.twice["id"])


def test_an_anomaly_is_put_away_with_a_note(console: Page, shop: Shop) -> None:
    console.goto(f"/admin/anomalies?merchant_code={shop.code}")
    row = console.locator("tbody tr", has_text=shop.late["id"])
    row.get_by_role("button", name="Put away").click()
    dialog = console.get_by_role("dialog")
    dialog.get_by_label("What was done").fill("asked the merchant: delivered")
    dialog.get_by_role("button", name="Put away").click()
    expect(console.get_by_text("It is put away.")).to_be_visible()
    console.get_by_role("link", name="Put away").click()
    expect(console.locator("tbody")).to_contain_text("asked the merchant: delivered")
    console.goto(f"/admin/orders/{shop.late['id']}")
    expect(console.locator(".notice.bad")).to_have_count(0)


def test_a_viewer_sees_everything_and_can_do_nothing(
    stack: Stack, shop: Shop, open_page: Windows
) -> None:
    email, password = (
        f"{secrets.token_hex(4)}@example.com",
        "test-only password 2",
    )  # a test password
    stack.cli("admins", "create", "--email", email, "--role", "VIEWER", stdin=password)
    page = open_page(language="en", cookies=cookies_of(stack, email=email, password=password))
    page.goto(f"/admin/orders/{shop.paid['id']}")
    expect(page.locator(".doings")).to_be_empty()
    page.goto("/admin/anomalies")
    expect(page.get_by_role("button", name="Put away")).to_have_count(0)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_cell_that_a_spreadsheet_would_calculate_is_text(cell: str) -> None:
    assert csv_file.line([cell, "a,b"]).decode().startswith(("'", "\"'"))
    assert csv_file.line(["a=b"]) == b"a=b\r\n"
