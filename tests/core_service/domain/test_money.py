"""Amounts, rates and fees: exact, or refused."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_service.domain import money
from core_service.errors import CoreError


@pytest.mark.parametrize(
    "text",
    ["0", "0.00", "-1", "1.", ".5", "1.005", "1,000", "1e2", " 1", "1 ", "+1", "0x1", "", "100000000.01", "１",
     "１.００", "١", "1\n", "\n1", "1_000", "1\u00a0", "NaN", "Infinity", "true", "0000000000001",
     "1.0.0", "9" * 5000, "1\x00",
     "0.30000000000000004", "-0", "1E400", "²"],
)  # fmt: skip
def test_i01_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(CoreError, match="INVALID_AMOUNT"):
        money.parse_amount(text)


@pytest.mark.parametrize(
    ("text", "fen"),
    [("0.01", 1), ("1", 100), ("1.0", 100), ("88.1", 8810), ("100", 10000), ("01", 100),
     ("100000000.00", money.LARGEST_FEN), ("100000000", money.LARGEST_FEN), ("99999999.99", 9_999_999_999)],
)  # fmt: skip
def test_i02_amounts_are_read_from_their_text(text: str, fen: int) -> None:
    assert money.parse_amount(text) == fen


@given(st.integers(1, money.LARGEST_FEN))
def test_what_is_written_is_read_again(fen: int) -> None:
    text = money.format_fen(fen)
    assert money.parse_amount(text) == fen
    assert Decimal(text) * 100 == fen
    assert len(text.partition(".")[2]) == 2


@given(st.text(max_size=14))
def test_any_text_is_an_exact_amount_or_refused(text: str) -> None:
    try:
        fen = money.parse_amount(text)
    except CoreError:
        return
    assert text.isascii()
    assert Decimal(text) * 100 == fen


@given(st.integers(0, 10_000))
def test_rates_have_four_decimals_and_come_back(ten_thousandths: int) -> None:
    rate = Decimal(ten_thousandths) / 10_000
    text = money.format_rate(rate)
    assert len(text) == 6
    assert money.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "-0.1", "1.0001", "2", "0.00001", "0.6%", ".5", "1e-2", "٠"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        money.parse_rate(text)


@pytest.mark.parametrize(
    ("amount_fen", "rate", "fee"),
    [(10000, "0.006", 60), (1, "0.5", 1), (1, "0.4999", 0), (83, "0.006", 0), (84, "0.006", 1), (250, "0.006", 2),
     (25, "0.02", 1), (75, "0.02", 2), (money.LARGEST_FEN, "1", money.LARGEST_FEN), (100, "0", 0)],
)  # fmt: skip
def test_fees_are_rounded_half_up(amount_fen: int, rate: str, fee: int) -> None:
    assert money.fee_fen(amount_fen, Decimal(rate)) == fee


@given(st.integers(1, money.LARGEST_FEN), st.integers(0, 10_000))
def test_a_fee_is_never_more_than_the_amount(amount_fen: int, ten_thousandths: int) -> None:
    fee = money.fee_fen(amount_fen, Decimal(ten_thousandths) / 10_000)
    assert 0 <= fee <= amount_fen
    exact = Decimal(amount_fen * ten_thousandths) / 10_000
    assert fee == exact.to_integral_value(ROUND_HALF_UP)
