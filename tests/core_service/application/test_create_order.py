"""Creating orders: both kinds of channel, repeats, conflicts, and every answer of a provider."""

from typing import Any

import pytest

from core_service.storage.database import database, fetch_all
from tests.core_service.fake_provider import refuse, then_do, unknown_after, unknown_before
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Shop,
    at_once,
    count,
    events_of,
    reason_of,
    refusal_of,
)

HURRIED = 2.5
"""Too little time to wait for another request that may be calling the provider."""
BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


@BOTH
def test_a_new_order(shop: Shop, channel: str) -> None:
    made = shop.ask_create(channel, "a-1", amount="88.1", metadata='{"n": 1.10}').result
    order = shop.order(made.view.order.id)
    assert made.created
    assert made.view.order == order, "what is answered is what is stored"
    assert (order.status, order.amount_fen, order.metadata) == ("PENDING", 8810, '{"n": 1.10}')
    assert order.checkout_url == f"https://cashier.example/{order.id}"
    assert order.payment_mode == {LOCAL: "redirect", REMOTE: "qr_code"}[channel]
    assert events_of(order.id) == [("create", None, "PENDING")]
    assert order.ask_at is not None
    assert shop.books.calls("create", order.id) == 1


@BOTH
def test_the_same_order_again_is_found(shop: Shop, channel: str) -> None:
    first = shop.ask_create(channel, "a-1").result
    again = shop.ask_create(channel, "a-1", subject="Coffee").result
    assert (again.created, again.view.order) == (False, first.view.order)
    assert count("payment_orders") == 1
    # A channel that signs locally signs before it knows; the other is not called again.
    assert shop.books.calls("create", first.view.order.id) == 1


@BOTH
def test_another_amount_or_channel_is_a_conflict(shop: Shop, channel: str) -> None:
    shop.create(channel, "a-1")
    other = {LOCAL: REMOTE, REMOTE: LOCAL}[channel]
    assert (
        refusal_of(lambda: shop.ask_create(channel, "a-1", amount="30.01"))
        == "ORDER_AMOUNT_CONFLICT"
    )
    assert refusal_of(lambda: shop.ask_create(other, "a-1")) == "ORDER_CHANNEL_CONFLICT"
    assert count("payment_orders") == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"amount": "1.005"}, "INVALID_AMOUNT"),
        ({"channel": "stripe.card"}, "UNSUPPORTED_CHANNEL"),
        ({"callback_url": "http://10.0.0.1/"}, "CALLBACK_URL_FORBIDDEN"),
        ({"callback_url": "ftp://example.com/"}, "INVALID_REQUEST"),
        ({"return_url": "javascript:alert(1)"}, "INVALID_REQUEST"),
    ],
)
def test_v18_a_refused_request_leaves_no_order(
    shop: Shop, fields: dict[str, Any], reason: str
) -> None:
    assert refusal_of(lambda: shop.ask_create(**fields, key="k")) == reason
    assert count("payment_orders") == 0


@BOTH
def test_a_nonce_is_spent_by_a_refused_request_too(shop: Shop, channel: str) -> None:
    shop.create(channel, "a-1")
    call = shop.call(nonce="nonce-0001")
    assert (
        refusal_of(lambda: shop.ask_create(channel, "a-1", amount="1", call=call))
        == "ORDER_AMOUNT_CONFLICT"
    )
    again = shop.call(nonce="nonce-0001")
    assert refusal_of(lambda: shop.ask_create(channel, "a-2", call=again)) == "NONCE_REPLAYED"
    assert count("payment_orders") == 1


@pytest.mark.parametrize("key", [None, "k-2"])
def test_a01_a_broken_connection_lets_no_second_request_with_a_nonce_pass(
    shop: Shop, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.ask_create(LOCAL, "a-1", call=shop.call(nonce="nonce-0001"))
    again = shop.call(key, nonce="nonce-0001")
    real = database.execute_sql

    def break_at_the_order(sql: str, parameters: Any = None) -> Any:
        if isinstance(parameters, dict) and "external_order_id" in parameters:
            database.connection().close()
        return real(sql, parameters)

    monkeypatch.setattr(database, "execute_sql", break_at_the_order)
    refusal = refusal_of(lambda: shop.ask_create(LOCAL, "a-2", call=again))
    assert refusal == "DATABASE_UNAVAILABLE"
    assert count("payment_orders") == 1


@pytest.mark.parametrize("is_committed", [True, False])
def test_a01_a_nonce_found_spent_after_a_lost_commit_is_not_taken_for_ones_own(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, *, is_committed: bool
) -> None:
    """The transaction is gone, and before anybody looked another request with the nonce has passed."""
    mine, theirs = (shop.call(nonce="nonce-0001") for _ in range(2))
    real = database.commit

    def lose_the_answer() -> Any:
        monkeypatch.setattr(database, "commit", real)
        if is_committed:
            real()
            database.connection().close()
        else:
            database.connection().close()
            (passed,) = at_once(1, lambda _: shop.ask_create(REMOTE, "a-1", call=theirs))
            assert reason_of(passed) == "OK"
        return real()

    monkeypatch.setattr(database, "commit", lose_the_answer)
    refusal = refusal_of(lambda: shop.ask_create(REMOTE, "a-2", call=mine))
    assert refusal == ("OK" if is_committed else "DATABASE_UNAVAILABLE")
    assert count("payment_orders") == 1


@pytest.mark.parametrize("reason", ["PROVIDER_TIMEOUT", "PROVIDER_UNAVAILABLE"])
@pytest.mark.parametrize("had_effect", [True, False])
@pytest.mark.parametrize("key", [None, "k-1"])
def test_p01_p02_p03_an_answer_that_never_comes(
    shop: Shop, reason: str, key: str | None, *, had_effect: bool
) -> None:
    fault = unknown_after(reason) if had_effect else unknown_before(reason)
    shop.providers[REMOTE].script("create", fault)
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1", key=key)) == reason
    (row,) = fetch_all("SELECT id, status, checkout_url FROM payment_orders")
    assert (row["status"], row["checkout_url"]) == ("PENDING", None)
    again = shop.ask_create(
        REMOTE, "a-1", key=key, call=shop.call(key, seconds=HURRIED)
    ).result.view.order
    assert (again.id, again.status) == (row["id"], "PENDING")
    assert again.checkout_url is not None
    assert shop.books.calls("query", again.id) == 1, "the provider is asked before it is told again"


def test_p01_the_lost_order_was_paid_before_the_retry(shop: Shop) -> None:
    shop.providers[REMOTE].script("create", unknown_after())
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1", key="k")) == "PROVIDER_TIMEOUT"
    (row,) = fetch_all("SELECT id FROM payment_orders")
    assert shop.books.pay(row["id"])
    again = shop.ask_create(
        REMOTE, "a-1", key="k", call=shop.call("k", seconds=HURRIED)
    ).result.view.order
    assert (again.id, again.status) == (row["id"], "SUCCEEDED")
    assert shop.books.calls("create") == 1


@pytest.mark.parametrize("key", [None, "k-1"])
def test_p04_a_definite_no_fails_the_order_once(shop: Shop, key: str | None) -> None:
    shop.providers[REMOTE].script("create", refuse("NOAUTH", "not allowed"))
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1", key=key)) == "PROVIDER_ERROR"
    again = shop.ask_create(REMOTE, "a-1", key=key).result
    assert (again.created, again.view.order.status) == (False, "FAILED")
    assert (again.view.order.failure_code, again.view.order.failure_message) == (
        "NOAUTH",
        "not allowed",
    )
    assert events_of(again.view.order.id) == [
        ("create", None, "PENDING"),
        ("create", "PENDING", "FAILED"),
    ]
    assert count("deliveries") == 1


def test_p14_a_notification_before_the_answer_of_the_create_call(shop: Shop) -> None:
    def pay_and_tell() -> None:
        (row,) = fetch_all("SELECT id FROM payment_orders")
        assert shop.books.pay(row["id"])
        assert shop.notify(shop.order(row["id"])).status == 200

    shop.providers[REMOTE].script("create", then_do(pay_and_tell))
    order = shop.ask_create(REMOTE, "a-1").result.view.order
    assert (order.status, order.checkout_url is not None) == ("SUCCEEDED", True)


def test_p14_a_notification_before_a_refusal_of_the_create_call(shop: Shop) -> None:
    def pay_tell_and_refuse(effect: object) -> None:
        (row,) = fetch_all("SELECT id FROM payment_orders")
        assert shop.books.pay(row["id"], 3000)
        assert shop.notify(shop.order(row["id"])).status == 200
        refuse()(lambda: None)

    shop.providers[REMOTE].script("create", pay_tell_and_refuse)
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1")) == "PROVIDER_ERROR"
    (row,) = fetch_all("SELECT status FROM payment_orders")
    assert row["status"] == "SUCCEEDED"


def test_two_merchants_may_use_the_same_external_id(shop: Shop, other_shop: Shop) -> None:
    mine, theirs = shop.create(LOCAL, "a-1"), other_shop.create(LOCAL, "a-1", amount="5")
    assert mine.id != theirs.id
    assert refusal_of(lambda: shop.query(theirs.id)) == "ORDER_NOT_FOUND"


def test_a_long_return_address_is_reached_over_the_hosted_page(shop: Shop) -> None:
    order = shop.create(LOCAL, return_url="https://shop.example/" + "a" * 400)
    assert order.return_url is not None
    assert len(order.return_url) > 400
