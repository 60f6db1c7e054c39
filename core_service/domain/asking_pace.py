"""How fast workers ask for one account at its provider: at a rate, so many at once, and not while it must rest.

Times are monotonic seconds that come from outside.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

BURST_SECONDS = 1.0
"""An account that nobody asked for may be asked for this many seconds' worth at once."""
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 40.0
"""Rests double up to this: a provider that takes calls again is asked about everything within a minute. And the first
one is short again when there was none for so long; one call that is taken proves nothing, because limits differ by kind
of call."""


class AskingPace:
    """At most `per_second` calls a second for each account in the long run, and `at_once` at the same time.

    Nobody is held up here: who is about to ask leaves out the accounts that are `resting`. Several who look in the
    same instant may each ask once too often, and the account rests longer for it. For several threads.
    """

    def __init__(self, per_second: float = math.inf, at_once: float = math.inf) -> None:
        self._seconds_each = 1.0 / per_second
        self._ahead = max(0.0, BURST_SECONDS - self._seconds_each)
        self._at_once = at_once
        self._lock = Lock()
        self._used_until: dict[str, float] = {}
        """Account → until when its calls so far have used up the rate."""
        self._asking: Counter[str] = Counter()
        self._rests: dict[str, tuple[float, float]] = {}
        """Account → how long its last rest is, and when that ends."""

    def resting(self, now: float) -> list[str]:
        """The accounts that nobody should ask for at the moment."""
        with self._lock:
            self._used_until = {one: at for one, at in self._used_until.items() if at > now}
            self._rests = {
                one: rest
                for one, rest in self._rests.items()
                if rest[1] + LONGEST_REST_SECONDS > now
            }
            found = {one for one, at in self._used_until.items() if at - now > self._ahead}
            found.update(one for one, (_, end) in self._rests.items() if end > now)
            found.update(one for one, count in self._asking.items() if count >= self._at_once)
        return sorted(found)

    @contextmanager
    def asking(self, account_id: str) -> Iterator[None]:
        """While one order or refund of the account is asked about."""
        with self._lock:
            self._asking[account_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking[account_id] -= 1
                if not self._asking[account_id]:
                    del self._asking[account_id]

    def spend(self, account_id: str, now: float) -> None:
        """One call more; the second and third about one order may be ahead of the rate, those after them wait."""
        with self._lock:
            begun = max(now, self._used_until.get(account_id, now))
            self._used_until[account_id] = begun + self._seconds_each

    def rest(self, account_id: str, now: float) -> None:
        """The provider wants fewer calls: the account rests, for longer if it did so not long ago."""
        with self._lock:
            seconds, end = self._rests.get(account_id, (0.0, now))
            if end > now:  # the answer to a call that was under way already
                return
            is_first = not seconds or end + LONGEST_REST_SECONDS <= now
            seconds = FIRST_REST_SECONDS if is_first else min(2 * seconds, LONGEST_REST_SECONDS)
            self._rests[account_id] = (seconds, now + seconds)

    def seconds_of_rest(self, account_id: str, now: float) -> float:
        """What is left of the account's rest, if it has one."""
        with self._lock:
            _, end = self._rests.get(account_id, (0.0, now))
        return max(0.0, end - now)
