"""Every fault that NovaPay must survive has a test that names its id: as `test_k09_…`, or `test_c01_c02_…`."""

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "data" / "fault-catalogue.md"

_ID = re.compile(r"(?<![a-z0-9])([cpknmiaso]\d\d)(?![0-9a-z])")
_RANGE = re.compile(r"(?<![a-z0-9])([cpknmiaso])(\d\d)_to_\1?(\d\d)(?![0-9a-z])")


def ids() -> set[str]:
    """Those of the catalogue."""
    return set(re.findall(r"^\| ([A-Z]\d\d) \|", CATALOGUE.read_text(), re.MULTILINE))


def named() -> Iterator[str]:
    """Those that occur in names of tests."""
    for file in FOLDER.rglob("test_*.py"):
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE):
            yield from (one.upper() for one in _ID.findall(name))
            for letter, first, last in _RANGE.findall(name):
                yield from (f"{letter.upper()}{n:02}" for n in range(int(first), int(last) + 1))


def test_every_fault_of_the_catalogue_is_named_by_a_test() -> None:
    assert len(ids()) == 115
    assert ids() - set(named()) == set()
