"""The whole story in a browser, in Chinese with WeChat Pay and in English with Alipay.

A stranger registers a merchant, an operator approves it, the merchant adds an account and a key and sends a signed
order, a payer pays on a phone, the merchant is told and refunds half, the operator sees it all.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from admin.texts import text
from tests.browser.fixtures import PHONE, Language, Windows
from tests.payer import Payer
from tests.stack import AdminSession, Merchant, Receiver, Stack, wait_until

PASSWORD = "long enough for an owner 1"  # a test password
AMOUNT, HALF = "88.10", "44.05"


@dataclass
class Story:
    """Who takes part, and what they have learnt so far."""

    stack: Stack
    open_page: Windows
    language: Language
    channel: str
    name: str
    merchant_page: Page
    operator_page: Page

    @property
    def t(self) -> Callable[..., str]:
        """A text of the consoles, by key."""
        return partial(text, self.language)


@pytest.mark.parametrize(
    ("language", "channel"), [("zh-CN", "wxpay.native"), ("en", "alipay.page")], ids=["zh", "en"]
)
def test_from_a_stranger_to_a_refund(
    open_page: Windows,
    stack: Stack,
    admin: AdminSession,
    configurations: dict[str, dict[str, Any]],
    language: Language,
    channel: str,
) -> None:
    name, _, value = admin.cookie.partition("=")
    story = Story(
        stack,
        open_page,
        language,
        channel,
        f"茶舍 {secrets.token_hex(3)}",
        open_page(language=language),
        open_page(language=language, cookies={name: value}),
    )
    paid_before = paid_last_day(story)
    register(story)
    code = approve(story)
    add_account(story, configurations[channel])
    shop = create_key(story, code)
    with Receiver() as receiver:
        order = shop.create_order(
            channel, AMOUNT, subject="明前龙井", callbackUrl=receiver.url
        ).json["order"]
        pay(story, order, Payer(stack, {}))
        wait_until(lambda: receiver.about(order["id"]), what="the merchant to be told")
    see_the_delivery_and_refund_half(story, order)
    see_it_all(story, order)
    wait_until(lambda: paid_last_day(story) != paid_before, seconds=60, what="the chart to move")


def press(page: Page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).first.click()


def register(story: Story) -> None:
    page, t = story.merchant_page, story.t
    email = f"{secrets.token_hex(4)}@tea.example"
    page.goto("/merchant/register")
    page.locator("[name=name]").fill(story.name)
    page.locator("[name=legalName]").fill("山间茶舍贸易有限公司")
    page.locator("[name=companyRegistrationId]").fill("91330100MA00000000")
    page.locator("[name=contactName]").fill("林青")
    page.locator("[name=contactPhone]").fill("+86 571 0000 0000")
    page.locator("[name=email]").fill(email)
    page.locator("[name=password]").fill(PASSWORD)
    press(page, t("merchant.register"))
    page.wait_for_url("**/merchant/sign-in")
    page.locator("[name=email]").fill(email)
    page.locator("[name=password]").fill(PASSWORD)
    press(page, t("frame.sign_in"))
    expect(page.get_by_text(t("merchant.status_PENDING"))).to_be_visible()


def approve(story: Story) -> str:
    """As an operator, who finds the merchant by its name; the merchant's code."""
    page, t = story.operator_page, story.t
    page.goto("/admin/merchants?status=PENDING")
    page.get_by_role("link", name=story.name).click()
    page.wait_for_url("**/admin/merchants/*")
    code = page.url.rpartition("/")[2]
    press(page, t("merchants.approve"))
    press_in_dialog(page, t("merchants.approve"))
    expect(page.get_by_role("status").first).to_contain_text(t("merchants.approve_done"))
    return code


def press_in_dialog(page: Page, label: str) -> None:
    page.locator("dialog[open]").get_by_role("button", name=label, exact=True).click()


def add_account(story: Story, configuration: dict[str, Any]) -> None:
    """As the merchant; the channel doctor finds nothing wrong."""
    page, t = story.merchant_page, story.t
    page.goto(f"/merchant/accounts/new/{story.channel}")
    for name, value in configuration.items():
        given = "\n".join(value) if isinstance(value, list) else value
        page.locator(f"[name='config.{name}']").fill(given)
    press(page, t("accounts.save_and_check"))
    expect(page.locator(".findings > li").first).to_be_visible()
    expect(page.locator(".findings .badge.bad")).to_have_count(0)


def create_key(story: Story, code: str) -> Merchant:
    """As the merchant, who copies what is shown once."""
    page, t = story.merchant_page, story.t
    page.goto("/merchant/credentials")
    press(page, t("credentials.create"))
    press_in_dialog(page, t("credentials.create"))
    key_id, secret = page.locator(".notice code").all_inner_texts()
    return Merchant(story.stack.http, code, key_id, secret)


def pay(story: Story, order: dict[str, Any], payer: Payer) -> None:
    """On a phone: the page turns to paid without being loaded again."""
    page = story.open_page(order["hostedCheckoutUrl"], language=story.language, viewport=PHONE)
    waiting, paid = ("等待付款", "支付成功") if story.language == "zh-CN" else (
        "Waiting for payment", "Paid",
    )  # fmt: skip
    expect(page.get_by_role("status")).to_have_text(waiting)
    page.evaluate("window.notLoadedAgain = true")
    if story.channel == "wxpay.native":
        payer.pay(order)  # another phone scans the code
    else:
        pay_at_the_wallet(story, page)
    expect(page.get_by_role("status")).to_have_text(paid)
    assert page.evaluate("window.notLoadedAgain") is True


def pay_at_the_wallet(story: Story, page: Page) -> None:
    """In a second window, which comes back to our result page."""
    address = page.get_by_role("link", name="Pay with Alipay").get_attribute("href")
    wallet = story.open_page(language=story.language, viewport=PHONE)
    guard = story.open_page.guard(wallet)
    guard.own(story.stack.sandbox_base)
    guard.expect(story.stack.sandbox_base)  # the sandbox has no icon
    wallet.goto(address or "")
    wallet.get_by_role("button", name="Pay", exact=False).first.click()
    wallet.wait_for_url("**/pay/*/return?**")
    expect(wallet.get_by_role("status")).to_have_text("Paid")


def see_the_delivery_and_refund_half(story: Story, order: dict[str, Any]) -> None:
    """As the merchant: the callback was delivered at the first attempt; then money goes back."""
    page, t = story.merchant_page, story.t
    page.goto(f"/merchant/orders/{order['id']}")
    page.get_by_role("link", name=t("cause.payment_order_updated")).first.click()
    page.wait_for_url("**/merchant/deliveries/*")
    expect(page.get_by_text(t("status.DELIVERED")).first).to_be_visible()
    expect(page.locator("article.card")).to_have_count(1)
    page.goto(f"/merchant/orders/{order['id']}")
    press(page, t("orders.refund"))
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=amount]").fill(HALF)
    dialog.locator("[name=reason]").fill("one was broken")
    press_in_dialog(page, t("orders.refund"))
    expect(page.get_by_role("status").first).to_be_visible()
    expect(page.get_by_role("region", name=t("nav.refunds"))).to_contain_text(f"¥{HALF}")


def see_it_all(story: Story, order: dict[str, Any]) -> None:
    """The operator's page of the order tells of the payment and of the refund."""
    page, t = story.operator_page, story.t
    page.goto(f"/admin/orders/{order['id']}")
    expect(page.locator(".big").first).to_contain_text("¥88.10")
    expect(page.locator(".big").first).to_contain_text(t("status.SUCCEEDED"))
    expect(page.get_by_role("region", name=t("nav.refunds"))).to_contain_text("¥44.05")
    assert page.locator(".timeline > li").count() >= 4


def paid_last_day(story: Story) -> str:
    """The amount in the first tile of the overview."""
    story.operator_page.goto("/admin/overview")
    return story.operator_page.locator(".big").first.inner_text()
