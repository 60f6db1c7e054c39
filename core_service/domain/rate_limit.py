"""How often each caller may come: one bucket of tokens a caller, time passed in."""

from collections import OrderedDict
from threading import Lock

MAX_CALLERS = 10_000
"""Buckets kept; one that was not used for longest is forgotten, and is full when it is needed again."""
BURST_SECONDS = 2.0
"""A caller that was quiet may do this many seconds' worth at once."""


class RateLimit:
    """At most `per_second` calls a second for each caller, in the long run. For several threads."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second * BURST_SECONDS)
        self._lock = Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Caller → tokens left, and when that was."""

    def seconds_to_wait(self, caller: str, now: float) -> float:
        """Take a token and return 0.0, or return how long it takes until there is one.

        `now` is a monotonic time in seconds.
        """
        with self._lock:
            tokens, since = self._buckets.pop(caller, (self._most, now))
            tokens = min(self._most, tokens + (now - since) * self._per_second)
            wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._per_second
            self._buckets[caller] = (tokens if wait else tokens - 1.0, now)
            if len(self._buckets) > MAX_CALLERS:
                self._buckets.popitem(last=False)
        return wait
