"""Puts each defect of the catalogue into a copy of this tree and runs the tests that must notice it.

python -m tests.mutants [TEXT]: only those whose name holds TEXT, two side by side. Exit 1 when one survives or no
longer applies. NOVAPAY_MUTANTS_KNOWN names a file of results (a JSON object a line) that are not looked for again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("admin", "core_service", "rest_edge", "sandbox", "tests", "generated", "protos")
LONGEST_SECONDS = 600
SIDE_BY_SIDE = 2
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What came of one mutant; `caught_by` None: no test noticed."""

    name: str
    caught_by: str | None
    seconds: int


def main(wanted: str) -> int:
    """The exit status."""
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.name]
    if astray := [mutant.name for mutant in chosen if places(mutant) != 1]:
        print("DOES NOT APPLY ANY MORE, mend the catalogue:", *astray, sep="\n  ")
        return 1
    file = os.environ.get("NOVAPAY_MUTANTS_KNOWN")
    results = _known(file)
    for name in results:
        print(f"known   {name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="novapay-mutants-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 (PostgreSQL of root runs as another account)
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(SIDE_BY_SIDE):
            trees.put(_copy(Path(folder, f"tree{number}")))

        def tried(mutant: Mutant) -> Result:
            tree = trees.get()
            try:
                return _try(mutant, tree)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for result in pool.map(tried, [m for m in chosen if m.name not in results]):
                results[result.name] = result
                _tell(result, file)
    survivors = [m.name for m in chosen if results[m.name].caught_by is None]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants caught")
    for name in survivors:
        print(f"NOT CAUGHT: {name}")
    return 1 if survivors else 0


def places(mutant: Mutant) -> int:
    """How often the text that it replaces is in its file: once, or it has grown old."""
    return (ROOT / mutant.file).read_text().count(mutant.old)


def _known(file: str | None) -> dict[str, Result]:
    if file is None or not Path(file).exists():
        return {}
    lines = (json.loads(line) for line in Path(file).read_text().splitlines())
    return {line["name"]: Result(**line) for line in lines if line["caught_by"]}


def _tell(result: Result, file: str | None) -> None:
    verdict = "caught" if result.caught_by else "ALIVE"
    print(f"{verdict:7}{result.seconds:5} s  {result.name}", flush=True)
    print(f"{'':16}{result.caught_by or 'no test noticed'}", flush=True)
    if file is not None:
        with Path(file).open("a") as lines:
            lines.write(f"{json.dumps(asdict(result), ensure_ascii=False)}\n")


def _copy(tree: Path) -> Path:
    tree.mkdir()
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "novapay", "Makefile", "buf.yaml"):
        shutil.copy(ROOT / file, tree / file)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    return tree


def _try(mutant: Mutant, tree: Path) -> Result:
    file = tree / mutant.file
    original = file.read_text()
    file.write_text(original.replace(mutant.old, mutant.new))
    began = time.monotonic()
    try:
        noticed = _first_failure(mutant, tree)
    finally:
        file.write_text(original)
    return Result(mutant.name, noticed, round(time.monotonic() - began))


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
