"""Journal lines: what is booked for a capture, a refund and a second payment. Every journal sums to zero.

NovaPay never holds the money; the books say who owes whom because of it. A positive line is what an account gains.
"""

from dataclasses import dataclass

PROVIDER_BALANCE = "provider_balance"
"""What the merchant's own account at the provider has received."""
SALES = "sales"
FEES_OWED = "fees_owed"
"""What the merchant owes for the service."""
FEE_INCOME = "fee_income"
UNCLAIMED = "unclaimed"
"""Second payments on an order that was paid already: the payer's money until somebody decides."""


@dataclass(frozen=True)
class Line:
    """One side of a booking, in fen."""

    account: str
    amount_fen: int


def capture_lines(amount_fen: int, fee_fen: int) -> tuple[Line, ...]:
    """A payment arrived for an order."""
    return _lines(
        (PROVIDER_BALANCE, amount_fen),
        (SALES, -amount_fen),
        (FEES_OWED, fee_fen),
        (FEE_INCOME, -fee_fen),
    )


def refund_lines(amount_fen: int, fee_fen: int) -> tuple[Line, ...]:
    """A refund was executed; its share of the fee goes back."""
    return capture_lines(-amount_fen, -fee_fen)


def duplicate_lines(amount_fen: int) -> tuple[Line, ...]:
    """A second payment arrived for an order that was paid already."""
    return _lines((PROVIDER_BALANCE, amount_fen), (UNCLAIMED, -amount_fen))


def _lines(*pairs: tuple[str, int]) -> tuple[Line, ...]:
    lines = tuple(Line(account, amount) for account, amount in pairs if amount)
    assert sum(line.amount_fen for line in lines) == 0
    return lines
