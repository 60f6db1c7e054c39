"""What was run so far, one JSON object a slice, kept for each commit: a proof of hours can be made in pieces."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".novapay" / "proof"


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


class Record:
    """The slices of one commit."""

    def __init__(self, kept: Path = KEPT) -> None:
        self.commit = commit()
        self.folder = kept / self.commit
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self.folder / "slices.jsonl"
        self.slices = list(self._read())

    def _read(self) -> Iterator[Slice]:
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                yield Slice(**json.loads(line))

    def add(self, one: Slice) -> None:
        """Keeps it at once: what comes after may be cut short."""
        self.slices.append(one)
        with self._file.open("a") as lines:
            lines.write(f"{json.dumps(asdict(one), ensure_ascii=False)}\n")

    def of(self, part: str) -> list[Slice]:
        return [one for one in self.slices if one.part == part]

    def done(self, part: str) -> int:
        """How much of it passed."""
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


def commit() -> str:
    """The commit, and whether the tree is not what it says; the page itself does not count."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--", ".", ":!docs/PROOF.md")
    return f"{head}-changed" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
