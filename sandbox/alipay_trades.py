"""The business of the simulated Alipay: what each method of the gateway does to the books."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.accounts import AlipayAccount
from sandbox.alipay_messages import BUYER_ID, BUYER_LOGON_ID, trade_status
from sandbox.alipay_signing import AlipayError, certificate_sn
from sandbox.books import Payment, Refund, Trade
from sandbox.clock import alipay_time, parse_alipay_time
from sandbox.money import fen_to_yuan, yuan_to_fen
from sandbox.trading import Trading

PAGE_PAY = "alipay.trade.page.pay"
OPERATIONS = {
    "alipay.trade.query": "query",
    "alipay.trade.close": "close",
    "alipay.trade.refund": "refund",
    "alipay.trade.fastpay.refund.query": "refund_query",
    "alipay.open.app.alipaycert.download": "certificates",
}

_NUMBER = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_TIMEOUT = re.compile(r"([1-9][0-9]*)([mhd])", re.ASCII)
_DAY = 86400
_LONGEST_EXPIRY = 15 * _DAY
_MAX_FEN = 100_000_000_00

Node = dict[str, Any]


def business(sub_code: str, sub_msg: str) -> AlipayError:
    """A signed business failure (40004)."""
    return AlipayError("40004", f"ACQ.{sub_code}", sub_msg)


def parse_content(parameters: Mapping[str, str]) -> dict[str, Any]:
    """The object in biz_content; AlipayError if there is none."""
    try:
        content = json.loads(parameters.get("biz_content") or "{}")
    except ValueError:
        raise AlipayError("40002", "isv.illegal-json", "biz_content 不是合法的JSON") from None
    if not isinstance(content, dict):
        raise AlipayError("40002", "isv.illegal-json", "biz_content 不是JSON对象")
    return content


class AlipayTrades:
    """One method per gateway method; each returns (node, effective) or raises AlipayError.

    `effective` tells whether the call changed the books. Called inside a transaction.
    """

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._books = trading.books
        self.methods: dict[str, Callable[[AlipayAccount, dict[str, Any]], tuple[Node, bool]]] = {
            "query": self.query,
            "close": self.close,
            "refund": self.refund,
            "refund_query": self.refund_query,
            "certificates": self.certificates,
        }

    def open_cashier(
        self, account: AlipayAccount, parameters: Mapping[str, str]
    ) -> tuple[Trade, bool]:
        """The buyer opens the page-pay URL: (trade, whether it is new)."""
        content = parse_content(parameters)
        number = str(content.get("out_trade_no", ""))
        subject = str(content.get("subject", ""))
        total_fen = self._total(content.get("total_amount"))
        if not _NUMBER.fullmatch(number):
            raise business("INVALID_PARAMETER", "参数无效：out_trade_no")
        if not 1 <= len(subject) <= 256 or re.search("[/=&]", subject):
            raise business("INVALID_PARAMETER", "参数无效：subject")
        if content.get("product_code") != "FAST_INSTANT_TRADE_PAY":
            raise business("INVALID_PARAMETER", "参数无效：product_code")
        for name in ("notify_url", "return_url"):
            if parameters.get(name) and not re.match("https?://", parameters[name]):
                raise business("INVALID_PARAMETER", f"参数无效：{name}")
        expires_at = self._expiry(content)
        known = self._books.trade("alipay", account.app_id, number)
        if known:
            self._check_reusable(known, total_fen, subject)
            self._books.execute(
                "UPDATE trades SET create_calls = create_calls + 1 WHERE id = ?", known.id
            )
            return known, False
        trade = self._trading.open_trade(
            account,
            out_trade_no=number,
            total_fen=total_fen,
            subject=subject,
            attach=str(content.get("passback_params", "")),
            notify_url=parameters.get("notify_url", ""),
            return_url=parameters.get("return_url", ""),
            expires_at=expires_at,
        )
        return trade, True

    def query(self, account: AlipayAccount, content: dict[str, Any]) -> tuple[Node, bool]:
        """alipay.trade.query: the state of a trade."""
        trade, payment = self._find(account, content)
        node: Node = {
            "buyer_logon_id": BUYER_LOGON_ID,
            "buyer_user_id": BUYER_ID,
            "out_trade_no": trade.out_trade_no,
            "trade_no": payment.transaction_no if payment else trade.trade_no,
            "total_amount": fen_to_yuan(trade.total_fen),
            "trade_status": trade_status(trade, payment),
            "point_amount": "0.00",
            "store_name": "沙箱测试店/一号店",
        }
        if payment:
            amount = fen_to_yuan(payment.amount_fen)
            node |= {
                "buyer_pay_amount": amount,
                "receipt_amount": amount,
                "invoice_amount": amount,
                "send_pay_date": alipay_time(payment.paid_at),
                "fund_bill_list": [
                    {"amount": amount, "fund_channel": "ALIPAYACCOUNT", "note": '余额 {沙箱} "1"'}
                ],
            }
        return node, False

    def close(self, account: AlipayAccount, content: dict[str, Any]) -> tuple[Node, bool]:
        """alipay.trade.close: an unpaid trade ends."""
        trade, _ = self._find(account, content)
        if trade.status == "CLOSED":
            raise business("TRADE_HAS_CLOSE", "交易已经关闭")
        if trade.status != "WAITING":
            raise business("TRADE_STATUS_ERROR", "交易状态不合法")
        self._trading.close(trade)
        return {"trade_no": trade.trade_no, "out_trade_no": trade.out_trade_no}, True

    def refund(self, account: AlipayAccount, content: dict[str, Any]) -> tuple[Node, bool]:
        """alipay.trade.refund: money goes back."""
        trade, payment = self._find(account, content)
        number, amount_fen = self._refund_request(trade, content)
        if payment is None:
            raise business("TRADE_STATUS_ERROR", "交易状态不合法")
        known = self._refund_of(payment, number)
        if known:
            if known.amount_fen != amount_fen:
                raise business("DISCORDANT_REPEAT_REQUEST", "不一致的请求")
            self._books.execute("UPDATE refunds SET calls = calls + 1 WHERE id = ?", known.id)
            if known.status != "CLOSED":
                return self._refund_node(trade, known, changed=False), False
        self._check_refundable(trade, payment, amount_fen)
        if known:
            # The first try ended without moving money, so the same number may try again.
            refund = self._trading.finish_refund(known, "SUCCESS")
        else:
            refund = self._trading.create_refund(
                trade,
                payment,
                number=number,
                amount_fen=amount_fen,
                reason=str(content.get("refund_reason", "")),
                notify_url="",
            )
        return self._refund_node(trade, refund, changed=refund.status == "SUCCESS"), True

    def refund_query(self, account: AlipayAccount, content: dict[str, Any]) -> tuple[Node, bool]:
        """alipay.trade.fastpay.refund.query: REFUND_SUCCESS is its only positive word."""
        trade, payment = self._find(account, content)
        number = content.get("out_request_no")
        if not isinstance(number, str) or not number:
            raise business("INVALID_PARAMETER", "参数无效：out_request_no")
        refund = self._refund_of(payment, number) if payment else None
        if refund is None or refund.status != "SUCCESS":
            return {}, False
        return {
            "trade_no": payment.transaction_no if payment else trade.trade_no,
            "out_trade_no": trade.out_trade_no,
            "out_request_no": refund.out_refund_no,
            "total_amount": fen_to_yuan(trade.total_fen),
            "refund_amount": fen_to_yuan(refund.amount_fen),
            "refund_status": "REFUND_SUCCESS",
            "gmt_refund_pay": alipay_time(refund.finished_at or refund.created_at),
            "refund_reason": refund.reason,
        }, False

    def certificates(self, account: AlipayAccount, content: dict[str, Any]) -> tuple[Node, bool]:
        """alipay.open.app.alipaycert.download: the Alipay certificate with the asked serial."""
        if account.mode != "cert" or content.get("alipay_cert_sn") != certificate_sn(
            account.alipay_cert
        ):
            raise AlipayError("40004", "isv.invalid-cert-sn", "证书序列号不存在")
        return {
            "alipay_cert_content": base64.b64encode(account.alipay_cert.encode()).decode()
        }, False

    # -- rules

    def _find(
        self, account: AlipayAccount, content: Mapping[str, Any]
    ) -> tuple[Trade, Payment | None]:
        """The trade and the payment meant: of this trade_no, else the first one."""
        trade_no, number = content.get("trade_no"), content.get("out_trade_no")
        if trade_no:
            trade = self._books.trade_by_transaction("alipay", account.app_id, str(trade_no))
        elif number:
            trade = self._books.trade("alipay", account.app_id, str(number))
        else:
            raise business("INVALID_PARAMETER", "参数无效：out_trade_no 和 trade_no 不能同时为空")
        if trade is None:
            raise business("TRADE_NOT_EXIST", "交易不存在")
        payments = self._books.payments(trade.id)
        named = [p for p in payments if p.transaction_no == trade_no]
        return trade, next(iter(named or payments), None)

    def _refund_of(self, payment: Payment, number: str) -> Refund | None:
        refunds = self._books.refunds(payment.trade_id)
        return next(
            (r for r in refunds if r.payment_id == payment.id and r.out_refund_no == number), None
        )

    @staticmethod
    def _refund_request(trade: Trade, content: Mapping[str, Any]) -> tuple[str, int]:
        try:
            amount_fen = yuan_to_fen(str(content.get("refund_amount", "")))
        except ValueError:
            raise business("INVALID_PARAMETER", "参数无效：refund_amount") from None
        if amount_fen < 1:
            raise business("REFUND_FEE_ERROR", "退款金额无效")
        number = str(content.get("out_request_no") or "")
        if not number:
            if amount_fen != trade.total_fen:
                raise business("INVALID_PARAMETER", "部分退款必须传入 out_request_no")
            return trade.out_trade_no, amount_fen
        if len(number) > 64:
            raise business("INVALID_PARAMETER", "参数无效：out_request_no")
        return number, amount_fen

    def _check_refundable(self, trade: Trade, payment: Payment, amount_fen: int) -> None:
        if trade.status == "FINISHED":
            raise business("TRADE_HAS_FINISHED", "交易已完结")
        if amount_fen > payment.amount_fen - self._trading.reserved_fen(payment):
            raise business("REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限")

    def _refund_node(self, trade: Trade, refund: Refund, *, changed: bool) -> Node:
        payment = next(p for p in self._books.payments(trade.id) if p.id == refund.payment_id)
        node: Node = {
            "buyer_logon_id": BUYER_LOGON_ID,
            "buyer_user_id": BUYER_ID,
            "fund_change": "Y" if changed else "N",
            "out_trade_no": trade.out_trade_no,
            "trade_no": payment.transaction_no,
            "refund_fee": fen_to_yuan(payment.refunded_fen),
        }
        if refund.finished_at:
            node["gmt_refund_pay"] = alipay_time(refund.finished_at)
        return node

    def _check_reusable(self, known: Trade, total_fen: int, subject: str) -> None:
        if known.status in ("PAID", "FINISHED"):
            raise business("TRADE_HAS_SUCCESS", "交易已被支付")
        if known.status == "CLOSED":
            raise business("TRADE_HAS_CLOSE", "交易已经关闭")
        if known.total_fen != total_fen or known.subject != subject:
            raise business("CONTEXT_INCONSISTENT", "交易信息被篡改")

    @staticmethod
    def _total(value: object) -> int:
        try:
            total_fen = yuan_to_fen(str(value))
        except ValueError:
            raise business("INVALID_PARAMETER", "参数无效：total_amount") from None
        if not 1 <= total_fen <= _MAX_FEN:
            raise business("TOTAL_FEE_EXCEED", "订单总金额不在允许范围内")
        return total_fen

    def _expiry(self, content: Mapping[str, Any]) -> float:
        now = self._trading.clock.unix()
        if content.get("time_expire"):
            try:
                expires_at = parse_alipay_time(str(content["time_expire"]))
            except ValueError:
                raise business("INVALID_PARAMETER", "参数无效：time_expire") from None
            if expires_at <= now:
                raise business("NOW_TIME_AFTER_EXPIRE_TIME_ERROR", "当前时间已超过允许支付的时间")
            return min(expires_at, now + _LONGEST_EXPIRY)
        relative = str(content.get("timeout_express", "15d"))
        if relative == "1c":
            return now + _DAY - (now + 8 * 3600) % _DAY  # the end of today in Beijing
        match = _TIMEOUT.fullmatch(relative)
        if not match:
            raise business("INVALID_PARAMETER", "参数无效：timeout_express")
        seconds = int(match[1]) * {"m": 60, "h": 3600, "d": _DAY}[match[2]]
        return now + min(seconds, _LONGEST_EXPIRY)
