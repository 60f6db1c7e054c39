"""The page says what was run and nothing else."""

from pathlib import Path

import pytest

from tests.prove.__main__ import carry_on
from tests.prove.page import page, state
from tests.prove.parts import PARTS, Part
from tests.prove.record import Record, Slice
from tests.simulation.faults import RATES

SCHEDULES, FUZZ = (
    next(part for part in PARTS if part.name.startswith(name)) for name in ("schedules", "fuzz")
)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "slices.jsonl", tmp_path)


def slice_of(
    part: Part, done: int, *, passed: bool = True, faults: dict[str, int] | None = None
) -> Slice:
    fact = {"name": "schedules", "faults": faults or {}, "answers": {"OK": done}}
    return Slice(
        part.name, done if passed else 0, 60.0, passed, [fact], "" if passed else "seed 7: V05"
    )


def test_nothing_was_run(record: Record) -> None:
    assert {state(record, part) for part in PARTS} <= {"not run", "no test yet"}
    assert "Whole: no: schedules" in page(record)


def test_a_part_that_was_cut_short_says_so_and_goes_on(record: Record, tmp_path: Path) -> None:
    record.add(slice_of(SCHEDULES, 500, faults={"crash.commit": 3}))
    again = Record(tmp_path / "slices.jsonl", tmp_path)
    assert (again.done(SCHEDULES.name), state(again, SCHEDULES)) == (500, "cut short")
    assert "| schedules: schedules in one process | 500 | 10,000 | 0 | 1.0 | cut short | `" in page(
        again
    )


def test_a_part_is_whole_when_every_fault_has_struck(record: Record) -> None:
    record.add(slice_of(SCHEDULES, SCHEDULES.wanted, faults=dict.fromkeys(RATES, 2)))
    assert state(record, SCHEDULES) == "whole"


def test_a_fault_that_never_struck_is_a_failure(record: Record) -> None:
    struck = dict.fromkeys(RATES, 2) | {"db.disk_full": 0}
    record.add(slice_of(SCHEDULES, SCHEDULES.wanted, faults=struck))
    assert state(record, SCHEDULES) == "**never struck: db.disk_full**"


@pytest.mark.parametrize("shown", ["**failed**", "seed 7: V05"])
def test_a_failure_stays(record: Record, shown: str) -> None:
    record.add(slice_of(SCHEDULES, 500, passed=False))
    record.add(slice_of(SCHEDULES, SCHEDULES.wanted, faults=dict.fromkeys(RATES, 1)))
    assert shown in page(record)


def test_a_part_of_an_older_commit_is_shown_with_it_and_run_again(record: Record) -> None:
    old = slice_of(SCHEDULES, SCHEDULES.wanted, faults=dict.fromkeys(RATES, 1))
    old.commit = "0123456789ab"
    record.add(old)
    assert "| whole | `0123456789ab` |" in page(record)
    assert 0 == record.done_here(SCHEDULES.name)
    record.add(slice_of(SCHEDULES, 500))
    assert "0123456789ab" not in page(record)


def test_a_slice_is_of_what_is_left(record: Record) -> None:
    asked: list[int] = []

    def run(part: Part, _record: Record, left: int) -> Slice:
        asked.append(left)
        return Slice(part.name, min(left, 400_000), 1.0, passed=True)

    carry_on(record, Part(FUZZ.name, FUZZ.unit, FUZZ.wanted, FUZZ.most, run), float("inf"))
    assert asked == [1_000_000, 600_000, 200_000]
