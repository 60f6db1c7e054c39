"""Many times the capacity: what is accepted stays quick, and all is well again at once (O01 to O03).

Measures time, so it is no part of the suite: `make prove` runs it, or name it to pytest. The load generator runs on
this machine too, and a refused request is followed by the next one at once: `offered` is what the machine can offer.
"""

from dataclasses import dataclass

import pytest

from bench import load
from bench.installation import Installation, installation, temporary_folder
from bench.scenarios import SCENARIOS
from tests.proof_line import size, tell

pytestmark = pytest.mark.timeout(300)

PEAK_CONNECTIONS = 16
OVERLOAD_CONNECTIONS = 10 * PEAK_CONNECTIONS
SECONDS = size("NOVAPAY_OVERLOAD_SECONDS", 10)
RECOVERY_SECONDS = 5.0
LEAST_GOODPUT, LONGEST_P99, LEAST_RECOVERED = 0.5, 3.0, 0.8
CREATE = next(one for one in SCENARIOS if one.name == "create alipay.page")


@dataclass(frozen=True)
class Measured:
    """One stretch of load."""

    good: float
    """Answers with 200 a second."""
    offered: float
    """Answers of any kind a second."""
    p99: float
    """Milliseconds, of the good ones."""


def measured(running: Installation, connections: int, seconds: float) -> Measured:
    """New orders over so many connections, each sent as soon as the one before it is answered."""
    requests = CREATE.prepare(running, int(CREATE.most_per_second * seconds))
    result = load.run(
        running.stack.http_port,
        requests,
        connections=connections,
        seconds=seconds,
        status=200,
        expected=CREATE.expected,
    )
    times = sorted(result.milliseconds)
    p99 = times[int(len(times) * 0.99)] if times else 0.0
    total = result.right + result.wrong
    return Measured(round(result.rate, 1), round(total / result.seconds, 1), round(p99, 1))


def test_ten_times_the_capacity() -> None:
    with temporary_folder() as folder, installation(folder) as running:
        measured(running, PEAK_CONNECTIONS, 2)  # caches, connections, prepared statements
        peak = measured(running, PEAK_CONNECTIONS, SECONDS)
        over = measured(running, OVERLOAD_CONNECTIONS, SECONDS)
        after = measured(running, PEAK_CONNECTIONS, RECOVERY_SECONDS)
        assert running.stack.internal_errors() == []
    tell("overload", peak=vars(peak), over=vars(over), afterwards=vars(after))
    assert over.good >= LEAST_GOODPUT * peak.good
    assert over.p99 <= LONGEST_P99 * peak.p99
    assert after.good >= LEAST_RECOVERED * peak.good
