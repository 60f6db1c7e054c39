"""What one machine's processes count for Prometheus: a file for each process in one folder, one port that adds them up.

Counting costs about a microsecond. Nothing here knows anybody: labels are our own words with few values, never an
order, a merchant or an address of one.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER_SETTING = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus_client when it is imported; unset: the process counts for itself alone."""

Gauges = Mapping[str, tuple[str, Mapping[str, float]]]
"""Name → (help, value by kind); the kind "" has no label."""

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

_rpcs = Counter("novapay_rpc_total", "RPCs answered by the core", ("method", "reason"))
_rpc_seconds = Histogram(
    "novapay_rpc_seconds", "Time of an RPC in the core", ("method",), buckets=_SECONDS
)
_http = Counter("novapay_http_total", "Requests answered by the edge", ("route", "status"))
_http_seconds = Histogram(
    "novapay_http_seconds", "Time of a request in the edge", ("route",), buckets=_SECONDS
)
_provider_calls = Counter("novapay_provider_calls_total", "Calls to providers", ("host", "outcome"))
_provider_seconds = Histogram(
    "novapay_provider_call_seconds", "Time of a call to a provider", ("host",), buckets=_SECONDS
)
_attempts = Counter("novapay_callback_attempts_total", "Tries of merchant callbacks", ("outcome",))
_attempt_seconds = Histogram(
    "novapay_callback_attempt_seconds", "Time of a merchant's answer", buckets=_SECONDS
)
_payments = Counter(
    "novapay_payments_total", "Orders that became paid, by what told us first", ("learned_by",)
)
_connections = Gauge(
    "novapay_database_connections",
    "Connections of the pools that are in use",
    multiprocess_mode="livesum",
)


_child = cache(lambda metric, *labels: metric.labels(*labels))
"""The library looks a child up under a lock each time."""


def rpc(method: str, reason: str, seconds: float) -> None:
    """An RPC was answered; `reason` is OK or a reason code."""
    _child(_rpcs, method, reason).inc()
    _child(_rpc_seconds, method).observe(seconds)


def http(route: str, status: int, seconds: float) -> None:
    """A request was answered; `route` is the template, never the path."""
    _child(_http, route, status).inc()
    _child(_http_seconds, route).observe(seconds)


def provider_call(host: str, outcome: str, seconds: float) -> None:
    """A provider answered with a status, or a call ended in one of the outbound kinds."""
    _child(_provider_calls, host, outcome).inc()
    _child(_provider_seconds, host).observe(seconds)


def callback_attempt(outcome: str, seconds: float) -> None:
    """A callback was `delivered` or `failed`."""
    _child(_attempts, outcome).inc()
    _attempt_seconds.observe(seconds)


def payment(learned_by: str) -> None:
    """An order became paid; `learned_by` is the cause of the event, such as notification or query."""
    _child(_payments, learned_by).inc()


def connection_taken() -> None:
    """A connection of the pool has an owner."""
    _connections.inc()


def connection_returned() -> None:
    """It has none any more."""
    _connections.dec()


def empty_folder(folder: Path) -> None:
    """Before the first process of this machine starts: what earlier ones counted is over."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)


def exposition(folder: Path, gauges: Gauges) -> bytes:
    """The text that Prometheus reads: all processes added up, and `gauges`."""
    _forget_dead(folder)
    together = CollectorRegistry()
    # Adds itself. The library has types, but not for this class.
    MultiProcessCollector(together, path=str(folder))  # type: ignore[no-untyped-call]
    together.register(_Read(gauges))
    return generate_latest(together)


class _Read(Collector):
    """Gauges that are read once, for one answer."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """What the library asks for."""
        for name, (text, values) in self._gauges.items():
            labelled = any(values)
            family = GaugeMetricFamily(name, text, labels=("kind",) if labelled else ())
            for kind, value in values.items():
                family.add_metric((kind,) if labelled else (), value)
            yield family


def _forget_dead(folder: Path) -> None:
    """A killed process holds no connection any more."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]  # nor for this
