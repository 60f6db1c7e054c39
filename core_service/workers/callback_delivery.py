"""Sends merchant callbacks, many at once.

Every attempt has a thread of its own, and a merchant has at most a few attempts in flight (see
`callback_attempts.IN_FLIGHT_PER_MERCHANT`): one that never answers holds its own share and no more.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import structlog

from core_service.application import callback_attempts, system_config
from core_service.application.callback_attempts import Attempt
from core_service.storage.database import connection_scope

THREADS = 48

_log = structlog.get_logger(__name__)


class CallbackDelivery:
    """Claims as many due deliveries as it has threads free, so that each is sent at once."""

    name = "callback_delivery"

    def __init__(self, threads: int = THREADS) -> None:
        self.wake = threading.Event()
        self._threads = threads
        self._after = ""
        """The merchant whose turn was last."""
        self._free = threading.Semaphore(threads)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=self.name)

    @property
    def drain_seconds(self) -> float:
        """As long as the longest lease: afterwards another worker takes over anyway."""
        timeout = system_config.current().callback_timeout_ms / 1000
        return timeout + callback_attempts.LEASE_MARGIN_SECONDS

    def round(self, stop: threading.Event) -> int:
        """Begins an attempt for each delivery that it could claim."""
        wanted = 0
        while wanted < self._threads and self._free.acquire(blocking=False):
            wanted += 1
        attempts: list[Attempt] = []
        try:
            if wanted:
                with connection_scope():
                    attempts = callback_attempts.claim_due(wanted, self._after)
        finally:
            for _ in range(wanted - len(attempts)):
                self._free.release()
        turns = [
            (one.claimed.merchant_id <= self._after, one.claimed.merchant_id) for one in attempts
        ]
        _, self._after = max(turns, default=(False, self._after))
        for attempt in attempts:
            self._executor.submit(self._send, attempt, stop)
        return len(attempts)

    def drain(self) -> None:
        """Waits until every attempt has been recorded."""
        self._executor.shutdown(wait=True)

    def _send(self, attempt: Attempt, stop: threading.Event) -> None:
        try:
            if stop.is_set():
                callback_attempts.give_back(attempt)
            else:
                callback_attempts.send(attempt)
        except Exception:  # noqa: BLE001 (logged; a thread must give its place back)
            # Its lease ends by itself, and then it is tried again.
            _log.exception("callback_attempt_failed", delivery_id=attempt.claimed.id)
        finally:
            self._free.release()
            self.wake.set()
