"""Idempotency keys at the use cases: one effect and one answer for each merchant, operation and key."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core_service.errors import CoreError
from core_service.storage import idempotency as keys
from core_service.storage.database import execute, fetch_all, transact
from tests.core_service.fake_provider import Gate, refuse, unknown_after, unknown_before
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Answered,
    Shop,
    count,
    end_leases,
    in_background,
    reason_of,
    refusal_of,
)

BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


@BOTH
def test_v15_a_repeat_gets_the_same_bytes_and_nothing_runs(shop: Shop, channel: str) -> None:
    first = shop.ask_create(channel, "a-1", key="k")
    # What was answered stays answered, whatever becomes of the order.
    execute("UPDATE payment_orders SET provider_status = 'SOMETHING_ELSE'")
    again = shop.ask_create(channel, "a-1", key="k")
    assert (first.mark, again.mark) == ("created", "replayed")
    assert again.response == first.response
    assert count("payment_events") == 1


@pytest.mark.parametrize(
    "other", [{"amount": "30.01"}, {"channel": REMOTE}, {"subject": "Coffee"}, {"external": "a-2"},
              {"description": "d"}, {"return_url": "https://x.example/"}, {"metadata": '{"a": 2}'}],
)  # fmt: skip
def test_c04_the_key_with_another_request(shop: Shop, other: dict[str, str]) -> None:
    shop.ask_create(LOCAL, "a-1", key="k", metadata='{"a": 1}')
    call = shop.call("k")
    asked = {"channel": LOCAL, "external": "a-1", "metadata": '{"a": 1}', **other}
    assert refusal_of(lambda: shop.ask_create(**asked, call=call)) == "IDEMPOTENCY_CONFLICT"
    assert call.trailing["x-novapay-idempotency-status"] == "conflict"
    assert count("payment_orders") == 1


def test_c04_the_key_with_another_request_while_the_first_runs(shop: Shop) -> None:
    gate = Gate()
    shop.providers[REMOTE].script("create", gate)
    _, first = in_background(lambda: shop.ask_create(REMOTE, "a-1", key="k"))
    assert gate.reached.wait(10)
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-2", key="k")) == "IDEMPOTENCY_CONFLICT"
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1", key="k")) == "IDEMPOTENCY_IN_PROGRESS"
    gate.opened.set()
    assert reason_of(first()) == "OK"
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-2", key="k")) == "IDEMPOTENCY_CONFLICT"
    assert shop.ask_create(REMOTE, "a-1", key="k").mark == "replayed"


def test_the_meaning_of_metadata_counts_and_not_its_white_space(shop: Shop) -> None:
    first = shop.ask_create(LOCAL, "a-1", key="k", metadata='{"a": 1, "b": 2.0}')
    same = shop.ask_create(LOCAL, "a-1", key="k", metadata='{"b":2.0,"a":1}')
    assert (same.mark, same.response) == ("replayed", first.response)
    other = lambda: shop.ask_create(LOCAL, "a-1", key="k", metadata='{"b":2.00,"a":1}')  # noqa: E731
    assert refusal_of(other) == "IDEMPOTENCY_CONFLICT"


def test_c05_scope_is_merchant_operation_and_key(shop: Shop, other_shop: Shop) -> None:
    order = shop.ask_create(REMOTE, "a-1", key="k").result.view.order
    assert other_shop.ask_create(REMOTE, "a-1", key="k").mark == "created"
    assert shop.ask_close(order.id, key="k").mark == "created"
    paid = shop.paid()
    refund = shop.ask_refund(paid.id, key="k")
    assert (refund.mark, refund.result.created) == ("created", True)
    scopes = fetch_all("SELECT merchant_id, operation, key FROM idempotency_keys")
    assert len(scopes) == 4
    assert (
        shop.ask_refund(paid.id, external=refund.result.refund.external_refund_id, key="k").mark
        == "replayed"
    )


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "tab\t", "ü", "a\n"])
def test_i15_a_malformed_key(shop: Shop, key: str) -> None:
    assert refusal_of(lambda: shop.ask_create(key=key)) == "INVALID_IDEMPOTENCY_KEY"
    assert count("payment_orders") == 0


def test_i15_the_longest_key(shop: Shop) -> None:
    assert shop.ask_create(key="!" * 254 + "~").mark == "created"


def test_a_refusal_of_the_operation_is_stored_and_replayed(shop: Shop) -> None:
    shop.create(LOCAL, "a-1")
    with pytest.raises(CoreError) as first:
        shop.ask_create(LOCAL, "a-1", amount="5", key="k")
    call = shop.call("k")
    with pytest.raises(CoreError) as again:
        shop.ask_create(LOCAL, "a-1", amount="5", call=call)
    assert call.trailing["x-novapay-idempotency-status"] == "replayed"
    assert first.value.reason == again.value.reason == "ORDER_AMOUNT_CONFLICT"
    assert (first.value.message, first.value.details) == (again.value.message, again.value.details)


def test_a_stored_refusal_stands_although_the_reason_for_it_is_gone(shop: Shop) -> None:
    order = shop.create(REMOTE)
    assert (
        refusal_of(lambda: shop.ask_refund(order.id, key="k", external="r"))
        == "ORDER_NOT_REFUNDABLE"
    )
    shop.books.pay(order.id)
    shop.notify(order)
    assert (
        refusal_of(lambda: shop.ask_refund(order.id, key="k", external="r"))
        == "ORDER_NOT_REFUNDABLE"
    )
    assert shop.ask_refund(order.id, key="k2", external="r").mark == "created"


@pytest.mark.parametrize("fault", [unknown_before(), unknown_after(), refuse()])
def test_5xx_is_not_stored(shop: Shop, fault: object) -> None:
    shop.providers[REMOTE].script("create", fault)  # type: ignore[arg-type]
    call = shop.call("k")
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1", call=call)).startswith("PROVIDER_")
    retry = shop.ask_create(REMOTE, "a-1", call=shop.call("k", seconds=2.5))
    assert retry.mark == "created"
    assert shop.ask_create(REMOTE, "a-1", key="k").response == retry.response


@pytest.mark.parametrize("status", ["PENDING_REVIEW", "SUSPENDED"])
def test_a_merchant_that_may_not_create_spends_no_key(shop: Shop, status: str) -> None:
    execute(
        "UPDATE merchants SET status = %s, version = version + 1",
        (status.removesuffix("_REVIEW"),),
    )
    assert refusal_of(lambda: shop.ask_create(key="k")) == f"MERCHANT_{status}"
    execute("UPDATE merchants SET status = 'APPROVED', version = version + 1")
    assert shop.ask_create(key="k").mark == "created"


def test_a_dead_first_request_is_taken_over_after_its_lease(shop: Shop) -> None:
    gate = Gate()
    shop.providers[REMOTE].script("create", gate)
    _, stale = in_background(lambda: shop.ask_create(REMOTE, "a-1", key="k"))
    assert gate.reached.wait(10)
    assert refusal_of(lambda: shop.ask_create(REMOTE, "a-1", key="k")) == "IDEMPOTENCY_IN_PROGRESS"
    end_leases()
    taken = shop.ask_create(REMOTE, "a-1", call=shop.call("k", seconds=2.5))
    gate.opened.set()
    late = stale()
    # The stale token's finish loses: it answers what is stored.
    assert not isinstance(late, CoreError)
    assert (taken.mark, late.mark) == ("created", "replayed")
    assert taken.response == late.response
    assert count("payment_orders") == 1
    assert fetch_all("SELECT token FROM idempotency_keys") == [{"token": 2}]


@pytest.mark.parametrize("operation", ["close", "refund"])
def test_a_stale_request_answers_what_is_stored_even_when_it_was_refused(
    shop: Shop, operation: str
) -> None:
    order = shop.paid(REMOTE) if operation == "refund" else shop.create(REMOTE)
    gate = Gate()
    provider = shop.providers[REMOTE]

    def ask() -> Answered:
        if operation == "close":
            return shop.ask_close(order.id, key="k")
        return shop.ask_refund(order.id, external="r-1", key="k")

    provider.script(operation, gate)
    _, stale = in_background(ask)
    assert gate.reached.wait(10)
    end_leases()
    taken = ask()
    gate.opened.set()
    late = stale()
    assert not isinstance(late, CoreError)
    assert late.response == taken.response
    assert (taken.mark, late.mark) == ("created", "replayed")


def test_a_stale_close_that_finds_the_order_paid_answers_what_is_stored(shop: Shop) -> None:
    order = shop.create(REMOTE)
    gate = Gate()
    shop.providers[REMOTE].script("close", gate)
    _, stale = in_background(lambda: shop.ask_close(order.id, key="k"))
    assert gate.reached.wait(10)
    end_leases()
    shop.books.pay(order.id)
    call = shop.call("k")
    assert refusal_of(lambda: shop.ask_close(order.id, call=call)) == "ORDER_ALREADY_PAID"
    gate.opened.set()
    assert reason_of(stale()) == "ORDER_ALREADY_PAID"
    assert fetch_all("SELECT token, outcome FROM idempotency_keys") == [
        {"token": 2, "outcome": "ORDER_ALREADY_PAID"}
    ]


def test_what_follows_a_known_key_waits_for_rows_as_long_as_anything_else(shop: Shop) -> None:
    scope = keys.Scope(shop.merchant_id, "refund.create", "k")

    def claim() -> bool:
        return keys.claim(scope, b"1", lease_seconds=30, now=datetime.now(UTC))

    def limits() -> tuple[bool, Any]:
        return claim(), fetch_all("SHOW lock_timeout")

    first, second = transact(limits), transact(limits)
    assert (first[0], second[0]) == (True, False)
    assert first[1] == second[1] == [{"lock_timeout": "500ms"}]
