"""The catalogue of defects fits the code as it is; `make mutants` shows that each is caught."""

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, places
from tests.mutants.catalogue import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_in_one_place_and_names_tests_that_are_there(mutant: Mutant) -> None:
    assert places(mutant) == 1, f"{mutant.file} has changed: mend tests/mutants/catalogue.py"
    assert mutant.new != mutant.old
    assert all(Path(ROOT, file).exists() for file in mutant.tests)


def test_names_are_different() -> None:
    assert [name for name, n in Counter(m.name for m in MUTANTS).items() if n > 1] == []
