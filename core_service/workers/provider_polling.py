"""Asks providers about orders and refunds that are due; the question also ends orders past their time."""

import threading
from collections.abc import Callable

from core_service.application import provider_asking
from core_service.storage.database import connection_scope

BATCH = 20


class ProviderPolling:
    """A loop around one use case that claims and settles a batch by itself; it returns how many."""

    # A provider call and the transaction after it.
    drain_seconds = 12.0

    def __init__(self, name: str, work: Callable[[int], int]) -> None:
        self.name = name
        self.wake = threading.Event()
        self._work = work

    def round(self, stop: threading.Event) -> int:  # noqa: ARG002 (a batch is short)
        """One batch."""
        with connection_scope():
            return self._work(BATCH)

    def drain(self) -> None:
        """Nothing is in flight between rounds."""


def provider_polling_loops() -> tuple[ProviderPolling, ...]:
    """Side by side, so that a slow provider's refunds do not hold the orders."""
    return (
        ProviderPolling("order_polling", provider_asking.ask_due_orders),
        ProviderPolling("refund_polling", provider_asking.ask_due_refunds),
    )
