"""The payer's page from waiting to the end, against the whole product and the sandbox's wallets."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import PHONE, Windows
from tests.payer import Payer
from tests.stack import Merchant, Stack, wait_until

MINUTES_UNTIL_EXPIRY = 30
ASK_SPACING_SECONDS = 2.9
"""Three, less what the clock of a claim and of an arrival may differ by."""


def state_line(page: Page) -> Any:
    """The live region: what a screen reader hears of."""
    return page.get_by_role("status")


def lines_of(element: Locator) -> int:
    """Lines that the text at its beginning takes up."""
    count = """node => {
        const range = document.createRange();
        range.selectNodeContents(node.firstChild);
        return range.getClientRects().length;
    }"""
    return int(element.evaluate(count))


def mark(page: Page) -> None:
    """Whoever finds the mark knows that the page was not loaded again."""
    page.evaluate("window.notLoadedAgain = true")


def was_loaded_again(page: Page) -> bool:
    return page.evaluate("window.notLoadedAgain") is not True


@pytest.mark.parametrize("channel", ["alipay.page", "wxpay.native"])
def test_the_page_turns_to_paid_by_itself(
    open_page: Windows, merchant: Merchant, payer: Payer, channel: str
) -> None:
    order = merchant.create_order(channel).json["order"]
    page = open_page(order["hostedCheckoutUrl"], language="en", viewport=PHONE)
    expect(state_line(page)).to_have_text("Waiting for payment")
    mark(page)
    payer.pay(order)
    expect(state_line(page)).to_have_text("Paid")
    expect(page).to_have_title("Paid · 测试商店")
    assert not was_loaded_again(page)
    assert page.locator(".code, #pay .button").count() == 0
    check_accessibility(page)
    page.reload()
    expect(state_line(page)).to_have_text("Paid")


def test_paid_returns_to_the_merchant_and_nowhere_else(
    open_page: Windows, merchant: Merchant, payer: Payer, stack: Stack
) -> None:
    back = f"{stack.base}/docs?order=7&done=yes"
    order = merchant.create_order("wxpay.native", returnUrl=back).json["order"]
    page = open_page(f"{order['hostedCheckoutUrl']}/return?return_url=http://evil.example&lang=en")
    expect(state_line(page)).to_have_text("Confirming your payment")
    payer.pay(order)
    expect(page.get_by_role("link", name="Back to the merchant")).to_have_attribute("href", back)
    expect(page.get_by_text("seconds until you return to the merchant")).to_be_visible()
    page.wait_for_url(back)


def test_a_forged_return_shows_nothing_paid(open_page: Windows, merchant: Merchant) -> None:
    order = merchant.create_order("alipay.page").json["order"]
    forged = "/return?trade_status=TRADE_SUCCESS&total_amount=88.10&out_trade_no=1&sign=x&lang=en"
    page = open_page(order["hostedCheckoutUrl"] + forged)
    with page.expect_response("**/events"):
        page.reload()
    expect(state_line(page)).to_have_text("Confirming your payment")
    assert page.locator("main").get_attribute("data-state") == "CONFIRMING"


def test_a_code_dies_with_the_countdown(open_page: Windows, merchant: Merchant) -> None:
    order = merchant.create_order("wxpay.native").json["order"]
    page = open_page(language="en")
    page.clock.install()
    page.goto(order["hostedCheckoutUrl"])
    code = page.get_by_role("img", name="Payment code")
    expect(code).to_be_visible()
    expect(page.get_by_role("timer")).to_contain_text("Time left 29:")
    page.clock.fast_forward(MINUTES_UNTIL_EXPIRY * 60 * 1000)
    expect(state_line(page)).to_have_text("Order expired")
    assert page.locator(".code > *").evaluate("node => getComputedStyle(node).opacity") == "0.06"


def test_without_events_the_page_asks_by_itself(
    open_page: Windows, merchant: Merchant, payer: Payer
) -> None:
    order = merchant.create_order("wxpay.native").json["order"]
    page = open_page(language="en")
    open_page.guard(page).expect("503")
    page.route("**/events", lambda route: route.fulfill(status=503))
    page.goto(order["hostedCheckoutUrl"])
    mark(page)
    payer.pay(order)
    expect(state_line(page)).to_have_text("Paid")
    assert not was_loaded_again(page)


def test_without_scripts_the_page_loads_itself_again(
    open_page: Windows, merchant: Merchant, payer: Payer
) -> None:
    order = merchant.create_order("wxpay.native").json["order"]
    page = open_page(order["hostedCheckoutUrl"], language="en", javascript=False)
    expect(page.get_by_role("img", name="Payment code")).to_be_visible()
    expect(state_line(page)).to_have_text("Waiting for payment")
    payer.pay(order)
    expect(state_line(page)).to_have_text("Paid")


def test_a_stream_that_breaks_is_taken_up_again(
    open_page: Windows, merchant: Merchant, payer: Payer
) -> None:
    order = merchant.create_order("wxpay.native").json["order"]
    page = open_page(language="en")
    broken = []

    def break_once(route: Route) -> None:
        broken.append(route.request.url)
        if len(broken) > 1:
            route.continue_()
        else:
            body = "retry: 100\nevent: state\ndata: WAITING 0.00 payable\n\n"
            route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/events", break_once)
    page.goto(order["hostedCheckoutUrl"])
    payer.pay(order)
    expect(state_line(page)).to_have_text("Paid")
    assert len(broken) > 1


def test_closed_and_refunded_orders_say_so(
    open_page: Windows, merchant: Merchant, payer: Payer
) -> None:
    closed = merchant.create_order("wxpay.native").json["order"]
    page = open_page(closed["hostedCheckoutUrl"], language="en")
    mark(page)
    assert merchant.post(f"/api/payment-orders/{closed['id']}/close", {}).status == 200
    expect(state_line(page)).to_have_text("Order closed")
    expect(page.get_by_text("If you have just paid, the result will appear here")).to_be_visible()
    assert not was_loaded_again(page)

    paid = payer.paid_alipay(merchant, "12.00")
    for amount, text in (("4.00", "Partly refunded"), ("8.00", "Refunded")):
        assert merchant.refund(paid["id"], amount).status == 200
        page.goto(paid["hostedCheckoutUrl"])
        expect(state_line(page)).to_have_text(text)
        check_accessibility(page)
    expect(page.get_by_text("¥12.00").last).to_be_visible()


def test_an_unknown_order_is_a_page_too(open_page: Windows) -> None:
    page = open_page(language="en")
    open_page.guard(page).expect("status of 404")
    page.goto("/pay/po_nothing")
    expect(page.get_by_role("heading")).to_have_text("There is no such order")
    check_accessibility(page)
    check_fits(page)
    for width in (320, 360, 1280):
        page = open_page(viewport={"width": width, "height": 740})
        open_page.guard(page).expect("status of 404")
        page.goto("/pay/po_nothing")
        expect(page.locator(".hint").last).to_contain_text("请求编号")
        assert lines_of(page.locator(".hint").last) == 1


def test_the_largest_amount_is_one_line_on_the_narrowest_phone(
    open_page: Windows, merchant: Merchant
) -> None:
    order = merchant.create_order("wxpay.native", "100000000.00").json["order"]
    for width in (320, 360, 1280):
        page = open_page(order["hostedCheckoutUrl"], viewport={"width": width, "height": 740})
        amount = page.locator(".amount")
        expect(amount).to_have_text("¥100,000,000.00")
        assert lines_of(amount) == 1
        assert amount.evaluate("node => node.scrollWidth <= node.clientWidth")
        check_fits(page)


def test_the_language_can_be_switched(open_page: Windows, merchant: Merchant) -> None:
    order = merchant.create_order("wxpay.native").json["order"]
    page = open_page(order["hostedCheckoutUrl"])
    expect(state_line(page)).to_have_text("等待付款")
    page.get_by_role("link", name="English").click()
    expect(state_line(page)).to_have_text("Waiting for payment")
    page.get_by_role("link", name="中文").click()
    expect(state_line(page)).to_have_text("等待付款")


def test_many_pages_do_not_make_the_provider_busy(
    open_page: Windows, merchant: Merchant, payer: Payer
) -> None:
    """Questions are three seconds apart, however many pages look."""
    order = merchant.create_order("wxpay.native").json["order"]
    pages = [open_page(order["hostedCheckoutUrl"], language="en") for _ in range(8)]

    def asked_three_times() -> bool:
        for page in pages:
            page.reload()
        return len(payer.calls(order["id"], "query")) >= 3

    wait_until(asked_three_times, seconds=60, what="three questions")
    calls = payer.calls(order["id"], "query")
    moments = sorted(datetime.fromisoformat(call["at"]).timestamp() for call in calls)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert min(pauses) >= ASK_SPACING_SECONDS, pauses
