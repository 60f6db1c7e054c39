"""A refund is sent by one at a time, and one refusal is not taken for the end while another call may pay it out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from core_service.application import provider_asking, refunds
from core_service.application.payment_orders import References
from core_service.application.refunds import CreateRefund
from core_service.storage.database import execute, fetch_all
from tests.core_service.fake_provider import Gate, payment_notice, refuse, unknown_before
from tests.core_service.shop import (
    LOCAL,
    Shop,
    end_leases,
    in_background,
    make_due,
    reason_of,
    refusal_of,
)


def refund_row(external_refund_id: str) -> dict[str, Any]:
    (row,) = fetch_all("SELECT * FROM refunds WHERE external_refund_id = %s", (external_refund_id,))
    return row


def test_a_notification_about_another_refund_does_not_send_one_that_is_under_way(
    shop: Shop,
) -> None:
    order = shop.paid(LOCAL)
    shop.ask_refund(order.id, "5.00", "first")
    gate = Gate()
    shop.providers[LOCAL].script("refund", gate, refuse("SELLER_BALANCE_NOT_ENOUGH"))
    _, wait = in_background(lambda: shop.ask_refund(order.id, "25.00", "second"))
    assert gate.reached.wait(20)
    report = replace(shop.books.payment(order.id), has_refunds=True)
    assert shop.notify(order, payment_notice(report)).status == 200
    assert provider_asking.ask_due_refunds(5) == 0
    gate.opened.set()
    assert reason_of(wait()) == "OK"
    assert refund_row("second")["status"] == "SUCCEEDED"
    assert len(shop.books.refunded()) == 2


def test_a_new_refund_is_asked_about_by_the_clock_of_the_database(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    gate = Gate()
    shop.providers[LOCAL].script("refund", gate)
    call = shop.call()
    command = CreateRefund(References.of(orderReference=order.id), "late", "25.00", None, None)
    _, wait = in_background(
        lambda: refunds.create(
            call,
            call.merchant,
            command,
            encode=lambda _: b"",
            now=datetime.now(UTC) - timedelta(minutes=1),
        )
    )
    assert gate.reached.wait(20)
    assert provider_asking.ask_due_refunds(5) == 0
    gate.opened.set()
    wait()


def test_a_refusal_is_not_the_end_when_a_worker_sends_too(shop: Shop) -> None:
    """Should the first call last longer than anybody thought."""
    order = shop.paid(LOCAL)
    provider, gate = shop.providers[LOCAL], Gate()

    def refused_late(_effect: Any) -> Any:
        gate.reached.set()
        assert gate.opened.wait(20)
        return refuse("SELLER_BALANCE_NOT_ENOUGH")(_effect)

    provider.script("refund", refused_late)
    _, wait = in_background(lambda: shop.ask_refund(order.id, "30.00", "one"))
    assert gate.reached.wait(20)
    make_due()

    def first_call_ends(effect: Any) -> Any:
        answer = effect()
        gate.opened.set()
        assert reason_of(wait()) == "PROVIDER_TIMEOUT"
        assert refund_row("one")["status"] == "PROCESSING"
        return answer

    provider.script("query_refund", first_call_ends)
    assert provider_asking.ask_due_refunds(5) == 1
    assert refund_row("one")["status"] == "SUCCEEDED"
    assert list(shop.books.refunded()) == [refund_row("one")["id"]]


def test_a_worker_that_lost_its_claim_while_it_asked_does_not_send(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    provider = shop.providers[LOCAL]
    provider.script("refund", unknown_before())
    refusal_of(lambda: shop.ask_refund(order.id, "30.00", "one"))
    make_due()

    def lost(effect: Any) -> Any:
        answer = effect()
        end_leases()
        execute("UPDATE refunds SET ask_token = ask_token + 1")
        return answer

    provider.script("query_refund", lost)
    assert provider_asking.ask_due_refunds(5) == 1
    assert shop.books.refunded() == {}
    assert refund_row("one")["status"] == "PROCESSING"


def test_a_question_that_finds_nothing_changes_nothing(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    gate = Gate()
    shop.providers[LOCAL].script("refund", gate)
    _, wait = in_background(lambda: shop.ask_refund(order.id, "30.00", "one"))
    assert gate.reached.wait(20)
    assert shop.query_refund("one").refund.status == "PENDING"
    gate.opened.set()
    wait()


def test_an_unknown_first_call_is_asked_about_after_ten_seconds(shop: Shop) -> None:
    order = shop.paid(LOCAL)
    shop.providers[LOCAL].script("refund", unknown_before())
    refusal_of(lambda: shop.ask_refund(order.id, "30.00", "one"))
    (row,) = fetch_all("SELECT extract(epoch FROM ask_at - now()) AS seconds FROM refunds")
    assert 5 < row["seconds"] <= 10
