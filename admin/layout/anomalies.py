"""What the core noted beside an anomaly, in the viewer's language."""

from decimal import Decimal

from admin.layout.formats import money
from admin.visit import Visit


def anomaly_detail(visit: Visit, kind: str, noted: str) -> str:
    """What was seen: the status before late money, the other amount, the number of the second payment."""
    if kind == "LATE_PAYMENT" and noted.startswith("was "):
        status = noted.removeprefix("was ")
        return visit.t("anomalies.was", status=visit.t(f"status.{status}"))
    if kind == "AMOUNT_MISMATCH":
        return visit.t("anomalies.reported", amount=reported_amount(noted))
    if kind == "DUPLICATE_PAYMENT":
        return visit.t("anomalies.second", number=noted)
    if noted == "the provider paid out a refund that it had refused":
        return visit.t("anomalies.paid_out")
    return visit.t("anomalies.said", status=noted) if noted else ""


def reported_amount(noted: str) -> str:
    """`8810 CNY`, in fen, as yuan; anything else as it is."""
    fen, _, currency = noted.partition(" ")
    if currency != "CNY" or not fen.isdecimal():
        return noted
    return money(f"{Decimal(fen) / 100:.2f}")
