"""What WeChat Pay answers and pushes: transaction and refund objects, and their sealing."""

import json
import uuid
from typing import Any

from sandbox.accounts import WechatAccount
from sandbox.books import Notification, Payment, Refund, Trade
from sandbox.clock import wechat_time
from sandbox.wechat_signing import (
    SIGNTEST_PREFIX,
    encrypt_resource,
    notification_key,
    signature_headers,
)

RETRY_GAPS_SECONDS: tuple[int, ...] = (
    15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600,
)  # fmt: skip
PAYER_OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
_STALE_SECONDS = 600
_STATE_WORDS = {
    "NOTPAY": "订单未支付", "SUCCESS": "支付成功", "REFUND": "订单发生退款", "CLOSED": "订单已关闭",
}  # fmt: skip
_REFUND_WORDS = {"SUCCESS": "退款成功", "CLOSED": "退款关闭", "ABNORMAL": "退款异常"}


def trade_state(trade: Trade, refunds: list[Refund]) -> str:
    """WeChat Pay's word for the state; any refund that still counts makes it REFUND."""
    if trade.status == "PAID":
        return "REFUND" if any(r.status != "CLOSED" for r in refunds) else "SUCCESS"
    return "CLOSED" if trade.status == "CLOSED" else "NOTPAY"


def transaction(
    account: WechatAccount, trade: Trade, payment: Payment | None, state: str
) -> dict[str, Any]:
    """The transaction object of queries and payment notifications."""
    result: dict[str, Any] = {
        "appid": account.app_id,
        "mchid": account.mch_id,
        "out_trade_no": trade.out_trade_no,
        "trade_state": state,
        "trade_state_desc": _STATE_WORDS[state],
        "attach": trade.attach,
        "amount": {"total": trade.total_fen, "currency": "CNY"},
        "promotion_detail": [],
    }
    if payment:
        result |= {
            "transaction_id": payment.transaction_no,
            "trade_type": "NATIVE",
            "bank_type": "OTHERS",
            "success_time": wechat_time(payment.paid_at),
            "payer": {"openid": PAYER_OPENID},
        }
        result["amount"] = {
            "total": payment.amount_fen,
            "payer_total": payment.amount_fen,
            "currency": "CNY",
            "payer_currency": "CNY",
        }
    return result


def refund_object(trade: Trade, payment: Payment, refund: Refund) -> dict[str, Any]:
    """The refund object of answers to refund and refund query."""
    result: dict[str, Any] = {
        "refund_id": refund.refund_no,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": payment.transaction_no,
        "out_trade_no": trade.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": wechat_time(refund.created_at),
        "status": refund.status,
        "funds_account": "AVAILABLE",
        "amount": {
            "total": payment.amount_fen,
            "refund": refund.amount_fen,
            "payer_total": payment.amount_fen,
            "payer_refund": refund.amount_fen,
            "settlement_refund": refund.amount_fen,
            "settlement_total": payment.amount_fen,
            "discount_refund": 0,
            "currency": "CNY",
            "from": [],
        },
        "promotion_detail": [],
    }
    if refund.status == "SUCCESS" and refund.finished_at:
        result["success_time"] = wechat_time(refund.finished_at)
    return result


def payment_notice(
    account: WechatAccount, trade: Trade, payment: Payment, now: float
) -> dict[str, Any]:
    """Content of a TRANSACTION.SUCCESS push."""
    return _notice(
        "TRANSACTION.SUCCESS",
        "支付成功",
        "transaction",
        transaction(account, trade, payment, "SUCCESS"),
        now,
    )


def refund_notice(
    account: WechatAccount, trade: Trade, payment: Payment, refund: Refund, now: float
) -> dict[str, Any]:
    """Content of a REFUND.* push; note `refund_status` and the missing appid and currency."""
    plaintext: dict[str, Any] = {
        "mchid": account.mch_id,
        "out_trade_no": trade.out_trade_no,
        "transaction_id": payment.transaction_no,
        "out_refund_no": refund.out_refund_no,
        "refund_id": refund.refund_no,
        "refund_status": refund.status,
        "user_received_account": "支付用户零钱",
        "amount": {
            "total": payment.amount_fen,
            "refund": refund.amount_fen,
            "payer_total": payment.amount_fen,
            "payer_refund": refund.amount_fen,
        },
    }
    if refund.status == "SUCCESS" and refund.finished_at:
        plaintext["success_time"] = wechat_time(refund.finished_at)
    event = f"REFUND.{refund.status}"
    return _notice(event, _REFUND_WORDS[refund.status], "refund", plaintext, now)


def _notice(
    event: str, summary: str, original_type: str, plaintext: dict[str, Any], now: float
) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "create_time": wechat_time(now),
        "event_type": event,
        "summary": summary,
        "original_type": original_type,
        "plaintext": plaintext,
        "associated_data": original_type,
        "broken_ciphertext": False,
    }


def attempt(
    account: WechatAccount, notification: Notification, now: float
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one attempt: encrypted and signed now, flawed if the scenario says so."""
    content = json.loads(notification.content)
    plaintext = json.dumps(content["plaintext"], ensure_ascii=False, separators=(",", ":"))
    key = account.api_v3_key[::-1] if content["broken_ciphertext"] else account.api_v3_key
    resource = encrypt_resource(key, plaintext.encode(), content["associated_data"])
    message = {
        "id": content["id"],
        "create_time": content["create_time"],
        "resource_type": "encrypt-resource",
        "event_type": content["event_type"],
        "summary": content["summary"],
        "resource": {"original_type": content["original_type"], **resource},
    }
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    flaw = notification.flaw if notification.attempts < notification.flawed_attempts else ""
    signed_at = now - _STALE_SECONDS if flaw == "stale" else now
    signed_body = body + b" " if flaw == "bad_signature" else body
    count = notification.id + notification.attempts
    headers = signature_headers(notification_key(account, count), signed_body, signed_at)
    if flaw == "signtest":
        headers["Wechatpay-Signature"] = SIGNTEST_PREFIX + headers["Wechatpay-Signature"]
    return {**headers, "Content-Type": "application/json", "User-Agent": "Mozilla/4.0"}, body


def accepted(http_status: int, _answer: bytes, /) -> bool:
    """200 or 204 ends the retries, whatever the body says."""
    return http_status in (200, 204)
