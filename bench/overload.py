"""Many times the capacity: `python -m bench.overload`. What is accepted stays quick, and all is well again at once.

Prints one JSON object, and exits with 1 when a bound is broken: at least half of the peak's good answers, p99 of them
within three times the p99 at peak, 80 % of the peak in the first five seconds afterwards. The load generator runs on
this machine too, and a refused request is followed by the next one at once: `offered` is what the machine can offer.
"""

import json
import sys
from dataclasses import dataclass

from bench import load
from bench.installation import Installation, installation, temporary_folder
from bench.scenarios import SCENARIOS

PEAK_CONNECTIONS = 32
OVERLOAD_CONNECTIONS = 640
"""More than places and queue together, so that most of what they offer is refused at once."""
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
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
    # What was sent before the end is answered after it, the refusals a second or two later.
    return Measured(round(result.right / seconds, 1), round(total / seconds, 1), round(p99, 1))


def main() -> int:
    """The exit status."""
    with temporary_folder() as folder, installation(folder) as running:
        measured(running, PEAK_CONNECTIONS, 2)  # caches, connections, prepared statements
        peak = measured(running, PEAK_CONNECTIONS, SECONDS)
        over = measured(running, OVERLOAD_CONNECTIONS, SECONDS)
        after = measured(running, PEAK_CONNECTIONS, RECOVERY_SECONDS)
        broken = running.stack.internal_errors()
    said = {
        "name": "overload", "peak": vars(peak), "overload": vars(over), "afterwards": vars(after),
        "internal_errors": len(broken),
    }  # fmt: skip
    print(json.dumps(said))
    holds = (
        over.good >= LEAST_GOODPUT * peak.good,
        over.p99 <= LONGEST_P99 * peak.p99,
        after.good >= LEAST_RECOVERED * peak.good,
        not broken,
    )
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
