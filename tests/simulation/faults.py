"""Which faults strike, how often, and how often each has struck."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

RATES = {
    # The process of an actor dies at a point of this kind.
    "crash.statement": 0.003,
    "crash.commit": 0.012,
    "crash.failpoint": 0.03,
    "crash.provider_before": 0.06,
    "crash.provider_after": 0.06,
    "crash.merchant_before": 0.08,
    "crash.merchant_after": 0.08,
    # The database.
    "db.serialization_failure": 0.006,
    "db.deadlock": 0.004,
    "db.lock_timeout": 0.006,
    "db.statement_timeout": 0.003,
    "db.disk_full": 0.003,
    "db.read_only": 0.003,
    "db.connection_lost": 0.002,
    "db.connect_refused": 0.008,
    "db.commit_failed": 0.012,
    "db.commit_lost_before": 0.008,
    "db.commit_lost_after": 0.01,
    "db.stays_away": 0.4,  # of those whose COMMIT was lost
    # Calls to a provider.
    "provider.unreachable": 0.07,
    "provider.no_answer": 0.09,
    "provider.arrives_late": 0.04,
    "provider.arrives_twice": 0.05,
    "provider.refuses": 0.1,
    "provider.slow": 0.05,
    # Notifications.
    "notify.lost": 0.1,
    "notify.repeated": 0.2,
    "notify.reordered": 1.0,  # counted when a newer one went first
    "notify.ack_lost": 0.1,
    "notify.forged": 0.5,
    "notify.wrong_amount": 0.6,
    # Merchants' endpoints.
    "merchant.refuses": 0.2,
    "merchant.no_answer": 0.15,
    "merchant.unreachable": 0.15,
    "merchant.says_later": 0.12,
    # Callers.
    "caller.gone": 0.02,
    "caller.hurried": 0.05,
    "caller.replays": 0.06,
    "caller.repeats": 0.5,
    # Time.
    "time.lease_expires": 1.0,
    "time.order_expires": 1.0,
}
"""Class of fault → chance that it strikes where it could."""


@dataclass
class Faults:
    """Strikes by chance, as long as it is `on`."""

    chance: Random
    classes: frozenset[str] = frozenset(RATES)
    on: bool = True
    struck: Counter[str] = field(default_factory=Counter)

    def strikes(self, name: str) -> bool:
        """Whether this fault happens here and now."""
        # Drawn in any case, so that a fault left out changes as little as possible of the rest.
        drawn = self.chance.random() < RATES[name]
        if not (self.on and drawn and name in self.classes):
            return False
        self.struck[name] += 1
        return True
