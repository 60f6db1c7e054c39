"""How many calls of one process are at a provider at once: a slow one takes its share of the threads and no more.

A use case takes a place before it writes anything, so that who gets none is told to come again and nothing has been
done. It keeps the place until its call ends, however often it asks the provider meanwhile.
"""

import threading
import time
from collections import Counter
from types import TracebackType

from core_service import turns
from core_service.errors import CoreError

PLACES = 12
"""At one provider. A core process is given 16 merchants' requests at once: some go on when a provider stands still."""
MERCHANT_PLACES = 9
"""Of those for one merchant, so that it cannot keep the others from a provider."""
WAITING = 8
"""How many may wait for a place, for a moment: a provider in order gives one back soon, and a burst is no reason to
refuse anybody; behind one that stands still they are refused after `WAIT_SECONDS`."""
WAIT_SECONDS = 0.25

_free = threading.Condition()
_taken: Counter[str] = Counter()
_taken_by: Counter[tuple[str, str]] = Counter()
_waiting: Counter[str] = Counter()


class _Here(threading.local):
    """What this thread's call holds."""

    is_counted = False
    held: tuple[str, str] | None = None


_here = _Here()


class Scope:
    """Around a call: gives its place back at the end. Without one, as in a worker, nothing is counted."""

    def __enter__(self) -> None:
        _here.is_counted = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _here.is_counted = False
        if _here.held is None:
            return
        provider, merchant_id = _here.held
        _here.held = None
        with _free:
            _taken[provider] -= 1
            _taken_by[provider, merchant_id] -= 1
            if not _taken_by[provider, merchant_id]:
                del _taken_by[provider, merchant_id]
            _free.notify_all()


class NoPlace(CoreError):
    """All places are taken; `wait` for one outside any transaction."""

    def __init__(self, provider: str, merchant_id: str) -> None:
        super().__init__("OVERLOADED", retry_after_seconds=1)
        self._wanted = (provider, merchant_id)

    def wait(self) -> None:
        """Takes a place that comes free in a moment. Raises OVERLOADED."""
        provider, _ = self._wanted
        end = time.monotonic() + WAIT_SECONDS
        with turns.elsewhere(), _free:
            if _waiting[provider] >= WAITING:
                raise self
            _waiting[provider] += 1
            try:
                if not _free.wait_for(lambda: _is_free(*self._wanted), end - time.monotonic()):
                    raise self
                _keep(*self._wanted)
            finally:
                _waiting[provider] -= 1


def take(provider: str, merchant_id: str) -> None:
    """A place at the provider for this call, unless it has one. Raises NoPlace at once."""
    if not _here.is_counted or _here.held is not None:
        return
    with _free:
        if not _is_free(provider, merchant_id):
            raise NoPlace(provider, merchant_id)
        _keep(provider, merchant_id)


def take_or_wait(provider: str, merchant_id: str) -> None:
    """The same outside a transaction. Raises OVERLOADED."""
    try:
        take(provider, merchant_id)
    except NoPlace as full:
        full.wait()


def _keep(provider: str, merchant_id: str) -> None:
    _taken[provider] += 1
    _taken_by[provider, merchant_id] += 1
    _here.held = (provider, merchant_id)


def _is_free(provider: str, merchant_id: str) -> bool:
    return _taken[provider] < PLACES and _taken_by[provider, merchant_id] < MERCHANT_PLACES
