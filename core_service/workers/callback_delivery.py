"""Sends merchant callbacks, many at once.

Every attempt has a thread of its own, and a merchant has at most a few attempts in flight (see
`callback_attempts.IN_FLIGHT_PER_MERCHANT`): one that never answers holds its own share and no more.
One transaction after the other records the attempts that have ended and claims as many anew.
"""

import threading
from collections.abc import Sequence
from queue import SimpleQueue

import structlog

from core_service.application import callback_attempts, system_config
from core_service.application.callback_attempts import Attempt, Made
from core_service.storage.database import connection_scope

THREADS = 64

_log = structlog.get_logger(__name__)


class CallbackDelivery:
    """Claims as many due deliveries as it has threads free, so that each is sent at once."""

    name = "callback_delivery"

    def __init__(self, threads: int = THREADS) -> None:
        self.wake = threading.Event()
        self._after = ""
        """The merchant whose turn was last."""
        self._threads = self._free = threads
        self._begun: SimpleQueue[tuple[Attempt, threading.Event] | None] = SimpleQueue()
        """For whichever thread is free; None ends one."""
        self._ended: SimpleQueue[Made | None] = SimpleQueue()
        """An entry for each thread that has done; None: there is nothing to record."""
        # All of them now: one that cannot be started must not be missed when something is claimed for it.
        for number in range(threads):
            name = f"{self.name}_{number}"
            threading.Thread(target=self._send_all, name=name, daemon=True).start()

    @property
    def drain_seconds(self) -> float:
        """As long as the longest lease: afterwards another worker takes over anyway."""
        timeout = system_config.current().callback_timeout_ms / 1000
        return timeout + callback_attempts.LEASE_MARGIN_SECONDS

    def round(self, stop: threading.Event) -> int:
        """Records what has ended, and begins an attempt for each delivery that it could claim."""
        made = self._made()
        if not self._free:
            return 0
        try:
            with connection_scope():
                attempts = callback_attempts.claim_due(self._free, self._after, made)
        except Exception:
            # What has been made must be recorded, also while nothing can be claimed.
            self._record(made)
            raise
        turns = [
            (one.claimed.merchant_id <= self._after, one.claimed.merchant_id) for one in attempts
        ]
        _, self._after = max(turns, default=(False, self._after))
        self._free -= len(attempts)
        for attempt in attempts:
            self._begun.put((attempt, stop))
        return len(attempts)

    def drain(self) -> None:
        """Waits until every attempt has been recorded, each when it ends."""
        while self._free < self._threads:
            self.wake.wait()
            self.wake.clear()
            self._record(self._made())
        for _ in range(self._threads):
            self._begun.put(None)

    def _made(self) -> list[Made]:
        """The attempts that have ended since the last look; their threads are free."""
        ended = [self._ended.get() for _ in range(self._ended.qsize())]
        self._free += len(ended)
        return [one for one in ended if one is not None]

    def _send_all(self) -> None:
        while begun := self._begun.get():
            self._send(*begun)

    def _send(self, attempt: Attempt, stop: threading.Event) -> None:
        made = None
        try:
            if stop.is_set():
                callback_attempts.give_back(attempt)
            else:
                made = callback_attempts.make(attempt)
        except Exception:  # noqa: BLE001 (logged; a thread must give its place back)
            # Its lease ends by itself, and then it is tried again.
            _log.exception("callback_attempt_failed", delivery_id=attempt.claimed.id)
        self._ended.put(made)
        self.wake.set()

    def _record(self, made: Sequence[Made]) -> None:
        try:
            callback_attempts.record(made)
        except Exception:  # noqa: BLE001 (logged; those that can be recorded must be)
            if len(made) > 1:
                for one in made:
                    self._record([one])
                return
            _log.exception("callback_attempt_failed", delivery_id=made[0].ended.claimed.id)
