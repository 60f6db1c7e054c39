"""Workers that ask providers: appointments, one owner, expiry, late money, orders closed before they were opened."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from core_service.application import checkout, payment_results, provider_asking
from core_service.domain.asking_pace import FIRST_REST_SECONDS, LONGEST_REST_SECONDS
from core_service.domain.payment_order import ASK_AFTER_SECONDS, ASK_SPACING_SECONDS
from core_service.providers.base import PaymentReport, PaymentState
from core_service.storage import payment_orders, refunds
from core_service.storage.database import execute, fetch_all
from tests.core_service.fake_provider import (
    Behaviour,
    Gate,
    answer_with,
    first_do,
    refuse,
    then_do,
    too_often,
    unknown_after,
    unknown_before,
)
from tests.core_service.shop import (
    LOCAL,
    REMOTE,
    Shop,
    at_once,
    count,
    events_of,
    in_background,
    let_expire,
    make_due,
    refusal_of,
)

BOTH = pytest.mark.parametrize("channel", [LOCAL, REMOTE])


def sweep() -> int:
    return provider_asking.ask_due_orders(100)


def seconds_until_asked(shop: Shop, order_id: str) -> int | None:
    ask_at = shop.order(order_id).ask_at
    return None if ask_at is None else round((ask_at - datetime.now(UTC)).total_seconds())


def test_p11_a_payment_that_nobody_told_us_about_is_found(shop: Shop) -> None:
    order = shop.create(REMOTE)
    assert seconds_until_asked(shop, order.id) == ASK_AFTER_SECONDS[0]
    assert sweep() == 0
    assert shop.books.pay(order.id)
    make_due()
    assert sweep() == 1
    found = shop.order(order.id)
    assert (found.status, found.ask_at) == ("SUCCEEDED", None)
    assert events_of(order.id)[-1] == ("query", "PENDING", "SUCCEEDED")
    assert (count("journals"), count("deliveries")) == (1, 1)
    assert sweep() == 0


def test_an_unpaid_order_gets_its_next_appointment(shop: Shop) -> None:
    order = shop.create(REMOTE)
    for second in (5, 11, 21, 41):
        _make_older(order.id, second)
        make_due()
        assert sweep() == 1
        following = min(at for at in ASK_AFTER_SECONDS if at > second)
        assert seconds_until_asked(shop, order.id) in (following - second, following - second - 1)
    assert shop.order(order.id).status == "PENDING"


def _make_older(order_id: str, seconds: int) -> None:
    execute("ALTER TABLE payment_orders DISABLE TRIGGER guard")
    execute(
        "UPDATE payment_orders SET created_at = now() - make_interval(secs => %s) WHERE id = %s",
        (seconds, order_id),
    )
    execute("ALTER TABLE payment_orders ENABLE TRIGGER guard")


@pytest.mark.parametrize("fault", [unknown_before(), unknown_after(), refuse()])
def test_a_question_without_an_answer_is_asked_again(shop: Shop, fault: object) -> None:
    order = shop.create(REMOTE)
    shop.providers[REMOTE].script("query", fault)  # type: ignore[arg-type]
    make_due()
    assert sweep() == 1
    assert shop.order(order.id).status == "PENDING"
    assert seconds_until_asked(shop, order.id) == provider_asking.AFTER_FAILURE_SECONDS


def test_one_order_that_breaks_does_not_keep_the_others_waiting(shop: Shop) -> None:
    orders = [shop.create(REMOTE) for _ in range(3)]
    for order in orders:
        assert shop.books.pay(order.id)
    # An answer that no provider gives: the code that reads it fails.
    shop.providers[REMOTE].script("query", answer_with(None))
    make_due()
    assert sweep() == 3
    assert sorted(shop.order(order.id).status for order in orders) == [
        "PENDING",
        "SUCCEEDED",
        "SUCCEEDED",
    ]
    make_due()
    sweep()
    assert {shop.order(order.id).status for order in orders} == {"SUCCEEDED"}


def test_c11_two_sweepers_share_orders_and_never_one_order(shop: Shop) -> None:
    orders = [shop.create(REMOTE) for _ in range(12)]
    calls = shop.books.calls("query")
    make_due()
    swept = at_once(4, lambda _: sum(provider_asking.ask_due_orders(1) for _ in range(12)))
    assert sum(n for n in swept if isinstance(n, int)) == len(orders)
    assert shop.books.calls("query") - calls == len(orders)
    assert {row["ask_token"] for row in fetch_all("SELECT ask_token FROM payment_orders")} == {1}


def test_c11_two_sweepers_share_refunds_and_never_one_refund(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", *[unknown_after()] * 6)
    for _ in range(6):
        refusal_of(lambda: shop.ask_refund(order.id, "5.00"))
    make_due()
    at_once(4, lambda _: sum(provider_asking.ask_due_refunds(1) for _ in range(6)))
    assert shop.books.calls("query_refund") == 6
    assert shop.order(order.id).refunded_fen == 3000


def test_c11_looking_at_an_order_does_not_give_it_a_second_owner(shop: Shop) -> None:
    order = shop.create(REMOTE)
    gate = Gate()
    shop.providers[REMOTE].script("query", gate)
    make_due()
    _, asked = in_background(sweep)
    assert gate.reached.wait(10)
    # A payer looks at the page, a provider hints: both want the order asked about soon.
    checkout.look(order.id, now=datetime.now(UTC))
    payment_orders.ask_soon(shop.merchant_id, order.id, seconds=0)
    assert payment_orders.claim_due(10, lease_seconds=60) == []
    gate.opened.set()
    assert asked() == 1


def test_however_many_look_at_an_order_its_provider_is_asked_every_few_seconds(shop: Shop) -> None:
    order = shop.create(REMOTE)
    make_due()
    assert sweep() == 1
    asked_at = datetime.now(UTC)
    at_once(8, lambda _: checkout.look(order.id, now=datetime.now(UTC)))
    appointment = shop.order(order.id).ask_at
    assert appointment is not None
    assert appointment >= asked_at + timedelta(seconds=ASK_SPACING_SECONDS)
    # Who comes later neither postpones the question nor asks earlier.
    at_once(8, lambda _: checkout.look(order.id, now=datetime.now(UTC)))
    assert shop.order(order.id).ask_at == appointment
    assert sweep() == 0
    assert shop.books.calls("query") == 1


def test_c11_a_hint_about_refunds_does_not_give_them_a_second_owner(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", unknown_after())
    refusal_of(lambda: shop.ask_refund(order.id, "5.00"))
    gate = Gate()
    shop.providers[LOCAL].script("query_refund", gate)
    make_due()
    _, asked = in_background(lambda: provider_asking.ask_due_refunds(10))
    assert gate.reached.wait(10)
    refunds.ask_open_refunds_now(shop.merchant_id, order.id)
    assert refunds.claim_due(10, lease_seconds=60) == []
    gate.opened.set()
    assert asked() == 1


def test_an_owner_that_died_is_succeeded_after_its_lease(shop: Shop) -> None:
    shop.create(REMOTE)
    make_due()
    assert len(payment_orders.claim_due(10, lease_seconds=0.2)) == 1
    assert payment_orders.claim_due(10, lease_seconds=0.2) == []
    execute("SELECT pg_sleep(0.25)")
    (claimed,) = payment_orders.claim_due(10, lease_seconds=60)
    assert claimed.ask_token == 2


@BOTH
def test_expiry_asks_closes_asks_again_and_cancels(shop: Shop, channel: str) -> None:
    order = shop.create(channel)
    calls = shop.books.calls("query")
    let_expire(order.id)
    assert sweep() == 1
    assert shop.order(order.id).status == "CANCELLED"
    assert (shop.books.calls("query") - calls, shop.books.calls("close")) == (2, 1)
    assert events_of(order.id)[-1] == ("expiry", "PENDING", "CANCELLED")
    assert count("deliveries") == 1
    assert (
        seconds_until_asked(shop, order.id) == payment_results.ASK_ONCE_MORE_AFTER_CLOSING.seconds
    )
    make_due()
    assert sweep() == 1
    assert (shop.order(order.id).ask_at, sweep()) == (None, 0)


def test_nothing_expires_before_its_time(shop: Shop) -> None:
    order = shop.create(REMOTE)
    execute("UPDATE payment_orders SET expire_at = now() - interval '5 seconds', ask_at = now()")
    assert sweep() == 1
    assert (shop.order(order.id).status, shop.books.calls("close")) == ("PENDING", 0)
    execute("UPDATE payment_orders SET expire_at = now() - interval '11 seconds', ask_at = now()")
    assert sweep() == 1
    assert shop.order(order.id).status == "CANCELLED"


@pytest.mark.parametrize(
    "fault", [unknown_before(), unknown_after(), refuse(), answer_with(PaymentState.PAID)]
)
def test_an_expired_order_whose_close_is_not_confirmed_stays_open(
    shop: Shop, fault: object
) -> None:
    order = shop.create(REMOTE)
    let_expire(order.id)
    shop.providers[REMOTE].script("close", fault)  # type: ignore[arg-type]
    assert sweep() == 1
    assert shop.order(order.id).status == "PENDING"
    assert seconds_until_asked(shop, order.id) == provider_asking.AFTER_FAILURE_SECONDS
    make_due()
    sweep()
    assert shop.order(order.id).status == "CANCELLED"


@pytest.mark.parametrize("when", [first_do, then_do])
@BOTH
def test_c09_a_payment_during_the_expiry_is_found(
    shop: Shop, channel: str, when: Callable[[Callable[[], Any]], Behaviour]
) -> None:
    order = shop.create(channel)
    let_expire(order.id)
    shop.providers[channel].script(
        "close", when(lambda: shop.books.pay(order.id, order.amount_fen))
    )
    sweep()
    is_paid = order.id in shop.books.money()
    assert (shop.order(order.id).status == "SUCCEEDED") == is_paid
    assert not shop.order(order.id).late


def test_c09_the_sweep_changes_nothing_once_paid(shop: Shop) -> None:
    order = shop.create(REMOTE)
    let_expire(order.id)

    def pay_and_tell() -> None:
        assert shop.books.pay(order.id)
        assert shop.notify(order).status == 200

    shop.providers[REMOTE].script("query", then_do(pay_and_tell))
    sweep()
    assert shop.order(order.id).status == "SUCCEEDED"
    assert [after for _, _, after in events_of(order.id)] == ["PENDING", "SUCCEEDED"]


def test_p19_money_that_comes_after_the_expiry_is_found_by_asking_once_more(shop: Shop) -> None:
    order = shop.create(LOCAL)
    let_expire(order.id)
    sweep()
    assert shop.order(order.id).status == "CANCELLED"
    assert shop.books.pay(order.id, order.amount_fen)
    make_due()
    sweep()
    found = shop.order(order.id)
    assert (found.status, found.late, found.ask_at) == ("SUCCEEDED", True, None)
    assert count("deliveries") == 2
    assert count("anomalies WHERE kind = 'LATE_PAYMENT'") == 1


def test_a_failed_order_is_watched_until_it_expires(shop: Shop) -> None:
    """The refused creation may have followed one whose answer was lost."""
    shop.providers[REMOTE].script("create", refuse())
    refusal_of(lambda: shop.create(REMOTE, "a-1"))
    make_due()
    assert sweep() == 1
    order = shop.query("a-1", sync=False)
    assert order.ask_at is not None
    let_expire(order.id)
    assert sweep() == 1
    assert shop.query("a-1", sync=False).ask_at is None


def test_a_closed_order_that_was_never_opened_is_watched_until_its_link_is_dead(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    for _ in range(3):
        make_due()
        assert sweep() == 1
        assert shop.order(order.id).ask_at is not None
    assert shop.books.calls("close") == 1
    # The payer opens the link after all: a payment begins there, and is closed there.
    shop.books.open_payment(order.id, order.amount_fen)
    make_due()
    sweep()
    assert shop.books.payment(order.id).state is PaymentState.CLOSED
    make_due()
    sweep()
    assert shop.order(order.id).ask_at is None
    assert shop.order(order.id).status == "CANCELLED"


def test_watching_ends_with_the_link(shop: Shop) -> None:
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    let_expire(order.id)
    assert sweep() == 1
    assert (shop.order(order.id).ask_at, shop.order(order.id).status) == (None, "CANCELLED")


@pytest.mark.parametrize("fault", [unknown_before(), answer_with(PaymentState.PAID)])
def test_a_payment_that_began_on_a_closed_order_is_watched_until_it_has_ended(
    shop: Shop, fault: object
) -> None:
    """The payer began before the link died; the close that should end it is not confirmed."""
    order = shop.create(LOCAL)
    shop.ask_close(order.id)
    shop.books.open_payment(order.id, order.amount_fen)
    let_expire(order.id)
    shop.providers[LOCAL].script("close", fault)  # type: ignore[arg-type]
    assert sweep() == 1
    assert seconds_until_asked(shop, order.id) == provider_asking.AFTER_FAILURE_SECONDS
    assert shop.books.pay(order.id)
    make_due()
    sweep()
    assert (shop.order(order.id).status, shop.order(order.id).late) == ("SUCCEEDED", True)


def test_a_hint_of_refunds_has_them_asked_about(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", unknown_after())
    refusal_of(lambda: shop.ask_refund(order.id, "5.00"))
    report = PaymentReport(
        order.id, PaymentState.PAID, "PAID", order.gateway_order_id, 3000, "CNY", has_refunds=True
    )
    event = payment_orders.Event("provider", "notification", None)
    payment_results.apply_payment_report(
        shop.snapshot, order.id, report, event, now=datetime.now(UTC)
    )
    assert provider_asking.ask_due_refunds(10) == 1
    assert shop.order(order.id).refunded_fen == 500


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The seconds that the pace of the asking goes by; nobody is paced when the test is over."""
    now = [1000.0]
    monkeypatch.setattr(provider_asking, "monotonic", lambda: now[0])
    yield now
    provider_asking.configure_pace(None)


def test_an_account_over_its_rate_keeps_nobody_else_waiting(
    shop: Shop, other_shop: Shop, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_asking, "ASKS_PER_SECOND", 4.0)
    provider_asking.configure_pace(2)  # each of two processes has half of it
    busy = [shop.create(REMOTE) for _ in range(5)]
    make_due()
    late = other_shop.create(REMOTE)
    execute("UPDATE payment_orders SET ask_at = now() WHERE id = %s", (late.id,))
    assert [provider_asking.ask_due_orders(1) for _ in range(4)] == [1, 1, 1, 0]
    asked = [order.id for order in [*busy, late] if shop.order(order.id).asked_at]
    assert len(asked) == 3
    assert late.id in asked
    # Those that wait have lost nothing, and a merchant's own question is not held up.
    waiting = [shop.order(order.id) for order in busy if order.id not in asked]
    assert {(order.ask_count, order.ask_leased_until) for order in waiting} == {(0, None)}
    calls = shop.books.calls("query")
    assert shop.query(waiting[0].id).status == "PENDING"
    assert shop.books.calls("query") == calls + 1
    clock[0] += 0.5
    assert [provider_asking.ask_due_orders(1) for _ in range(2)] == [1, 0]


def test_what_an_expiry_asks_counts_too(
    shop: Shop, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_asking, "ASKS_PER_SECOND", 1.0)
    provider_asking.configure_pace(1)
    for _ in range(2):
        let_expire(shop.create(REMOTE).id)
    assert [provider_asking.ask_due_orders(1) for _ in range(2)] == [1, 0]
    clock[0] += 2.9
    assert provider_asking.ask_due_orders(1) == 0
    clock[0] += 0.2
    assert provider_asking.ask_due_orders(1) == 1
    assert count("payment_orders WHERE status = 'CANCELLED'") == 2


def test_one_account_never_has_all_the_loops_of_a_channel(
    shop: Shop, other_shop: Shop, clock: list[float]
) -> None:
    assert clock
    provider_asking.configure_pace(1)
    gates = [Gate() for _ in range(provider_asking.AT_ONCE)]
    shop.providers[REMOTE].script("query", *gates)
    for _ in range(provider_asking.AT_ONCE + 2):
        shop.create(REMOTE)
    make_due()
    held = []
    for gate in gates:
        held.append(in_background(lambda: provider_asking.ask_due_orders(1))[1])
        assert gate.reached.wait(10)
    late = other_shop.create(REMOTE)
    execute("UPDATE payment_orders SET ask_at = now() WHERE id = %s", (late.id,))
    assert [provider_asking.ask_due_orders(1) for _ in range(2)] == [1, 0]
    assert shop.order(late.id).asked_at is not None
    for gate in gates:
        gate.opened.set()
    assert [ended() for ended in held] == [1] * len(gates)
    assert provider_asking.ask_due_orders(10) == 2


def test_a_provider_that_is_asked_too_often_is_left_alone_for_that_account(
    shop: Shop, other_shop: Shop, clock: list[float]
) -> None:
    order, waiting = shop.create(REMOTE), shop.create(REMOTE)
    assert shop.books.pay(order.id)
    assert shop.books.pay(waiting.id)
    shop.providers[REMOTE].script("query", too_often)
    make_due()
    assert provider_asking.ask_due_orders(1) == 1
    tried = next(one for one in map(shop.order, (order.id, waiting.id)) if one.asked_at)
    # It has not lost a try, comes again when the account does, and says why it was not told.
    assert (tried.status, tried.ask_count, tried.ask_failure) == ("PENDING", 0, "HTTP 429")
    assert seconds_until_asked(shop, tried.id) in (FIRST_REST_SECONDS, FIRST_REST_SECONDS - 1)
    other = other_shop.create(REMOTE)
    make_due()
    assert provider_asking.ask_due_orders(10) == 1
    assert shop.order(other.id).asked_at is not None
    # A merchant asks as before.
    assert shop.query(tried.id).status == "SUCCEEDED"
    clock[0] += FIRST_REST_SECONDS
    make_due()
    assert provider_asking.ask_due_orders(10) == 2
    assert {shop.order(one.id).status for one in (order, waiting)} == {"SUCCEEDED"}


def test_rests_grow_until_the_provider_is_content_for_a_while(
    shop: Shop, clock: list[float]
) -> None:
    order = shop.create(REMOTE)
    shop.providers[REMOTE].script("query", *[too_often] * 3)
    for seconds in (5, 10, 20):
        make_due()
        assert sweep() == 1
        assert seconds_until_asked(shop, order.id) in (seconds, seconds - 1)
        clock[0] += seconds - 0.1
        make_due()
        assert sweep() == 0
        clock[0] += 0.1
    assert sweep() == 1
    clock[0] += LONGEST_REST_SECONDS
    shop.providers[REMOTE].script("query", too_often)
    make_due()
    assert sweep() == 1
    assert seconds_until_asked(shop, order.id) in (5, 4)
    assert shop.order(order.id).ask_count == 1


@pytest.mark.parametrize("operation", ["query_refund", "refund"])
def test_a_refund_asked_about_too_often_loses_no_try(
    shop: Shop, clock: list[float], operation: str
) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", unknown_before())
    refusal_of(lambda: shop.ask_refund(order.id, "5.00"))
    shop.providers[LOCAL].script(operation, too_often)
    make_due()
    assert provider_asking.ask_due_refunds(10) == 1
    (refund,) = fetch_all(
        "SELECT status, ask_count, ask_at - now() < interval '5.1 s' AS soon FROM refunds"
    )
    assert refund == {"status": "PROCESSING", "ask_count": 0, "soon": True}
    make_due()
    assert provider_asking.ask_due_refunds(10) == 0
    clock[0] += FIRST_REST_SECONDS
    assert provider_asking.ask_due_refunds(10) == 1
    assert shop.order(order.id).refunded_fen == 500


def test_a_refund_whose_question_is_answered_but_not_its_sending_slows_down(
    shop: Shop, clock: list[float]
) -> None:
    """WeChat Pay answers 429 to a second refund of one order within a minute, and takes questions meanwhile."""
    order = shop.paid()
    shop.providers[LOCAL].script("refund", unknown_before(), *[too_often] * 3)
    refusal_of(lambda: shop.ask_refund(order.id, "5.00"))
    for seconds in (5, 10, 20):
        make_due()
        assert provider_asking.ask_due_refunds(10) == 1
        clock[0] += seconds - 0.1
        make_due()
        assert provider_asking.ask_due_refunds(10) == 0
        clock[0] += 0.1
    assert provider_asking.ask_due_refunds(10) == 1
    assert shop.order(order.id).refunded_fen == 500


def test_p09_a_refund_that_is_always_asked_about_too_often_is_listed_as_stuck(shop: Shop) -> None:
    order = shop.paid()
    shop.providers[LOCAL].script("refund", unknown_before())
    refusal_of(lambda: shop.ask_refund(order.id, "5.00"))
    shop.providers[LOCAL].script("query_refund", too_often)
    execute("ALTER TABLE refunds DISABLE TRIGGER guard")
    execute("UPDATE refunds SET created_at = now() - interval '2 hours'")
    execute("ALTER TABLE refunds ENABLE TRIGGER guard")
    make_due()
    assert provider_asking.ask_due_refunds(10) == 1
    assert count("anomalies WHERE kind = 'REFUND_STUCK'") == 1


def test_refunds_have_a_pace_of_their_own(shop: Shop, clock: list[float]) -> None:
    """An account with orders without end still has its refunds asked about, and the other way round."""
    assert clock
    provider_asking.configure_pace(1)
    paid, waiting = shop.paid(REMOTE), shop.create(REMOTE)
    shop.providers[REMOTE].script("refund", unknown_after())
    refusal_of(lambda: shop.ask_refund(paid.id, "5.00"))
    shop.providers[REMOTE].script("query", too_often)
    make_due()
    assert sweep() == 1
    assert provider_asking.ask_due_refunds(10) == 1
    assert shop.order(paid.id).refunded_fen == 500
    assert shop.order(waiting.id).status == "PENDING"


def test_appointments_are_made_by_the_clock_of_the_database(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker whose clock is behind would ask again at once, and one ahead too late."""

    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # all that is used of it
            return datetime.now(tz) - timedelta(minutes=10)

    shop.create()
    monkeypatch.setattr(provider_asking, "datetime", Behind)
    execute("UPDATE payment_orders SET ask_at = now()")
    assert [provider_asking.ask_due_orders(5) for _ in range(5)] == [1, 0, 0, 0, 0]
