"""Runs many schedules, counts what struck, and says how to see a failure again."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.proof_line import size, tell
from tests.simulation.faults import RATES
from tests.simulation.schedule import Outcome, Plan, run
from tests.simulation.shrink import shrunk
from tests.simulation.world import Ground

SCHEDULES = size("NOVAPAY_SCHEDULES", 500)
"""In all files together."""
FIRST_SEED = size("NOVAPAY_FIRST_SEED", 0)
SEEDS = Path(__file__).with_name("seeds")
CHUNK = 50


def chunks(part: int, parts: int) -> list[range]:
    """The seeds of one file of several, in pieces."""
    starts = range(FIRST_SEED, FIRST_SEED + SCHEDULES, CHUNK)
    end = FIRST_SEED + SCHEDULES
    return [range(start, min(start + CHUNK, end)) for start in starts[part::parts]]


def run_chunk(seeds: Iterable[int], ground: Ground) -> None:
    """Raises AssertionError with the smallest schedule that still fails, and with faults that never struck."""
    struck: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    waits = schedules = 0
    for seed in seeds:
        outcome = run(Plan(seed), ground)
        if outcome.findings:
            raise AssertionError(explained(outcome, ground))
        struck += outcome.struck
        answers += outcome.answers
        waits += outcome.waits
        schedules += 1
    tell(
        "schedules",
        first_seed=min(seeds),
        schedules=schedules,
        waits=waits,
        faults=struck,
        answers=answers,
    )
    if schedules >= CHUNK:
        assert [name for name in RATES if not struck[name]] == [], "faults that never struck"


def explained(outcome: Outcome, ground: Ground) -> str:
    """What is wrong, how to see it again, and the smallest plan that shows it."""
    kinds = {finding.split()[0] for finding in outcome.findings}

    def fails(plan: Plan) -> bool:
        return bool(kinds & {finding.split()[0] for finding in run(plan, ground).findings})

    small = shrunk(outcome.plan, fails)
    findings = "\n  ".join(outcome.findings)
    text = json.dumps(asdict(small), indent=1)
    return (
        f"seed {outcome.plan.seed}:\n  {findings}\n"
        f"Keep this as {SEEDS.name}/{outcome.plan.seed}.json, it fails as well:\n{text}"
    )
