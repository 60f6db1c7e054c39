"""Makes a failing schedule smaller: fewer actors, fewer steps, fewer kinds of fault; as long as it still fails."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.schedule import Plan

LONGEST = 120
"""Schedules that may be tried."""


def shrunk(plan: Plan, fails: Callable[[Plan], bool], longest: int = LONGEST) -> Plan:
    """The smallest failing plan that was found."""
    tried = 0
    improved = True
    while improved and tried < longest:
        improved = False
        for smaller in _smaller(plan):
            tried += 1
            if fails(smaller):
                plan, improved = smaller, True
                break
            if tried >= longest:
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for name, steps in plan.steps.items():
        if steps:
            yield replace(plan, steps={**plan.steps, name: 0})
    half = len(plan.faults) // 2
    if half:
        yield replace(plan, faults=plan.faults[:half])
        yield replace(plan, faults=plan.faults[half:])
    for name, steps in plan.steps.items():
        if steps > 1:
            yield replace(plan, steps={**plan.steps, name: steps // 2})
    if len(plan.faults) <= 12:
        for fault in plan.faults:
            yield replace(plan, faults=tuple(f for f in plan.faults if f != fault))
