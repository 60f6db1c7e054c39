"""Asks providers about orders, refunds and accounts that are due; orders past their time end this way."""

import threading
from collections.abc import Callable
from functools import partial

from core_service.application import account_checks, provider_asking
from core_service.providers.registry import PROVIDERS
from core_service.storage.database import connection_scope

ORDER_LOOPS = provider_asking.AT_ONCE + 1
REFUND_LOOPS = 1
"""For each channel, so that a provider that is slow holds up nobody but its own orders and refunds."""


class ProviderPolling:
    """A loop around one use case that claims and settles one thing at a time.

    One at a time, so that the end of the process waits for one provider call and no more; what is
    claimed by one loop is not seen by the others, here or in another process.
    """

    drain_seconds = 25.0
    """More than the longest provider calls that settle one order: query, close, query."""

    def __init__(self, name: str, work: Callable[[int], int]) -> None:
        self.name = name
        self.wake = threading.Event()
        self._work = work

    def round(self, stop: threading.Event) -> int:  # noqa: ARG002 (one thing is short enough)
        """The next one that is due, if any."""
        with connection_scope():
            return self._work(1)

    def drain(self) -> None:
        """Nothing is in flight between rounds."""


def provider_polling_loops() -> tuple[ProviderPolling, ...]:
    """The loops of every channel, and the one that checks accounts."""
    channels = [provider.channel_code for provider in PROVIDERS]
    return (
        *(
            ProviderPolling("order_polling", partial(provider_asking.ask_due_orders, channel=one))
            for one in channels
            for _ in range(ORDER_LOOPS)
        ),
        *(
            ProviderPolling("refund_polling", partial(provider_asking.ask_due_refunds, channel=one))
            for one in channels
            for _ in range(REFUND_LOOPS)
        ),
        ProviderPolling("account_checks", account_checks.check_due),
    )
