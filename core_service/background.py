"""A thread that does one small thing again and again beside the requests."""

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger("core_service.background")


class Repeating:
    """Does `work` every `seconds`, whatever happened the last time, and once more at the end."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread do its work a last time and end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.wait(self._seconds)
            try:
                self._work()
            except Exception as failure:  # noqa: BLE001 (the next round may do)
                _log.warning("background work failed", worker=self._name, exc_info=failure)
