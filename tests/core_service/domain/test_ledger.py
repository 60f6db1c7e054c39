"""What is booked sums to zero, and a refund undoes its part of a capture."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core_service.domain.ledger import (
    FEE_INCOME,
    FEES_OWED,
    PROVIDER_BALANCE,
    SALES,
    UNCLAIMED,
    Line,
    capture_lines,
    duplicate_lines,
    refund_lines,
)

FEN = st.integers(1, 10_000_000_000)


def sums(*journals: tuple[Line, ...]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for lines in journals:
        for line in lines:
            found[line.account] += line.amount_fen
    return {account: amount for account, amount in found.items() if amount}


@given(FEN, st.data())
def test_every_journal_sums_to_zero_and_has_no_empty_line(
    amount_fen: int, data: st.DataObject
) -> None:
    fee_fen = data.draw(st.integers(0, amount_fen))
    for lines in (
        capture_lines(amount_fen, fee_fen),
        refund_lines(amount_fen, fee_fen),
        duplicate_lines(amount_fen),
    ):
        assert lines
        assert sum(line.amount_fen for line in lines) == 0
        assert all(line.amount_fen for line in lines)


@given(FEN, st.data())
def test_a_full_refund_undoes_the_capture(amount_fen: int, data: st.DataObject) -> None:
    fee_fen = data.draw(st.integers(0, amount_fen))
    assert sums(capture_lines(amount_fen, fee_fen), refund_lines(amount_fen, fee_fen)) == {}


def test_what_each_account_gains() -> None:
    assert sums(capture_lines(3000, 18)) == {
        PROVIDER_BALANCE: 3000,
        SALES: -3000,
        FEES_OWED: 18,
        FEE_INCOME: -18,
    }
    assert sums(refund_lines(1000, 6)) == {
        PROVIDER_BALANCE: -1000,
        SALES: 1000,
        FEES_OWED: -6,
        FEE_INCOME: 6,
    }
    assert sums(duplicate_lines(3000)) == {PROVIDER_BALANCE: 3000, UNCLAIMED: -3000}
