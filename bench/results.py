"""Samples of one run, and what they come to."""

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

GROUPS = ("edge", "core", "worker", "postgres")


@dataclass(frozen=True)
class Sample:
    """One round of one scenario or floor piece; times in milliseconds, processor milliseconds a request."""

    name: str
    connections: int
    rate: float
    milliseconds: list[float] = field(default_factory=list, repr=False)
    errors: int = 0
    processor: Mapping[str, float] = field(default_factory=dict)
    first_error: str = ""


@dataclass(frozen=True)
class Row:
    """Medians over the rounds; `ratio` is of the floor rate of create in the same run."""

    name: str
    connections: int
    rate: float
    p50: float
    p95: float
    p99: float
    errors: int
    processor: Mapping[str, float]
    ratio: float | None = None
    processor_ratio: float | None = None
    """Processor time of the floor over that of this: what neighbours on the machine change least."""
    first_error: str = ""


def rows_of(samples: list[Sample]) -> list[Row]:
    """One row per name and concurrency, in order of first appearance."""
    groups: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.name, sample.connections].append(sample)
    return [_row(name, connections, group) for (name, connections), group in groups.items()]


def _row(name: str, connections: int, group: list[Sample]) -> Row:
    names = {piece for sample in group for piece in sample.processor}
    return Row(
        name=name,
        connections=connections,
        rate=statistics.median(sample.rate for sample in group),
        p50=statistics.median(percentile(sample.milliseconds, 50) for sample in group),
        p95=statistics.median(percentile(sample.milliseconds, 95) for sample in group),
        p99=statistics.median(percentile(sample.milliseconds, 99) for sample in group),
        errors=sum(sample.errors for sample in group),
        processor={
            piece: statistics.median(sample.processor.get(piece, 0.0) for sample in group)
            for piece in names
        },
        first_error=next((sample.first_error for sample in group if sample.first_error), ""),
    )


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many per cent do not exceed; 0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
