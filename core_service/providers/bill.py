"""What a bill says, in one form for every provider."""

from dataclasses import dataclass


class BillUnreadable(Exception):
    """The file is not the bill it should be; the message says where it stopped making sense."""


@dataclass(frozen=True)
class BillRow:
    """One payment, or one refund of one."""

    is_refund: bool
    provider_trade_no: str
    order_id: str
    amount_fen: int
    """The order amount of a payment; what a refund gave back, as a positive number."""
    refund_id: str | None = None
    provider_refund_no: str | None = None
    refund_status: str | None = None


@dataclass(frozen=True)
class Bill:
    """All rows of a file."""

    rows: tuple[BillRow, ...]
    file_names: tuple[str, ...] = ()
    """Of the files inside an archive, decoded."""

    @property
    def payments(self) -> tuple[BillRow, ...]:
        """The rows of payments."""
        return tuple(row for row in self.rows if not row.is_refund)

    @property
    def refunds(self) -> tuple[BillRow, ...]:
        """The rows of refunds."""
        return tuple(row for row in self.rows if row.is_refund)

    @property
    def payment_total_fen(self) -> int:
        """What all payments amount to."""
        return sum(row.amount_fen for row in self.payments)

    @property
    def refund_total_fen(self) -> int:
        """What all refunds gave back."""
        return sum(row.amount_fen for row in self.refunds)
