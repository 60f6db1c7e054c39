"""kill -9 at every step of create, notify, deliver, refund, close, ask and expire (K01 to K05), then V01 to V17.

One process after another dies at its failpoint; requests that were cut off are sent again with their
key once the leases have ended, and must finish what was begun.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.journeys import invariants
from tests.journeys.database import connected, rows
from tests.journeys.invariants import Told
from tests.journeys.rough import RoughStack
from tests.stack import Answer, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CREATE_POINTS = {"alipay.page": ("c1", "c5"), "wxpay.native": ("c1", "c2", "c3", "c4", "c5")}
NOTIFY_POINTS = [("alipay.page", "n2 n3"), ("wxpay.native", "n1 n2 n3")]
REFUND_POINTS = [("alipay.page", "r1 r2 r3 r4"), ("wxpay.native", "r2 r3")]
CLOSE_POINTS = [("alipay.page", "x1 x3"), ("wxpay.native", "x2 x4")]
"""Not every point on both channels: a process that dies again and again is started ever more slowly."""
LEASE_SECONDS = 16


@dataclass
class Journey:
    """Does things at a rough stack and remembers what it was told and what was cut off."""

    rough: RoughStack
    told: Told = field(default_factory=Told)
    cut_off: list[Callable[[], Answer]] = field(default_factory=list)

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> Answer:
        answer = self.rough.merchant.post(path, body, idempotency_key=key)
        assert answer.status in (200, 409, 503) or answer.code == "PROVIDER_TIMEOUT", answer.raw
        return self.told.hear(answer)

    def insist(self, path: str, body: dict[str, Any], key: str | None = None) -> Answer:
        """Sends it again while a process that was killed starts anew."""
        answers: list[Answer] = []

        def served() -> bool:
            answers.append(self.post(path, body, key))
            return answers[-1].status == 200

        wait_until(served, seconds=2 * LEASE_SECONDS, what=f"200 from {path}")
        return answers[-1]

    def new_order(self, channel: str, amount: str = "30.00") -> Any:
        return self.insist("/api/payment-orders", self.order_body(channel, amount)).json["order"]

    def order_body(self, channel: str, amount: str = "30.00") -> dict[str, Any]:
        return {
            "channelCode": channel,
            "externalOrderId": f"kill-{secrets.token_hex(8)}",
            "amount": amount,
            "subject": "kill",
            "callbackUrl": self.rough.receiver.url,
        }

    def paid_order(self, channel: str) -> Any:
        order = self.new_order(channel)
        self.rough.payer.pay(order)
        self.until(order, "SUCCEEDED")
        return order

    def until(self, order: Any, status: str, *, seconds: float = 60) -> None:
        wait_until(lambda: self.status_of(order["id"]) == status, seconds=seconds, what=f"{status}")

    def status_of(self, order_id: str) -> Any:
        return rows(
            self.rough.stack, "SELECT status FROM payment_orders WHERE id = %s", [order_id]
        )[0]["status"]

    def killed_at(self, point: str, path: str, body: dict[str, Any]) -> None:
        """Sends a request whose process dies at the point; it is to be sent again later."""
        key = secrets.token_hex(8)
        self.rough.until_healthy()
        self.rough.arm(point)

        def struck() -> bool:
            # Before that, a process that is gone already may be the one that was asked.
            answer = self.post(path, body, key)
            if self.rough.has_struck(point):
                assert answer.code == "PROVIDER_TIMEOUT", (point, answer.raw)
                return True
            assert answer.status == 503 or answer.code == "PROVIDER_TIMEOUT", (point, answer.raw)
            return False

        wait_until(struck, what=f"failpoint {point}")
        self.cut_off.append(lambda: self.insist(path, body, key))

    def send_again(self) -> None:
        """Every request that was cut off finishes, and from then on is answered byte for byte the same (V15)."""
        for request in self.cut_off:
            assert request().raw == request().raw
        self.cut_off.clear()

    def ask_now(self, order_id: str, *, expired: bool = False) -> None:
        """Brings the workers' next question forward, as if the lease or the order's time had ended."""
        with connected(self.rough.stack) as connection, connection.cursor() as cursor:
            cursor.execute(
                "UPDATE payment_orders SET ask_at = now(), expire_at = CASE WHEN %s"
                " THEN now() - interval '60 seconds' ELSE expire_at END WHERE id = %s",
                [expired, order_id],
            )
            connection.commit()


@pytest.fixture(scope="module")
def journey(rough_stack: RoughStack) -> Journey:
    return Journey(rough_stack)


def test_k01_create(journey: Journey) -> None:
    for channel, points in CREATE_POINTS.items():
        for point in points:
            journey.killed_at(point, "/api/payment-orders", journey.order_body(channel))


@pytest.mark.parametrize(("channel", "points"), NOTIFY_POINTS)
def test_k02_notification(journey: Journey, channel: str, points: str) -> None:
    for point in points.split():
        order = journey.new_order(channel)
        journey.rough.arm(point)
        journey.rough.payer.pay(order)
        journey.rough.until_struck(point)
        journey.until(order, "SUCCEEDED")


@pytest.mark.parametrize(("channel", "points"), REFUND_POINTS)
def test_k04_refund(journey: Journey, channel: str, points: str) -> None:
    for point in points.split():
        order = journey.paid_order(channel)
        body = {"externalRefundId": f"kill-{secrets.token_hex(8)}", "amount": "10.00"}
        journey.killed_at(point, f"/api/payment-orders/{order['id']}/refunds", body)


@pytest.mark.parametrize(("channel", "points"), CLOSE_POINTS)
def test_k05_close(journey: Journey, channel: str, points: str) -> None:
    for point in points.split():
        order = journey.new_order(channel)
        journey.rough.payer.control("open", {"url": order["checkoutUrl"]})
        journey.killed_at(point, f"/api/payment-orders/{order['id']}/close", {})


@pytest.mark.parametrize("point", ["q1", "q2"])
def test_k05_query(journey: Journey, point: str) -> None:
    order = journey.new_order("wxpay.native", "30.41")  # the notification is lost
    journey.rough.payer.pay(order)
    journey.rough.arm(point)
    wait_until(
        lambda: (
            journey.post(f"/api/payment-orders/{order['id']}", {"sync": True}).status == 503
            and journey.rough.has_struck(point)
        ),
        what=f"failpoint {point}",
    )
    journey.until(order, "SUCCEEDED")


@pytest.mark.parametrize("point", ["e1", "e2", "e3", "e4"])
def test_k05_expiry(journey: Journey, point: str) -> None:
    order = journey.new_order("wxpay.native")
    journey.rough.arm(point)
    journey.ask_now(order["id"], expired=True)
    journey.rough.until_struck(point)
    journey.ask_now(order["id"], expired=True)
    journey.until(order, "CANCELLED")
    assert journey.rough.payer.trade(order["id"])["status"] == "CLOSED"


@pytest.mark.parametrize("point", ["d1", "d3", "d4"])
def test_k03_delivery(journey: Journey, point: str) -> None:
    order = journey.new_order("wxpay.native")
    journey.rough.arm(point)
    journey.rough.payer.pay(order)
    journey.rough.until_struck(point)
    # Its lease ends by itself; `invariants` waits for that and counts the attempts.


def test_invariants_after_all_kills(journey: Journey) -> None:
    """The requests that were cut off are finished by the same key; then V01 to V17."""
    journey.rough.until_healthy()
    journey.send_again()
    invariants.check(journey.rough, journey.told)
    for order_id in {
        row["id"] for row in rows(journey.rough.stack, "SELECT id FROM payment_orders")
    }:
        requests = len(
            {h["x-novapay-delivery-id"] for h, _ in journey.rough.receiver.about(order_id)}
        )
        assert len(journey.rough.receiver.about(order_id)) <= requests + 1  # K03: one repeat a kill
