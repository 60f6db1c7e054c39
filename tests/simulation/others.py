"""Everybody but the merchants: payers, providers, an operator, workers, and time itself."""

from collections.abc import Callable
from random import Random
from typing import Any

from core_service.application import (
    callback_attempts,
    callbacks,
    provider_asking,
    provider_notifications,
    purge,
)
from core_service.application.callback_attempts import Made
from core_service.application.provider_notifications import Inbound
from core_service.calls import Call, Principal
from core_service.providers.base import NotificationRequest, RefundState
from tests.core_service.shop import LOCAL, PROVIDER_CODES, TOKEN
from tests.simulation.counterparts import Notice, forged
from tests.simulation.world import World

PASSING_SECONDS = (2.0, 8.0, 35.0, 65.0, 400.0)
LEASE_SECONDS, ORDER_SECONDS = 30.0, 2000.0


class Payer:
    """Opens cashiers, pays, and pays what others have just closed."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world, self._chance = world, chance

    def step(self) -> bool:
        return self._world.pick(self._chance, self._world.orders(), self._look_at)

    def _look_at(self, order: dict[str, Any]) -> bool:
        books, order_id = self._world.books, order["id"]
        provider = self._world.providers[order["channel_code"]]
        if order["channel_code"] == LOCAL and order["is_open_link"]:
            # A link that signs itself can be opened until it expires, whatever we think of the order.
            books.open_payment(order_id, order["amount_fen"])
        if self._chance.random() < 0.15:
            known = books.payment(order_id).provider_status != "NOT_EXIST"
            if known:
                provider.tell_payment(order_id)
            return known
        if paid := books.pay(order_id):
            provider.tell_payment(order_id)
        return paid


class ProviderPost:
    """Brings notifications in any order, some never, some twice, and some that are not genuine."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world, self._chance = world, chance

    def step(self) -> bool:
        post = self._world.post
        if self._chance.random() < 0.3:
            self._end_refunds()
        if self._chance.random() < 0.25 and post.late_requests:
            self._arrive_late()
        elif self._chance.random() < 0.15:
            self._world.pick(self._chance, self._world.orders(), self._forge)
        elif post.notices:
            self._bring()
        else:
            return False
        return True

    def _bring(self) -> None:
        post, faults = self._world.post, self._world.faults
        place = self._chance.randrange(len(post.notices))
        notice = post.notices[place]
        if faults.strikes("notify.lost"):
            post.notices.remove(notice)
            return
        if place and not faults.strikes("notify.reordered"):
            notice = post.notices[0]
        status = self._send(notice)
        if status == 200 and not faults.strikes("notify.ack_lost"):
            if notice.is_paid:
                self._world.told.payments_acknowledged.append(notice.order_id)
            if not faults.strikes("notify.repeated") and notice in post.notices:
                post.notices.remove(notice)
        elif status not in (200, 503):
            self._world.findings.append(f"V08 a genuine notification got {status}")

    def _send(self, notice: Notice, *, token: str = TOKEN) -> int:
        order = self._world.ground.window.rows(
            "SELECT account_id FROM payment_orders WHERE id = %s", (notice.order_id,)
        )
        inbound = Inbound(
            PROVIDER_CODES[notice.channel], order[0]["account_id"], token,
            NotificationRequest("POST", {}, b"", notice.body),
        )  # fmt: skip
        call = Call("req-provider", Principal.PUBLIC, self._world.clock.seconds + 10)
        return provider_notifications.handle(call, inbound, now=self._world.clock.now()).status

    def _forge(self, order: dict[str, Any]) -> bool:
        """Nobody pays with these (P15, P16, P17)."""
        if not self._world.faults.strikes("notify.forged"):
            return False
        report = self._world.books.payment(order["id"])
        wrong_amount = report.paid_amount_fen is not None and self._world.faults.strikes(
            "notify.wrong_amount"
        )
        body = forged("wrong_amount" if wrong_amount else "signature", report)
        notice = Notice(order["channel_code"], body, order["id"], is_paid=False)
        wrong_token = not wrong_amount and self._chance.random() < 0.3
        status = self._send(notice, token="guessed" if wrong_token else TOKEN)
        expected = 404 if wrong_token else 400
        if status not in (expected, 503):
            self._world.findings.append(f"P16 a forged notification got {status}")
        return True

    def _end_refunds(self) -> None:
        for channel, provider in self._world.providers.items():
            provider.refund_state = self._chance.choice(
                (RefundState.SUCCEEDED, RefundState.PROCESSING)
            )
            provider.end_open_refunds(
                lambda: self._chance.random() < 0.7, _amounts(self._world, channel)
            )

    def _arrive_late(self) -> None:
        late = self._world.post.late_requests
        number, effect = late.pop(self._chance.randrange(len(late)))
        if number not in self._world.post.refused:
            effect()


class Operator:
    """Sends callbacks again by hand."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world, self._chance = world, chance

    def step(self) -> bool:
        return self._world.pick(self._chance, self._world.orders(), self._resend)

    def _resend(self, order: dict[str, Any]) -> bool:
        self._world.resends += 1
        return not callbacks.retry_now(self._world.operator_call(), order["id"]).skipped


class Worker:
    """One process of workers: asks providers, tells merchants, tidies up."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world, self._chance = world, chance

    def step(self) -> bool:
        kind = self._chance.choices(tuple(WORK), (3, 2, 4, 1))[0]
        # A look is cheaper than a claim of nothing; in between, somebody else may still be faster.
        wait = seconds_until_due(self._world)[kind]
        if wait is None or wait > 0:
            for _ in range(IDLE_POINTS):
                self._world.hooks.point("statement", "idle")
            return False
        return bool(WORK[kind]())


class Time:
    """Passes, now and then a lot of it at once: leases end under their owners, orders expire."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world, self._chance = world, chance

    def step(self) -> bool:
        seconds = self._chance.choice(PASSING_SECONDS)
        if self._chance.random() < 0.15:
            seconds = ORDER_SECONDS
        self._world.clock.advance(seconds)
        if seconds > LEASE_SECONDS:
            self._world.faults.strikes("time.lease_expires")
        if seconds >= ORDER_SECONDS:
            self._world.faults.strikes("time.order_expires")
        return True


def make_quiet(world: World) -> None:
    """Faults off: what is late arrives, time passes, workers work until there is nothing left to do."""
    world.faults.on = False
    for number, effect in world.post.late_requests:
        if number not in world.post.refused:
            effect()
    world.post.late_requests.clear()
    for channel, provider in world.providers.items():
        provider.refund_state = RefundState.SUCCEEDED
        provider.end_open_refunds(lambda: True, _amounts(world, channel))
    for _ in range(QUIET_ROUNDS):
        next_due = seconds_until_due(world)
        waits = {kind: wait for kind, wait in next_due.items() if wait is not None}
        if not waits:
            return
        passing = max(0.0, min(waits.values()) + 1.0)
        world.clock.advance(passing)
        if not sum(WORK[kind](20) for kind, wait in waits.items() if wait <= passing):
            world.clock.advance(1.0)
    world.findings.append(f"V12 not quiet after {QUIET_ROUNDS} rounds")


def _amounts(world: World, channel: str) -> dict[str, int]:
    """Order → fen."""
    orders = world.orders()
    return {
        order["id"]: order["amount_fen"] for order in orders if order["channel_code"] == channel
    }


IDLE_POINTS = 3
"""How long a worker with nothing to do rests, in steps of the others."""
QUIET_ROUNDS = 1000
"""Nothing is quiet before the last order is paid or expired, and each open one is asked about some twenty times until
then; more rounds than this are a circle."""


def seconds_until_due(world: World) -> dict[str, float | None]:
    """Kind of work → when the next of it is due; None: there is none."""
    (row,) = world.ground.window.rows("EXECUTE next_due")
    return {kind: None if wait is None else float(wait) for kind, wait in row.items()}


def _deliver(limit: int = 2) -> int:
    """A worker's turn: what was made is recorded with the claim of one more, and that one by itself."""
    count, made = 0, list[Made]()
    for places in (limit, 1, 0):
        attempts = callback_attempts.claim_due(places, made=made)
        made = [one for attempt in attempts if (one := callback_attempts.make(attempt))]
        count += len(attempts)
    return count


WORK: dict[str, Callable[..., int]] = {
    "orders": lambda limit=1: provider_asking.ask_due_orders(limit),
    "refunds": lambda limit=1: provider_asking.ask_due_refunds(limit),
    "deliveries": _deliver,
    "resends": lambda _limit=0: purge.close_dead_resends(),
}
"""What workers do, by kind; takes how many at most."""
