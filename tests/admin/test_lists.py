"""Lists of both consoles: the file of each, what a filter takes, and what an empty one says."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from admin import csv_file
from tests.merchant_people import COOKIE, new_member
from tests.payer import Payer
from tests.stack import AdminSession, Answer, Merchant, Receiver, Stack, wait_until
from tests.stack_fixtures import open_shop


@dataclass(frozen=True)
class Shop:
    """A merchant with one paid order, a part of which was refunded."""

    merchant: Merchant
    order: dict[str, Any]
    refund: dict[str, Any]
    staff: str
    """Cookie of its owner."""


@pytest.fixture(scope="module")
def shop(
    stack: Stack, configurations: dict[str, dict[str, object]], payer: Payer
) -> Iterator[Shop]:
    merchant = open_shop(stack, configurations)[0]
    with Receiver() as receiver:
        order = merchant.create_order("alipay.page", "1280.00", callbackUrl=receiver.url).json[
            "order"
        ]
        payer.pay(order)
        wait_until(
            lambda: merchant.order(order["id"])["callbackStatus"] == "DELIVERED", what="told"
        )
        refund = merchant.refund(order["id"], "80.00", reason="=2+2").json["refund"]
        staff = f"{COOKIE}={new_member(stack, merchant.code).token}"
        yield Shop(merchant, merchant.order(order["id"]), refund, staff)


@pytest.fixture
def looks(stack: Stack, shop: Shop, admin: AdminSession) -> dict[str, str]:
    """The cookie of each console."""
    return {"admin": admin.cookie, "merchant": shop.staff}


def look(stack: Stack, cookie: str, path: str) -> Answer:
    headers = {"cookie": cookie, "accept-language": "en"}
    return stack.http.request("GET", path, headers=headers)


def rows_of(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200
    return list(csv.DictReader(io.StringIO(answer.raw.decode("utf-8-sig"))))


@pytest.mark.parametrize("console", ["admin", "merchant"])
def test_every_list_about_money_has_its_file(
    stack: Stack, shop: Shop, looks: dict[str, str], console: str
) -> None:
    def file(name: str, query: str = "") -> list[dict[str, str]]:
        path = f"/{console}/{name}.csv?merchant_code={shop.merchant.code}{query}"
        return rows_of(look(stack, looks[console], path))

    (order,) = file("orders")
    assert (order["Order id"], order["Amount"]) == (shop.order["id"], "1280.00")
    assert order["Provider's number"] == f"'{shop.order['gatewayOrderId']}"
    (refund,) = file("refunds")
    assert (refund["Refund id"], refund["Order id"]) == (shop.refund["id"], shop.order["id"])
    assert (refund["Amount"], refund["Status"], refund["Reason"]) == ("80.00", "SUCCEEDED", "'=2+2")
    assert refund["Refunded"].endswith("+08:00")
    assert [] == file("refunds", "&status=FAILED")
    told = file("deliveries", "&event=payment.order.updated")[0]
    assert (told["Order id"], told["Status"], told["Tells"]) == (
        shop.order["id"],
        "DELIVERED",
        "SUCCEEDED",
    )
    assert [] == file("deliveries", "&status=FAILED")


@pytest.mark.parametrize("console", ["admin", "merchant"])
@pytest.mark.parametrize("name", ["orders", "refunds", "deliveries"])
def test_a_list_leads_to_its_file_with_its_filters(
    stack: Stack, looks: dict[str, str], console: str, name: str
) -> None:
    page = look(stack, looks[console], f"/{console}/{name}?status=FAILED&page_token=")
    assert f'href="/{console}/{name}.csv?status=FAILED"' in page.raw.decode()


def test_the_audit_log_has_its_file(stack: Stack, shop: Shop, looks: dict[str, str]) -> None:
    records = rows_of(look(stack, looks["admin"], "/admin/audit-log.csv?action=credential.create"))
    assert {"credential.create"} == {record["What"] for record in records}
    assert any(shop.merchant.key_id in record["Target"] for record in records)
    numbers = [int(record["Number"]) for record in records]
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("2026120122001410467793619001", "'2026120122001410467793619001"),
        ("1234567890123456", "'1234567890123456"),
        ("123456789012345", "123456789012345"),
        ("po_2026120122001410467793619001", "po_2026120122001410467793619001"),
    ],
)
def test_a_number_that_a_spreadsheet_would_round_is_text(cell: str, written: str) -> None:
    assert csv_file.line([cell]).decode() == f"{written}\r\n"


@pytest.mark.parametrize("amount", ["¥1,280.00", "￥1，280.00", "1,280.00", " 1 280.00", "1280"])
def test_an_amount_is_found_as_it_is_shown(
    stack: Stack, shop: Shop, looks: dict[str, str], amount: str
) -> None:
    query = urlencode({"merchant_code": shop.merchant.code, "amount": amount})
    page = look(stack, looks["admin"], f"/admin/orders?{query}")
    assert (page.status, shop.order["id"] in page.raw.decode()) == (200, True)


@pytest.mark.parametrize(
    ("path", "status", "kept"),
    [
        ("orders?merchant_code=tea&status=BREWING", 400, "tea"),
        ("refunds?merchant_code=tea&created_from=noon", 400, "tea"),
        ("deliveries?merchant_code=tea&status=BREWING", 400, "tea"),
        ("audit-log?actor=me&page_token=x", 400, "me"),
        ("orders?merchant_code=nobody-like-this&amount=12", 404, "12"),
        ("anomalies?merchant_code=nobody-like-this", 404, "nobody-like-this"),
    ],
)
def test_a_refused_filter_keeps_the_list_and_its_form(
    stack: Stack, looks: dict[str, str], path: str, status: int, kept: str
) -> None:
    page = look(stack, looks["admin"], f"/admin/{path}")
    shown = page.raw.decode()
    assert (page.status, 'role="alert"' in shown) == (status, True)
    assert f'value="{kept}"' in shown


@pytest.mark.parametrize("name", ["orders", "refunds", "deliveries", "anomalies", "merchants"])
def test_a_list_without_what_was_asked_for_does_not_say_that_it_is_empty(
    stack: Stack, shop: Shop, looks: dict[str, str], name: str
) -> None:
    filters = {"anomalies": "kind=REFUND_STUCK", "merchants": "q=nobody-like-this"}
    query = f"merchant_code={shop.merchant.code}&{filters.get(name, 'status=FAILED')}"
    page = look(stack, looks["admin"], f"/admin/{name}?{query}")
    assert (page.status, "Nothing fits the filters." in page.raw.decode()) == (200, True)


def test_what_was_done_is_chosen_by_its_name(stack: Stack, looks: dict[str, str]) -> None:
    page = look(stack, looks["admin"], "/admin/audit-log?action=credential.create").raw.decode()
    assert '<option value="credential.create" selected>Create credential</option>' in page
    assert "Who (whole e-mail address)" in page


def test_any_number_leads_to_its_own_page(stack: Stack, shop: Shop, looks: dict[str, str]) -> None:
    code, key = shop.merchant.code, shop.merchant.key_id
    account = stack.accounts_of[code]["alipay.page"]["id"]
    order = shop.order["id"]
    places = {
        account: (f"/admin/merchants/{code}/accounts/{account}", f"/merchant/accounts/{account}"),
        key: (f"/admin/merchants/{code}/credentials", "/merchant/credentials"),
        code: (f"/admin/merchants/{code}", "/merchant/profile"),
        order: (f"/admin/orders/{order}", f"/merchant/orders/{order}"),
        shop.refund["id"]: (f"/admin/orders/{order}", f"/merchant/orders/{order}"),
    }
    for number, (of_operators, of_merchant) in places.items():
        # A spreadsheet or a phone may have changed the case of a number of ours; a merchant's code is its own.
        for written in {number, number if number == code else number.upper()}:
            asked = urlencode({"search": written})
            found = look(stack, looks["admin"], f"/admin/orders?{asked}")
            assert (found.status, found.headers["location"]) == (303, of_operators)
            found = look(stack, looks["merchant"], f"/merchant/orders?{asked}")
            assert (found.status, found.headers["location"]) == (303, of_merchant)
    for number in ("acc_nothing", "npk_nothing", "nothing", "n" * 128):
        for console, cookie in looks.items():
            assert look(stack, cookie, f"/{console}/orders?search={number}").status == 200
