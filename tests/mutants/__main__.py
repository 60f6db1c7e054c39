"""Puts each defect of the catalogue into a copy of this tree and runs the tests that must notice it.

python -m tests.mutants [TEXT]: only those whose name holds TEXT. Exit 1 when one survives or no longer applies.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("admin", "core_service", "rest_edge", "sandbox", "tests", "generated", "protos")
LONGEST_SECONDS = 600
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def main(wanted: str) -> int:
    """The exit status."""
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.name]
    with tempfile.TemporaryDirectory(prefix="novapay-mutants-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 (PostgreSQL of root runs as another account)
        tree = Path(folder, "tree")
        _copy(tree)
        survivors = [mutant.name for mutant in chosen if not _is_caught(mutant, tree)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants caught")
    for name in survivors:
        print(f"NOT CAUGHT: {name}")
    return 1 if survivors else 0


def _copy(tree: Path) -> None:
    tree.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "novapay", "Makefile", "buf.yaml"):
        shutil.copy(ROOT / file, tree / file)
    (tree / ".venv").symlink_to(ROOT / ".venv")


def _is_caught(mutant: Mutant, tree: Path) -> bool:
    file = tree / mutant.file
    original = file.read_text()
    if original.count(mutant.old) != 1:
        print(f"DOES NOT APPLY ({original.count(mutant.old)} places): {mutant.name}", flush=True)
        return False
    file.write_text(original.replace(mutant.old, mutant.new))
    began = time.monotonic()
    try:
        noticed = _first_failure(mutant, tree)
    finally:
        file.write_text(original)
    seconds = time.monotonic() - began
    print(f"{'caught' if noticed else 'ALIVE':7}{seconds:5.0f} s  {mutant.name}", flush=True)
    print(f"{'':16}{noticed or ' '.join(mutant.tests)}", flush=True)
    return noticed is not None


def _first_failure(mutant: Mutant, tree: Path) -> str | None:
    """The test that noticed; the others are not run. An error while the tests are read is no notice."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests]
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.name}: the tests could not run\n{done.stdout[-2000:]}")
    found = _FAILED.search(done.stdout)
    return found.group(1) if found and done.returncode == 1 else None


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
