"""Runs what proves that NovaPay holds, for a given time, and writes docs/PROOF.md.

python -m tests.prove SECONDS [PART…]: the named parts (a word of the name is enough), or all; 0 seconds: only the page.
A part that is whole for this commit is not run again, one that was cut short goes on where it stopped. A slice that has
begun is run to its end. Exit 1 when anything failed, or a kind of fault never struck.
"""

import sys
import time

from tests.prove.page import page, silent_faults, state
from tests.prove.parts import PARTS, Part
from tests.prove.record import ROOT, Record

PAGE = ROOT / "docs" / "PROOF.md"


def main(seconds: float, names: list[str]) -> int:
    """The exit status."""
    record = Record()
    end = time.monotonic() + seconds
    chosen = [part for part in PARTS if not names or any(name in part.name for name in names)]
    if not chosen:
        print("no such part; there are:", *(part.name for part in PARTS), sep="\n  ")
        return 2
    try:
        for part in chosen:
            carry_on(record, part, end)
    except KeyboardInterrupt:
        print("cut short; what was run to its end is kept")
    PAGE.write_text(page(record))
    print(f"written: {PAGE.relative_to(ROOT)}")
    wrong = [p.name for p in chosen if state(record, p).startswith("**") or is_silent(record, p)]
    print("failed:", ", ".join(wrong) or "nothing")
    return 1 if wrong else 0


def carry_on(record: Record, part: Part, end: float) -> None:
    """Slice after slice until the part is whole, the time is over or something fails."""
    if not part.exists:
        print(f"{part.name}: no test yet ({part.needs})", flush=True)
        return
    while (done := record.done_here(part.name)) < part.wanted and time.monotonic() < end:
        one = part.run(part, record, part.wanted - done)
        record.add(one)
        done += one.done if one.passed else 0
        spent = sum(one.seconds for one in record.here(part.name))
        left = spent / done * (part.wanted - done) / 60 if done else 0
        print(
            f"{part.name}: {done:,} of {part.wanted:,} {part.unit} after {spent / 60:.1f} min, "
            f"{'about ' + format(max(0, left), '.0f') + ' min left' if one.passed else 'FAILED'}",
            flush=True,
        )
        if not one.passed:
            print(one.failure, flush=True)
            return
        if not one.done:
            print(f"{part.name}: its tests told nothing that counts", flush=True)
            return


def is_silent(record: Record, part: Part) -> bool:
    """A kind of fault never struck although the part is whole."""
    return record.done_here(part.name) >= part.wanted and bool(silent_faults(record, part.name))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600, sys.argv[2:]))
