"""Combines a verified notification with our own record, in the words of the vectors.

A refund is found by its own number, which is unique per merchant; one vector names another order
beside it.
"""

from dataclasses import dataclass
from typing import Any

from core_service.providers.base import (
    Notification,
    PaymentReport,
    PaymentState,
    RefundReport,
    RefundState,
)
from core_service.providers.wire import fen_from_yuan


@dataclass(frozen=True)
class Judgement:
    result: str
    reason: str | None
    effect: str


def _reject(reason: str) -> Judgement:
    return Judgement("reject", reason, "none")


def judge(notification: Notification, provider: str, inputs: dict[str, Any]) -> Judgement:
    if notification.payment is not None:
        return _judge_payment(notification, notification.payment, provider, inputs["order"])
    assert notification.refund is not None
    return _judge_refund(notification, notification.refund, inputs["refund"])


def _judge_payment(
    notification: Notification, report: PaymentReport, provider: str, order: dict[str, Any]
) -> Judgement:
    if order.get("none") or report.order_id != order["out_trade_no"]:
        return _reject("order_unknown")
    amount = order.get("amount_fen", fen_from_yuan(order.get("total_amount")))
    if report.paid_amount_fen != amount:
        return _reject("amount_mismatch")
    if report.currency != order["currency"]:
        return _reject("currency_mismatch")
    status = order["status"]
    if report.has_refunds and status == "paid":
        return Judgement("accept", None, "refund_info")
    if notification.needs_query:
        # Alipay's are indecisive (an unknown status), those of WeChat Pay contradict themselves.
        indecisive = Judgement("accept", None, "none")
        return _reject("status_mismatch") if provider == "wechat" else indecisive
    effects = {
        (PaymentState.PAID, "pending"): "mark_paid",
        (PaymentState.PAID, "closed"): "late_payment",
        (PaymentState.CLOSED, "pending"): "mark_closed",
    }
    return Judgement("accept", None, effects.get((report.state, status), "none"))


def _judge_refund(
    notification: Notification, report: RefundReport, refund: dict[str, Any]
) -> Judgement:
    if refund.get("none") or report.refund_id != refund["out_refund_no"]:
        return _reject("refund_unknown")
    if report.amount_fen != refund["refund_fen"] or report.order_amount_fen != refund["total_fen"]:
        return _reject("amount_mismatch")
    if notification.needs_query:
        return _reject("status_mismatch")
    if refund["status"] == "success":
        return Judgement("accept", None, "none")
    effects = {
        RefundState.SUCCEEDED: "refund_success",
        RefundState.FAILED: "refund_closed",
        RefundState.ABNORMAL: "refund_abnormal",
    }
    return Judgement("accept", None, effects.get(report.state, "none"))
