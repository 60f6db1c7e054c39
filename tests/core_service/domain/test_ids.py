"""Ids: short enough for every provider, sortable by time, never the same."""

import re
import time

import pytest

from core_service.domain import ids


@pytest.mark.parametrize("prefix", ["po", "rf", "mch", "acc", "ntf"])
def test_shape(prefix: str) -> None:
    made = ids.new_id(prefix)
    assert re.fullmatch(prefix + "_[0-9a-hjkmnp-tv-z]{26}", made)
    assert len(made) <= 32


def test_later_ids_are_greater(monkeypatch: pytest.MonkeyPatch) -> None:
    start = time.time_ns()
    made = []
    for step in (0, 1, 2, 1000, 10**6, 10**9):
        monkeypatch.setattr(time, "time_ns", lambda step=step: start + step * 1_000_000)
        made.append(ids.new_id("po"))
    assert made == sorted(made)


def test_ids_of_one_instant_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({ids.new_id("po") for _ in range(2000)}) == 2000
