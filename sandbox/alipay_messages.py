"""What Alipay pushes: the fields of notifications and of the browser return, and their signing."""

import json
import secrets
from typing import Any

from sandbox.accounts import AlipayAccount
from sandbox.alipay_signing import signed_message
from sandbox.books import Notification, Payment, Refund, Trade
from sandbox.clock import alipay_time
from sandbox.money import fen_to_yuan

BUYER_ID = "2088102100000001"
BUYER_LOGON_ID = "沙箱***@example.com"
RETRY_GAPS_SECONDS: tuple[int, ...] = (240, 600, 600, 3600, 7200, 21600, 54000)
CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"


def trade_status(trade: Trade, payment: Payment | None) -> str:
    """Alipay's word for the state; a payment refunded in full counts as closed."""
    if payment and payment.refunded_fen == payment.amount_fen:
        return "TRADE_CLOSED"
    words = {
        "WAITING": "WAIT_BUYER_PAY",
        "PAID": "TRADE_SUCCESS",
        "CLOSED": "TRADE_CLOSED",
        "FINISHED": "TRADE_FINISHED",
    }
    return words[trade.status]


def notice(
    account: AlipayAccount,
    trade: Trade,
    payment: Payment | None,
    refund: Refund | None,
    status: str | None = None,
) -> dict[str, str]:
    """Fields of a notification, without sign and notify_time. `status` overrides the state."""
    amount = fen_to_yuan(payment.amount_fen if payment else trade.total_fen)
    fields = {
        "notify_type": "trade_status_sync",
        "notify_id": alipay_time(trade.created_at)[:10].replace("-", "") + secrets.token_hex(13),
        "app_id": account.app_id,
        "auth_app_id": account.app_id,
        "charset": "utf-8",
        "version": "1.0",
        "trade_no": payment.transaction_no if payment else trade.trade_no,
        "out_trade_no": trade.out_trade_no,
        "seller_id": account.seller_id,
        "buyer_id": BUYER_ID,
        "buyer_logon_id": BUYER_LOGON_ID,
        "trade_status": status or trade_status(trade, payment),
        "total_amount": amount,
        "subject": trade.subject,
        "gmt_create": alipay_time(trade.created_at),
    }
    if trade.attach:
        fields["passback_params"] = trade.attach
    if payment:
        fields |= {
            "receipt_amount": amount,
            "invoice_amount": amount,
            "buyer_pay_amount": amount,
            "point_amount": "0.00",
            "gmt_payment": alipay_time(payment.paid_at),
            "fund_bill_list": json.dumps(
                [{"amount": amount, "fundChannel": "ALIPAYACCOUNT"}], separators=(",", ":")
            ),
        }
    if payment and refund:
        fields |= {
            "refund_fee": fen_to_yuan(payment.refunded_fen),
            "out_biz_no": refund.out_refund_no,
            "gmt_refund": alipay_time(refund.finished_at or refund.created_at) + ".000",
        }
    if trade.closed_at and fields["trade_status"] == "TRADE_CLOSED":
        fields["gmt_close"] = alipay_time(trade.closed_at)
    return fields


def attempt(
    account: AlipayAccount, notification: Notification, now: float
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one attempt, signed now; flawed ones carry a signature of other text."""
    fields: dict[str, str] = json.loads(notification.content)
    fields["notify_time"] = alipay_time(now)
    body = signed_message(account, fields)
    if notification.flaw and notification.attempts < notification.flawed_attempts:
        other = signed_message(account, {**fields, "subject": "另一条消息"})
        body = body[: body.rindex("&sign=")] + other[other.rindex("&sign=") :]
    return {"Content-Type": CONTENT_TYPE, "User-Agent": "Mozilla/4.0"}, body.encode()


def accepted(http_status: int, answer: bytes, /) -> bool:
    """Only 200 with exactly `success` ends the retries."""
    return http_status == 200 and answer == b"success"


def return_query(account: AlipayAccount, trade: Trade, payment: Payment, now: float) -> str:
    """The signed query of the browser's way back to return_url."""
    fields: dict[str, Any] = {
        "app_id": account.app_id,
        "auth_app_id": account.app_id,
        "method": "alipay.trade.page.pay.return",
        "charset": "utf-8",
        "version": "1.0",
        "timestamp": alipay_time(now),
        "out_trade_no": trade.out_trade_no,
        "trade_no": payment.transaction_no,
        "total_amount": fen_to_yuan(payment.amount_fen),
        "seller_id": account.seller_id,
    }
    return signed_message(account, fields)
