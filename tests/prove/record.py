"""What was run so far, one JSON object a slice, in the repository: a proof of hours can be made in pieces.

Each slice belongs to the commit that it was run on. Only those of this commit go on; of a part that was not run on it
the page shows the newest that there are, and their commit.
"""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SLICES = ROOT / "docs" / "proof" / "slices.jsonl"
WORK = ROOT / ".novapay" / "proof"
"""What slices of one commit hand on to each other."""


def current_commit() -> str:
    """The commit, and whether the tree is not what it says; the page and its slices do not count."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", ":!docs/PROOF.md", ":!docs/proof")
    return f"{head}-changed" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass
class Slice:
    """A piece of a part that was run to its end, well or not."""

    part: str
    done: int
    """Of what the part counts."""
    seconds: float
    passed: bool
    facts: list[dict[str, Any]] = field(default_factory=list)
    """Lines that its tests told (tests/proof_line.py)."""
    failure: str = ""
    """The end of what a run that failed printed."""
    at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    commit: str = field(default_factory=current_commit)


class Record:
    """The slices."""

    def __init__(self, file: Path = SLICES, work: Path = WORK) -> None:
        self.commit = current_commit()
        self.folder = work / self.commit
        self.folder.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self.slices = list(self._read())

    def _read(self) -> Iterator[Slice]:
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                yield Slice(**json.loads(line))

    def add(self, one: Slice) -> None:
        """Keeps it at once: what comes after may be cut short. Where it was run is nobody's business."""
        one.failure = one.failure.replace(f"{ROOT}/", "")
        self.slices.append(one)
        with self._file.open("a") as lines:
            lines.write(f"{json.dumps(asdict(one), ensure_ascii=False)}\n")

    def here(self, part: str) -> list[Slice]:
        """Those of this commit."""
        return [one for one in self.slices if (one.part, one.commit) == (part, self.commit)]

    def of(self, part: str) -> list[Slice]:
        """Those of this commit; when there are none, of the one on which the part was run last."""
        older = [one for one in self.slices if one.part == part]
        return self.here(part) or [one for one in older if one.commit == older[-1].commit]

    def done_here(self, part: str) -> int:
        """How much of it passed on this commit."""
        return sum(one.done for one in self.here(part) if one.passed)

    def done(self, part: str) -> int:
        """How much of it passed on the commit that is shown."""
        return sum(one.done for one in self.of(part) if one.passed)

    def seconds(self, part: str) -> float:
        return sum(one.seconds for one in self.of(part))

    def failed(self, part: str) -> list[Slice]:
        return [one for one in self.of(part) if not one.passed]

    def facts(self, part: str, name: str) -> list[dict[str, Any]]:
        """Lines of this name that the part's tests told."""
        return [fact for one in self.of(part) for fact in one.facts if fact["name"] == name]

    def counted(self, part: str, name: str, what: str) -> Counter[str]:
        """The sum of a field that holds counts by name."""
        total: Counter[str] = Counter()
        for fact in self.facts(part, name):
            total.update(fact[what])
        return total
