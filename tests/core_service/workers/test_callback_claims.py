"""Who sends what: leases, take-overs, fairness, and the operator's retry."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from core_service.application import callback_attempts, callbacks
from core_service.application.callback_attempts import IN_FLIGHT_PER_MERCHANT, Attempt, Made
from core_service.calls import Call, Principal
from core_service.errors import CoreError
from core_service.storage import callbacks as deliveries
from core_service.storage.database import connection_scope, database, execute, fetch_all
from core_service.workers.callback_delivery import CallbackDelivery
from core_service.workers.periodic import Periodic
from core_service.workers.runner import run_loop
from tests.core_service.workers.callback_steps import (
    announce,
    attempts_of,
    configure,
    deliveries_of,
    delivery_of,
    let_leases_end,
    let_pauses_pass,
    outcomes_of,
    paid_order,
    send_due,
    status_of,
    wait_for,
)
from tests.core_service.workers.receiver import Receiver, answer, hang, hold, receiver
from tests.factories import make_merchant, make_order

pytestmark = pytest.mark.usefixtures("wired")


def test_c12_v10_two_workers_never_get_the_same_delivery(shop: Receiver) -> None:
    for _ in range(10):
        merchant = make_merchant(callback_base=shop.url)
        for _ in range(6):
            announce(make_order(merchant, status="FAILED"))
    start = threading.Barrier(6)

    def claim_all() -> list[Attempt]:
        mine = []
        start.wait()
        with connection_scope():
            while found := callback_attempts.claim_due(7):
                mine += found
        return mine

    with ThreadPoolExecutor(6) as workers:
        claims = [future.result() for future in [workers.submit(claim_all) for _ in range(6)]]
    claimed = [attempt.claimed.id for mine in claims for attempt in mine]
    claimed += [attempt.claimed.id for attempt in callback_attempts.claim_due(100)]
    assert len(claimed) == len(set(claimed)) == 60
    numbers = fetch_all("SELECT number, token, outcome FROM delivery_attempts")
    assert numbers == [{"number": 1, "token": 1, "outcome": None}] * 60


SLOW_CLOCK = """
CREATE SCHEMA slow;
CREATE FUNCTION slow.now() RETURNS timestamptz VOLATILE LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_lock_shared(1), pg_advisory_unlock_shared(1);
    RETURN pg_catalog.now();
END $$;
"""
"""Found before the real now() by who asks for it: stops a statement that has begun until the lock is let go."""

WAITS_FOR_THE_CLOCK = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_c12_a_claim_looks_again_at_what_was_taken_while_it_ran(shop: Receiver) -> None:
    paid_order(shop.url)
    execute(SLOW_CLOCK)
    execute("SELECT pg_advisory_lock(1)")

    def claim_slowly() -> list[Attempt]:
        with connection_scope():
            execute("SET search_path = slow, public, pg_catalog; SET lock_timeout = 0")
            execute("SET statement_timeout = 0")
            try:
                return callback_attempts.claim_due(10)
            finally:
                database.manual_close()  # nobody else is to have that clock

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(claim_slowly)
        try:
            wait_for(lambda: bool(fetch_all(WAITS_FOR_THE_CLOCK)))
            assert len(callback_attempts.claim_due(10)) == 1
        finally:
            execute("SELECT pg_advisory_unlock(1)")
        assert slow.result() == []


def test_c11_c12_what_is_in_flight_has_one_owner(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    assert len(callback_attempts.claim_due(10)) == 1
    assert callback_attempts.claim_due(10) == []
    delivery = delivery_of(order_id)
    assert (delivery["status"], delivery["token"]) == ("PROCESSING", 1)


def test_v12_v14_a_dead_lease_is_taken_over_and_the_stale_attempt_is_lost(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    (stale,) = callback_attempts.claim_due(10)
    let_leases_end()
    send_due()
    assert outcomes_of(order_id) == ["lost", "delivered"]
    assert [attempt["number"] for attempt in attempts_of(order_id)] == [1, 2]

    # The first worker wakes up and sends: nothing of that changes what is recorded.
    before = delivery_of(order_id)
    callback_attempts.send(stale)
    assert {**delivery_of(order_id), "pause": None} == {**before, "pause": None}
    assert outcomes_of(order_id) == ["lost", "delivered"]


def test_v12_of_attempts_recorded_together_the_one_taken_over_changes_nothing(
    shop: Receiver,
) -> None:
    _, lost = paid_order(shop.url)
    made = [callback_attempts.make(attempt) for attempt in callback_attempts.claim_due(10)]
    let_leases_end()
    (newer,) = callback_attempts.claim_due(10)
    _, kept = paid_order(shop.url)
    made += [callback_attempts.make(attempt) for attempt in callback_attempts.claim_due(10)]
    callback_attempts.record([one for one in made if one])
    assert (delivery_of(kept)["status"], outcomes_of(kept)) == ("DELIVERED", ["delivered"])
    assert (delivery_of(lost)["status"], outcomes_of(lost)) == ("PROCESSING", ["lost", None])
    callback_attempts.send(newer)
    assert outcomes_of(lost) == ["lost", "delivered"]


def test_an_attempt_whose_lease_has_ended_is_recorded_while_nobody_else_has_it(
    shop: Receiver,
) -> None:
    _, order_id = paid_order(shop.url)
    (attempt,) = callback_attempts.claim_due(10)
    made = callback_attempts.make(attempt)
    assert made is not None
    let_leases_end()
    callback_attempts.record([replace(made, lease_ends=time.monotonic() - 1)])
    assert outcomes_of(order_id) == ["delivered"]
    assert send_due() == []


def test_attempts_are_recorded_in_the_transaction_that_claims_the_next(shop: Receiver) -> None:
    _, first = paid_order(shop.url)
    made = [callback_attempts.make(attempt) for attempt in callback_attempts.claim_due(10)]
    _, second = paid_order(shop.url)
    (attempt,) = callback_attempts.claim_due(10, made=[one for one in made if one])
    assert attempt.claimed.order_id == second
    assert (outcomes_of(first), outcomes_of(second)) == (["delivered"], [None])
    rows = fetch_all("SELECT DISTINCT xmin::text FROM deliveries")
    assert len(rows) == 1


def test_an_attempt_that_cannot_be_recorded_does_not_hold_the_others(
    shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nul_in(monkeypatch, odd := paid_order(shop.url)[1])
    others = [paid_order(shop.url)[1] for _ in range(4)]
    loop = CallbackDelivery()
    assert loop.round(threading.Event()) == 5
    loop.drain()  # all five together
    assert [outcomes_of(order) for order in others] == [["delivered"]] * 4
    assert (delivery_of(odd)["status"], outcomes_of(odd)) == ("PROCESSING", [None])


def test_an_attempt_that_cannot_be_recorded_does_not_keep_its_place(
    shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nul_in(monkeypatch, paid_order(shop.url)[1])
    loop, stop = CallbackDelivery(threads=1), threading.Event()
    assert loop.round(stop) == 1
    _, order_id = paid_order(shop.url)
    assert loop.wake.wait(20)
    with pytest.raises(ValueError, match="NUL"):
        loop.round(stop)
    assert loop.round(stop) == 1
    loop.drain()
    assert outcomes_of(order_id) == ["delivered"]


def test_what_ends_while_a_worker_stops_is_recorded_before_the_slowest(shop: Receiver) -> None:
    release = threading.Event()
    shop.behaviour = hold(release)
    _, slow = paid_order(shop.url)
    loop = CallbackDelivery()
    assert loop.round(threading.Event()) == 1
    shop.wait_for(1)
    shop.behaviour = answer(200)
    _, quick = paid_order(shop.url)
    assert loop.round(threading.Event()) == 1
    with ThreadPoolExecutor(1) as stopping:
        drained = stopping.submit(loop.drain)
        wait_for(lambda: status_of(quick) == "DELIVERED")
        assert (drained.done(), outcomes_of(slow)) == (False, [None])
        release.set()
        drained.result()
    assert outcomes_of(slow) == ["delivered"]


def test_what_was_made_is_recorded_although_nothing_can_be_claimed(
    shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> list[deliveries.ClaimedDelivery]:
        raise CoreError("OVERLOADED")

    _, order_id = paid_order(shop.url)
    loop, stop = CallbackDelivery(threads=1), threading.Event()
    assert loop.round(stop) == 1
    assert loop.wake.wait(20)
    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "claim_due", refuse)
        with pytest.raises(CoreError, match="OVERLOADED"):
            loop.round(stop)
    assert outcomes_of(order_id) == ["delivered"]
    loop.drain()


def _nul_in(monkeypatch: pytest.MonkeyPatch, order_id: str) -> None:
    """The attempt for this order ends in a text that no database stores."""
    make = callback_attempts.make

    def made_with_a_nul(attempt: Attempt) -> Made | None:
        one = make(attempt)
        assert one is not None
        if attempt.claimed.order_id == order_id:
            finished = replace(one.ended.finished, error="\0")
            one = replace(one, ended=replace(one.ended, finished=finished))
        return one

    monkeypatch.setattr(callback_attempts, "make", made_with_a_nul)


def test_lost_attempts_do_not_use_up_the_limit(shop: Receiver) -> None:
    configure(callback_max_attempts=2)
    shop.behaviour = answer(500)
    _, order_id = paid_order(shop.url)
    for _ in range(3):
        callback_attempts.claim_due(10)
        let_leases_end()
    send_due()
    assert delivery_of(order_id)["status"] == "PENDING"
    let_pauses_pass()
    send_due()
    assert outcomes_of(order_id) == ["lost", "lost", "lost", "failed", "failed"]
    assert delivery_of(order_id)["status"] == "FAILED"


def test_a_lease_too_short_for_the_request_is_given_back(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    (attempt,) = callback_attempts.claim_due(10)
    late = Attempt(attempt.claimed, attempt.timeout_seconds, lease_ends=time.monotonic() + 1)
    assert callback_attempts.send(late) is None
    assert shop.received == []
    delivery = delivery_of(order_id)
    assert (delivery["status"], delivery["lease_until"]) == ("PENDING", None)
    let_pauses_pass()
    send_due()
    assert outcomes_of(order_id) == ["lost", "delivered"]


def test_a_claim_takes_turns_among_merchants_and_caps_each(shop: Receiver) -> None:
    busy, quiet = (make_merchant(callback_base=shop.url) for _ in range(2))
    for _ in range(3 * IN_FLIGHT_PER_MERCHANT):
        announce(make_order(busy, status="FAILED"))
    for _ in range(2):
        announce(make_order(quiet, status="FAILED"))
    first = [attempt.claimed.merchant_id for attempt in callback_attempts.claim_due(4)]
    assert sorted(first) == sorted([busy.id, quiet.id] * 2)
    rest = [attempt.claimed.merchant_id for attempt in callback_attempts.claim_due(100)]
    assert rest == [busy.id] * (IN_FLIGHT_PER_MERCHANT - 2)
    assert callback_attempts.claim_due(100) == []


def test_a_merchant_with_one_event_does_not_wait_for_the_older_ones_of_all_others(
    shop: Receiver,
) -> None:
    others = [make_merchant(callback_base=shop.url) for _ in range(12)]
    for merchant in others:
        for _ in range(4):
            announce(make_order(merchant, status="FAILED"))
    _, order_id = paid_order(shop.url)
    loop, stop = CallbackDelivery(threads=2), threading.Event()
    thread = threading.Thread(target=run_loop, args=(loop, stop))
    thread.start()
    try:
        shop.wait_for(4 * len(others) + 1)
    finally:
        stop.set()
        loop.wake.set()
        thread.join()
    told = [request.json["order"]["id"] for request in shop.received]
    # One of each comes first; two at a time may overtake each other.
    assert told.index(order_id) <= len(others) + 2


def test_merchants_who_never_answer_do_not_hold_the_others(shop: Receiver) -> None:
    configure(callback_timeout_ms=60_000)
    with receiver() as black_hole:
        black_hole.behaviour = hang
        silent = make_merchant(callback_base=black_hole.url)
        for _ in range(5 * IN_FLIGHT_PER_MERCHANT):
            announce(make_order(silent, status="FAILED"))
        loop = CallbackDelivery(threads=2 * IN_FLIGHT_PER_MERCHANT)
        stop = threading.Event()
        thread = threading.Thread(target=run_loop, args=(loop, stop))
        thread.start()
        try:
            black_hole.wait_for(IN_FLIGHT_PER_MERCHANT)
            _, order_id = paid_order(shop.url)
            wait_for(lambda: status_of(order_id) == "DELIVERED")
            assert len(black_hole.received) == IN_FLIGHT_PER_MERCHANT
        finally:
            stop.set()
            loop.wake.set()
            black_hole.closing.set()
            thread.join()


def test_retry_of_an_unknown_order(shop: Receiver) -> None:
    with pytest.raises(CoreError, match="ORDER_NOT_FOUND"):
        callbacks.retry_now(operator_call(), "po_unknown")
    assert shop.received == []


def test_retry_skips_when_there_is_nothing_to_tell(shop: Receiver) -> None:
    told = make_merchant(callback_base=shop.url)
    deaf = make_merchant(callback_base=None)
    open_order = callbacks.retry_now(operator_call(), make_order(told, status="PROCESSING"))
    unwanted = callbacks.retry_now(operator_call(), make_order(deaf, status="SUCCEEDED"))
    assert (open_order.delivered, open_order.skipped, open_order.reason) == (
        False,
        True,
        "ORDER_NOT_FINISHED",
    )
    assert (unwanted.skipped, unwanted.reason) == (True, "CALLBACK_NOT_WANTED")
    assert shop.received == []


def test_retry_skips_while_another_attempt_is_in_flight(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    callback_attempts.claim_due(10)
    outcome = callbacks.retry_now(operator_call(), order_id)
    assert (outcome.skipped, outcome.reason) == (True, "ATTEMPT_IN_FLIGHT")
    assert shop.received == []


def test_m11_retry_sends_at_once_whatever_the_count(shop: Receiver) -> None:
    configure(callback_max_attempts=1)
    shop.behaviour = answer(503)
    _, order_id = paid_order(shop.url)
    send_due()
    assert delivery_of(order_id)["status"] == "FAILED"

    again = callbacks.retry_now(operator_call(), order_id)
    assert (again.delivered, again.skipped, again.http_status) == (False, False, 503)
    assert again.error_message == "the merchant answered 503"
    assert delivery_of(order_id)["status"] == "FAILED"

    shop.behaviour = answer(200)
    good = callbacks.retry_now(operator_call(), order_id)
    assert (good.delivered, good.http_status, good.error_message) == (True, 200, None)
    assert delivery_of(order_id)["status"] == "DELIVERED"
    assert outcomes_of(order_id) == ["failed", "failed", "delivered"]


def test_retry_does_not_wait_for_the_pause(shop: Receiver) -> None:
    shop.behaviour = answer(500)
    _, order_id = paid_order(shop.url)
    send_due()
    shop.behaviour = answer(200)
    assert callbacks.retry_now(operator_call(), order_id).delivered


def test_v10_what_was_delivered_can_be_sent_again_and_stays_delivered(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    send_due()
    before = delivery_of(order_id)
    shop.behaviour = answer(500)
    assert not callbacks.retry_now(operator_call(), order_id).delivered
    after = delivery_of(order_id)
    assert (after["status"], after["delivered_at"]) == ("DELIVERED", before["delivered_at"])
    let_pauses_pass()
    assert send_due() == []
    assert len({(request.delivery_id, request.body) for request in shop.received}) == 1


def test_v12_v14_a_resend_that_died_is_closed(shop: Receiver) -> None:
    _, order_id = paid_order(shop.url)
    send_due()
    delivery = delivery_of(order_id)
    assert deliveries.claim_one(delivery["merchant_id"], delivery["id"], lease_seconds=30)
    let_leases_end()
    Periodic().round(threading.Event())
    delivery = delivery_of(order_id)
    assert (delivery["status"], delivery["lease_until"], delivery["lost_count"]) == (
        "DELIVERED",
        None,
        1,
    )
    assert outcomes_of(order_id) == ["delivered", "lost"]


def test_retry_tells_an_order_that_ended_while_callbacks_were_off(shop: Receiver) -> None:
    merchant = make_merchant(callback_base=None)
    order_id = make_order(merchant, status="SUCCEEDED")
    announce(order_id)
    assert deliveries_of(order_id) == []
    execute(
        "UPDATE merchants SET callback_base = %s, version = version + 1 WHERE id = %s",
        (shop.url, merchant.id),
    )
    assert callbacks.retry_now(operator_call(), order_id).delivered
    assert delivery_of(order_id)["status"] == "DELIVERED"


def test_retry_ends_within_its_callers_time(shop: Receiver) -> None:
    configure(callback_timeout_ms=60_000)
    shop.behaviour = hang
    _, order_id = paid_order(shop.url)
    outcome = callbacks.retry_now(operator_call(seconds=2.5), order_id)
    assert (outcome.delivered, outcome.skipped, outcome.http_status) == (False, False, None)
    assert "timeout" in (outcome.error_message or "")


def test_c12_a_retry_during_an_attempt_never_makes_two_requests(shop: Receiver) -> None:
    release = threading.Event()
    shop.behaviour = hold(release)
    _, order_id = paid_order(shop.url)
    (attempt,) = callback_attempts.claim_due(10)
    with ThreadPoolExecutor(1) as worker:
        sending = worker.submit(callback_attempts.send, attempt)
        shop.wait_for(1)
        assert callbacks.retry_now(operator_call(), order_id).reason == "ATTEMPT_IN_FLIGHT"
        release.set()
        result = sending.result()
    assert result is not None
    assert result.delivered
    assert len(shop.received) == 1


def operator_call(seconds: float = 10) -> Call:
    return Call("test-request", Principal.OPERATOR, time.monotonic() + seconds)
