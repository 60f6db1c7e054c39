"""The books as JSON for `/control/books`: money in fen, times in RFC 3339 UTC."""

from typing import Any

from sandbox.books import Books, Payment, Refund, Trade
from sandbox.clock import utc_iso


def books_view(
    books: Books, *, provider: str | None, account: str | None, out_trade_no: str | None
) -> dict[str, Any]:
    """Everything, or what the filters leave. `totals` are over what is shown."""
    with books.transaction():
        rows = books.rows(
            "SELECT * FROM trades WHERE (? IS NULL OR provider = ?) AND (? IS NULL OR account = ?)"
            " AND (? IS NULL OR out_trade_no = ?) ORDER BY id",
            provider, provider, account, account, out_trade_no, out_trade_no,
        )  # fmt: skip
        trades = [trade_view(books, Trade(**row)) for row in rows]
        numbers = {t["outTradeNo"] for t in trades}
        numbers |= {r["outRefundNo"] for t in trades for r in t["refunds"]}
        calls = [
            _call_view(row)
            for row in books.rows("SELECT * FROM calls ORDER BY id")
            if (provider in (None, row["provider"]) and account in (None, row["account"]))
            and (out_trade_no is None or row["number"] in numbers | {out_trade_no})
        ]
    return {
        "trades": trades,
        "calls": calls,
        "totals": {
            "paidFen": sum(p["amountFen"] for t in trades for p in t["payments"]),
            "refundedFen": sum(p["refundedFen"] for t in trades for p in t["payments"]),
        },
    }


def trade_view(books: Books, trade: Trade) -> dict[str, Any]:
    """One trade with its payments, refunds and pushes."""
    payments = books.payments(trade.id)
    transaction_of = {p.id: p.transaction_no for p in payments}
    effective = books.rows(
        "SELECT count(*) AS n FROM calls WHERE provider = ? AND account = ? AND number = ?"
        " AND operation = 'create' AND effective = 1",
        trade.provider, trade.account, trade.out_trade_no,
    )  # fmt: skip
    return {
        "provider": trade.provider,
        "account": trade.account,
        "outTradeNo": trade.out_trade_no,
        "tradeNo": trade.trade_no,
        "totalFen": trade.total_fen,
        "subject": trade.subject,
        "status": trade.status,
        "notifyUrl": trade.notify_url,
        "createdAt": utc_iso(trade.created_at),
        "expiresAt": utc_iso(trade.expires_at),
        "closedAt": None if trade.closed_at is None else utc_iso(trade.closed_at),
        "createCalls": trade.create_calls,
        "effectiveCreates": effective[0]["n"],
        "awaitsLatePayment": bool(trade.awaits_late_payment),
        "payments": [payment_view(p) for p in payments],
        "refunds": [_refund_view(r, transaction_of[r.payment_id]) for r in books.refunds(trade.id)],
        "notifications": notification_view(books, trade.id),
    }


def payment_view(payment: Payment) -> dict[str, Any]:
    """One payment."""
    return {
        "transactionNo": payment.transaction_no,
        "amountFen": payment.amount_fen,
        "refundedFen": payment.refunded_fen,
        "late": bool(payment.late),
        "paidAt": utc_iso(payment.paid_at),
    }


def notification_view(books: Books, trade_id: int) -> list[dict[str, Any]]:
    """The pushes of a trade with their attempts and our answers."""
    pushes = books.rows("SELECT * FROM notifications WHERE trade_id = ? ORDER BY id", trade_id)
    return [
        {
            "event": push["event"],
            "notifyId": push["notify_id"],
            "url": push["url"],
            "scenario": push["scenario"],
            "state": push["state"],
            "attempts": [
                {
                    "at": utc_iso(a["at"]),
                    "milliseconds": a["milliseconds"],
                    "httpStatus": a["http_status"],
                    "answer": a["answer"],
                    "accepted": bool(a["accepted"]),
                }
                for a in books.rows(
                    "SELECT * FROM notification_attempts WHERE notification_id = ? ORDER BY id",
                    push["id"],
                )
            ],
        }
        for push in pushes
    ]


def _refund_view(refund: Refund, transaction_no: str) -> dict[str, Any]:
    return {
        "outRefundNo": refund.out_refund_no,
        "refundNo": refund.refund_no,
        "transactionNo": transaction_no,
        "amountFen": refund.amount_fen,
        "reason": refund.reason,
        "status": refund.status,
        "executed": refund.status == "SUCCESS",
        "calls": refund.calls,
        "createdAt": utc_iso(refund.created_at),
        "finishedAt": None if refund.finished_at is None else utc_iso(refund.finished_at),
    }


def _call_view(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": utc_iso(row["at"]),
        "provider": row["provider"],
        "account": row["account"],
        "operation": row["operation"],
        "number": row["number"],
        "scenario": row["scenario"],
        "effective": bool(row["effective"]),
        "answer": row["answer"],
    }
