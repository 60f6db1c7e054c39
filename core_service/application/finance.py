"""The books: every invariant that can be read from the rows, each with its verdict."""

from dataclasses import dataclass

from core_service.storage import finance
from core_service.storage.database import transact


@dataclass(frozen=True)
class Check:
    """One invariant; `violations` is the number of rows that break it."""

    name: str
    violations: int


@dataclass(frozen=True)
class Books:
    """All checks at one instant, and what the ledger says moved."""

    checks: tuple[Check, ...]
    captured_fen: int
    refunded_fen: int

    @property
    def is_balanced(self) -> bool:
        return all(check.violations == 0 for check in self.checks)


def verify_books() -> Books:
    """Counts what breaks each invariant."""

    def work() -> Books:
        finance.read_one_instant()
        checks = tuple(Check(name, finance.count_violations(name)) for name in finance.CHECKS)
        return Books(checks, finance.total_fen("CAPTURE"), finance.total_fen("REFUND"))

    return transact(work)
