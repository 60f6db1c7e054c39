"""The security documents name tests and files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted((ROOT / "docs/security").glob("*.md"))
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_named_exists(document: Path) -> None:
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    quoted = set(re.findall(r"`([^`]+)`", prose))
    tests = {name for name in quoted if name.startswith("test_")}
    files = {name for name in quoted if re.match(r"(tests|rest_edge|core_service)/", name)}
    inner = {name for name in quoted if re.match(r"(application|domain)/\w+\.py", name)}
    assert tests
    assert sorted(tests - TESTS) == []
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []
    assert [name for name in sorted(inner) if not (ROOT / "core_service" / name).exists()] == []
