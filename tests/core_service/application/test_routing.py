"""Which account takes an order, with which limits and fee."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.storage.database import execute
from tests.core_service.shop import LOCAL, TOKEN, Shop, bind, count, refusal_of
from tests.factories import TestMerchant, make_account


def change(statement: str, *parameters: Any) -> None:
    execute(statement, parameters)
    execute("UPDATE merchants SET version = version + 1")


def newer_account(shop: Shop, **columns: Any) -> str:
    merchant = TestMerchant(shop.merchant_id, "", "")
    at = datetime.now(UTC) + timedelta(seconds=5)
    made = make_account(
        merchant, channel_code=LOCAL, callback_token=TOKEN, created_at=at, **columns
    )
    change("SELECT 1")
    return made


def test_without_a_binding_the_newest_enabled_account_without_a_fee(shop: Shop) -> None:
    newest = newer_account(shop)
    order = shop.create(LOCAL)
    assert (order.account_id, order.fee_fen) == (newest, 0)
    change("UPDATE channel_accounts SET enabled = false WHERE id = %s", newest)
    assert shop.create(LOCAL).account_id == shop.accounts[LOCAL]


def test_a_binding_names_account_limits_and_fee(shop: Shop) -> None:
    newer_account(shop)
    bind(
        shop,
        LOCAL,
        account_id=shop.accounts[LOCAL],
        fee_rate="0.0060",
        min_amount_fen=100,
        max_amount_fen=5000,
    )
    order = shop.create(LOCAL, amount="1.00")
    assert (order.account_id, str(order.fee_rate), order.fee_fen) == (
        shop.accounts[LOCAL],
        "0.0060",
        1,
    )
    assert refusal_of(lambda: shop.create(LOCAL, amount="0.99")) == "AMOUNT_TOO_SMALL"
    assert shop.create(LOCAL, amount="50.00").fee_fen == 30
    assert refusal_of(lambda: shop.create(LOCAL, amount="50.01")) == "AMOUNT_TOO_LARGE"


def test_the_rate_at_creation_is_kept(shop: Shop) -> None:
    bind(shop, LOCAL, fee_rate="0.0100")
    order = shop.create(LOCAL, "a-1", amount="10.00")
    change("UPDATE bindings SET fee_rate = 0.02")
    assert shop.create(LOCAL, "a-1", amount="10.00").fee_fen == order.fee_fen == 10
    assert shop.create(LOCAL, amount="10.00").fee_fen == 20


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE bindings SET enabled = false", "CHANNEL_DISABLED"),
        ("UPDATE channel_accounts SET enabled = false", "ACCOUNT_DISABLED"),
        ("UPDATE bindings SET min_amount_fen = 3001", "AMOUNT_TOO_SMALL"),
        ("UPDATE bindings SET max_amount_fen = 2999", "AMOUNT_TOO_LARGE"),
    ],
)
def test_a_closed_way_refuses_new_orders_and_still_finds_old_ones(
    shop: Shop, statement: str, reason: str
) -> None:
    bind(shop, LOCAL, account_id=shop.accounts[LOCAL])
    order = shop.create(LOCAL, "a-1")
    change(statement)
    assert refusal_of(lambda: shop.create(LOCAL, "a-2")) == reason
    assert shop.create(LOCAL, "a-1").id == order.id
    assert count("payment_orders") == 1


def test_a_merchant_without_an_account(shop: Shop) -> None:
    execute("DELETE FROM channel_accounts WHERE channel_code = %s", (LOCAL,))
    change("SELECT 1")
    assert refusal_of(lambda: shop.create(LOCAL)) == "CHANNEL_NOT_CONFIGURED"


@pytest.mark.parametrize("status", ["PENDING", "REJECTED", "SUSPENDED"])
def test_a09_a_merchant_that_is_not_approved_can_still_query_close_and_refund(
    shop: Shop, status: str
) -> None:
    paid, unpaid = shop.paid(LOCAL), shop.create(LOCAL)
    late = shop.create(LOCAL)
    change("UPDATE merchants SET status = %s", status)
    assert refusal_of(lambda: shop.create(LOCAL)).startswith("MERCHANT_")
    assert refusal_of(lambda: shop.create(LOCAL, paid.external_order_id)).startswith("MERCHANT_")
    assert shop.query(paid.id).status == "SUCCEEDED"
    assert shop.ask_refund(paid.id).result.refund.status == "SUCCEEDED"
    assert shop.ask_close(unpaid.id).result.view.order.status == "CANCELLED"
    assert shop.books.pay(late.id, late.amount_fen)
    assert shop.notify(late).status == 200
    assert shop.order(late.id).status == "SUCCEEDED"


def test_an_incomplete_profile(shop: Shop) -> None:
    change("UPDATE merchants SET legal_name = NULL, contact_phone = ''")
    assert refusal_of(lambda: shop.create(LOCAL)) == "MERCHANT_PROFILE_INCOMPLETE"
