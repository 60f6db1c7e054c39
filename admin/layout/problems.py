"""What the core noted about a failure, in the viewer's language: of callbacks, of asking providers, anomalies.

The core notes `kind: detail` with the kinds of its HTTP client, or a sentence of its own; what is unknown here is
shown as it is.
"""

from decimal import Decimal

from admin import texts
from admin.layout.formats import money
from admin.visit import Visit

_ANSWERED = "the merchant answered "
_NO_ADDRESS = "callbacks are switched off, or there is no address"


def problem(visit: Visit, noted: str) -> str:
    """Why there was no good answer: `timeout: TimeoutError` is 没有在时限内回答 (TimeoutError)."""
    if noted.startswith(_ANSWERED):
        return visit.t("problem.merchant_answered", status=noted.removeprefix(_ANSWERED))
    if noted == _NO_ADDRESS:
        return visit.t("problem.no_address")
    kind, _, detail = noted.partition(": ")
    if not texts.has_text(f"problem.{kind}"):
        return visit.reason(noted)
    words = visit.t(f"problem.{kind}")
    return f"{words} ({detail})" if detail else words


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
