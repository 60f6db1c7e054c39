"""Sends merchant callbacks, many at once.

Every attempt has a thread of its own, and a merchant has at most a few attempts in flight (see
`callback_attempts.IN_FLIGHT_PER_MERCHANT`): one that never answers holds its own share and no more.
Those that end while others are being recorded are recorded together afterwards.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import structlog

from core_service.application import callback_attempts, system_config
from core_service.application.callback_attempts import Attempt, Made
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
        self._made: SimpleQueue[Made | None] = SimpleQueue()
        """What is to be recorded; None: nothing more will come."""
        self._recorder = threading.Thread(
            target=self._record_all, name=f"{self.name}-recorder", daemon=True
        )
        self._recorder.start()

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
        self._made.put(None)
        self._recorder.join()

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
        if made is None:
            self._set_free(1)
        else:
            self._made.put(made)

    def _record_all(self) -> None:
        ended = False
        while not ended:
            found = [self._made.get(), *(self._made.get() for _ in range(self._made.qsize()))]
            made = [one for one in found if one is not None]
            if made:
                self._record(made)
            ended = len(made) < len(found)

    def _record(self, made: Sequence[Made]) -> None:
        try:
            callback_attempts.record(made)
        except Exception:  # noqa: BLE001 (logged; those that can be recorded must be)
            if len(made) > 1:
                for one in made:
                    self._record([one])
                return
            _log.exception("callback_attempt_failed", delivery_id=made[0].ended.claimed.id)
        self._set_free(len(made))

    def _set_free(self, places: int) -> None:
        self._free.release(places)
        self.wake.set()
