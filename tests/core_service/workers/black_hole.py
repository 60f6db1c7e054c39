"""One merchant with thousands of due deliveries never answers; fifty others get theirs as fast as without it.

Measures time, so it is no part of the suite: `make prove` runs it, or name it to pytest.
"""

import threading
import time

import pytest

from core_service.application.callback_attempts import IN_FLIGHT_PER_MERCHANT
from core_service.storage.database import execute
from core_service.workers.callback_delivery import CallbackDelivery
from core_service.workers.runner import run_loop
from tests.core_service.workers.callback_steps import announce, configure
from tests.core_service.workers.receiver import Receiver, answer, hang, receiver
from tests.factories import TestMerchant, make_merchant, make_order
from tests.proof_line import size, tell

DUE = size("NOVAPAY_DUE_DELIVERIES", 5000)
MERCHANTS, EACH = 50, 20
STEP = 250
"""Copies in one statement, which may take two seconds."""
SLOWEST = 1.5
"""How much longer the others may take beside the black hole; what the machine does meanwhile is in there too."""

pytestmark = [pytest.mark.usefixtures("wired"), pytest.mark.timeout(300)]

_COPY = """
    INSERT INTO {table}
    SELECT (jsonb_populate_record(t, {changed})).* FROM {table} t, generate_series(%(first)s, %(last)s) n
    WHERE t.{of} = %(order)s
"""


def test_a_black_hole_slows_nobody_else(shop: Receiver) -> None:
    shop.behaviour = answer(200)
    configure(callback_timeout_ms=30_000)
    others = [make_merchant(callback_base=shop.url) for _ in range(MERCHANTS)]
    with receiver() as hole:
        hole.behaviour = hang
        alone = seconds_for(others, shop)
        owe(DUE, hole.url)
        beside = seconds_for(others, shop, hole)
        tell(
            "black hole", due=DUE, others=MERCHANTS, deliveries=MERCHANTS * EACH,
            seconds_alone=round(alone, 2), seconds_beside=round(beside, 2),
        )  # fmt: skip
        assert beside < alone * SLOWEST


def owe(count: int, url: str) -> None:
    """So many deliveries for one merchant, all due."""
    merchant = make_merchant(callback_base=url)
    original = make_order(merchant, status="FAILED")
    announce(original)
    order = f"jsonb_build_object('id', {_other('id')}, 'external_order_id', {_other('external_order_id')})"
    delivery = (
        f"jsonb_build_object('id', {_other('id')}, 'order_id', {_other('order_id')},"
        f" 'subject_id', {_other('subject_id')})"
    )
    for table, changed, of in (
        ("payment_orders", order, "id"), ("deliveries", delivery, "order_id")
    ):  # fmt: skip
        for first in range(1, count, STEP):
            execute(
                _COPY.format(table=table, changed=changed, of=of),
                {"first": first, "last": min(first + STEP, count) - 1, "order": original},
            )


def _other(column: str) -> str:
    """Another id of the same form for each copy."""
    return f"left(t.{column}, -5) || lpad(n::text, 5, '0')"


def seconds_for(others: list[TestMerchant], shop: Receiver, hole: Receiver | None = None) -> float:
    """How long a worker takes to tell each of the others all its news."""
    for merchant in others:
        for _ in range(EACH):
            announce(make_order(merchant, status="FAILED"))
    so_far, stop, loop = len(shop.received), threading.Event(), CallbackDelivery()
    running = threading.Thread(target=run_loop, args=(loop, stop))
    began = time.monotonic()
    running.start()
    try:
        shop.wait_for(so_far + MERCHANTS * EACH, seconds=120)
        spent = time.monotonic() - began
        if hole is not None:
            hole.wait_for(IN_FLIGHT_PER_MERCHANT, seconds=20)
        return spent
    finally:
        stop.set()
        loop.wake.set()
        if hole is not None:
            assert len(hole.received) == IN_FLIGHT_PER_MERCHANT
            hole.closing.set()  # lets the worker end
        running.join()
