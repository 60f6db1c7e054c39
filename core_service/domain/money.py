"""Money is integer fen inside and decimal text outside (contract section 5). No float, no rounding of amounts."""

import re
from decimal import ROUND_HALF_UP, Decimal

from core_service.errors import CoreError

LARGEST_FEN = 10_000_000_000
_LONGEST_TEXT = 12
_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]{1,2})?", re.ASCII)
_RATE = re.compile(r"[01](?:\.[0-9]{1,4})?", re.ASCII)


def parse_amount(text: str) -> int:
    """Yuan as text → fen, more than 0 and at most 100000000.00. Raises INVALID_AMOUNT."""
    if len(text) > _LONGEST_TEXT or not _AMOUNT.fullmatch(text):
        raise CoreError("INVALID_AMOUNT")
    yuan, _, decimals = text.partition(".")
    fen = int(yuan) * 100 + int(decimals.ljust(2, "0"))
    if not 0 < fen <= LARGEST_FEN:
        raise CoreError("INVALID_AMOUNT")
    return fen


def format_fen(fen: int) -> str:
    """Fen → yuan with two decimals."""
    return f"{fen // 100}.{fen % 100:02d}"


def parse_rate(text: str) -> Decimal:
    """A rate from 0 to 1 with at most four decimals. Raises ValueError."""
    if not _RATE.fullmatch(text) or Decimal(text) > 1:
        raise ValueError("must be between 0 and 1 with at most four decimals")
    return Decimal(text)


def format_rate(rate: Decimal) -> str:
    """A rate with four decimals."""
    return f"{rate:.4f}"


def fee_fen(amount_fen: int, rate: Decimal) -> int:
    """Amount times rate, half-up to the fen."""
    return int((amount_fen * rate).quantize(Decimal(1), ROUND_HALF_UP))
