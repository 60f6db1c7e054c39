"""The business of the simulated WeChat Pay v3: native orders and refunds."""

import json
import re
from collections.abc import Mapping
from typing import Any

from sandbox import wechat_messages
from sandbox.accounts import WechatAccount
from sandbox.books import Payment, Refund, Trade
from sandbox.clock import parse_rfc3339, wechat_time
from sandbox.rsa_keys import load_certificate
from sandbox.trading import Trading
from sandbox.wechat_signing import WechatError, encrypt_resource

CODE_URL_LIFE_SECONDS = 2 * 3600
_ORDER_NUMBER = re.compile(r"[0-9A-Za-z_\-|*]{6,32}", re.ASCII)
_REFUND_NUMBER = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}", re.ASCII)
_DAY = 86400
_REFUND_WINDOW = 365 * _DAY
_MAX_REFUNDS = 50

Answer = dict[str, Any]


class WechatOrders:
    """One method per endpoint; returns (answer, effective) or raises WechatError.

    `effective` tells whether the call changed the books. Called inside a transaction.
    """

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._books = trading.books

    def create(self, account: WechatAccount, body: Mapping[str, Any]) -> tuple[Answer, bool]:
        """POST /v3/pay/transactions/native: a new order, or a new code for a known one."""
        total_fen = self._check_order(account, body)
        number = body["out_trade_no"]
        known = self._books.trade("wxpay", account.mch_id, number)
        if known:
            self._check_same_order(known, body, total_fen)
            self._books.execute(
                "UPDATE trades SET create_calls = create_calls + 1 WHERE id = ?", known.id
            )
            return self._code_url(known), False
        trade = self._trading.open_trade(
            account,
            out_trade_no=number,
            total_fen=total_fen,
            subject=body["description"],
            attach=body.get("attach", ""),
            notify_url=body["notify_url"],
            return_url="",
            expires_at=self._expiry(body),
        )
        return self._code_url(trade), True

    def query(self, account: WechatAccount, trade: Trade | None, number: str) -> Answer:
        """GET of one order; `number` is the transaction asked for, or empty."""
        if trade is None:
            raise WechatError(404, "ORDER_NOT_EXIST", "订单不存在")
        payments = self._books.payments(trade.id)
        named = [p for p in payments if p.transaction_no == number]
        payment = next(iter(named or payments), None)
        state = wechat_messages.trade_state(trade, self._books.refunds(trade.id))
        return wechat_messages.transaction(account, trade, payment, state)

    def close(self, trade: Trade | None) -> bool:
        """POST …/close; closing twice is fine. Returns whether it changed the books."""
        if trade is None:
            raise WechatError(404, "ORDER_NOT_EXIST", "订单不存在")
        if trade.status == "CLOSED":
            return False
        if trade.status != "WAITING":
            raise WechatError(400, "ORDERPAID", "订单已支付")
        self._trading.close(trade)
        return True

    def refund(self, account: WechatAccount, body: Mapping[str, Any]) -> tuple[Answer, bool]:
        """POST /v3/refund/domestic/refunds: a new refund, or the same one again."""
        number, amount_fen, total_fen = self._check_refund(body)
        trade, payment = self._paid_trade(account, body)
        known = self._books.refund("wxpay", account.mch_id, number)
        if known:
            if (known.trade_id, known.amount_fen) != (trade.id, amount_fen):
                raise WechatError(400, "INVALID_REQUEST", "商户退款单号重复且参数不一致")
            self._books.execute("UPDATE refunds SET calls = calls + 1 WHERE id = ?", known.id)
            return wechat_messages.refund_object(trade, payment, known), False
        if total_fen != payment.amount_fen:
            raise WechatError(400, "INVALID_REQUEST", "订单金额与原订单不一致")
        if amount_fen > payment.amount_fen - self._trading.reserved_fen(payment):
            raise WechatError(400, "INVALID_REQUEST", "订单退款金额大于可退金额")
        if len(self._books.refunds(trade.id)) >= _MAX_REFUNDS:
            raise WechatError(400, "INVALID_REQUEST", "单笔订单退款次数超过上限")
        if self._trading.clock.unix() - payment.paid_at > _REFUND_WINDOW:
            raise WechatError(400, "INVALID_REQUEST", "订单已超过可退款期限")
        refund = self._trading.create_refund(
            trade,
            payment,
            number=number,
            amount_fen=amount_fen,
            reason=body.get("reason", ""),
            notify_url=body.get("notify_url", ""),
        )
        return wechat_messages.refund_object(trade, payment, refund), True

    def refund_query(self, account: WechatAccount, number: str) -> Answer:
        """GET /v3/refund/domestic/refunds/{out_refund_no}: the state of a refund."""
        refund = self._books.refund("wxpay", account.mch_id, number)
        if refund is None:
            raise WechatError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        trade = self._books.trade_by_id(refund.trade_id)
        return wechat_messages.refund_object(trade, self._payment_of(refund), refund)

    def certificates(self, account: WechatAccount) -> Answer:
        """GET /v3/certificates: every live certificate, encrypted."""
        if not account.platform_certificates:
            raise WechatError(
                404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台使用微信支付公钥"
            )
        entries = []
        for item in account.platform_certificates:
            certificate = load_certificate(item.cert)
            sealed = encrypt_resource(account.api_v3_key, item.cert.encode(), "certificate")
            entries.append(
                {
                    "serial_no": item.serial_no,
                    "effective_time": wechat_time(certificate.not_valid_before_utc.timestamp()),
                    "expire_time": wechat_time(certificate.not_valid_after_utc.timestamp()),
                    "encrypt_certificate": sealed,
                }
            )
        return {"data": entries}

    # -- rules

    def _check_order(self, account: WechatAccount, body: Mapping[str, Any]) -> int:
        for name, limit in (("appid", 32), ("mchid", 32), ("description", 127),
                            ("out_trade_no", 32), ("notify_url", 255)):  # fmt: skip
            value = body.get(name)
            if not isinstance(value, str) or not 1 <= len(value) <= limit:
                raise _parameter_error(name)
        if body["appid"] != account.app_id:
            raise WechatError(400, "APPID_MCHID_NOT_MATCH", "appid和mchid不匹配")
        if not _ORDER_NUMBER.fullmatch(body["out_trade_no"]):
            raise _parameter_error("out_trade_no")
        if not re.match("https?://", body["notify_url"]) or "?" in body["notify_url"]:
            raise _parameter_error("notify_url")
        attach = body.get("attach", "")
        if not isinstance(attach, str) or len(attach) > 128:
            raise _parameter_error("attach")
        amount = body.get("amount")
        total = amount.get("total") if isinstance(amount, dict) else None
        if not isinstance(total, int) or isinstance(total, bool) or total < 1:
            raise _parameter_error("amount/total")
        if isinstance(amount, dict) and amount.get("currency", "CNY") != "CNY":
            raise _parameter_error("amount/currency")
        return total

    def _check_same_order(self, known: Trade, body: Mapping[str, Any], total_fen: int) -> None:
        """The same number must mean the same order; `time_expire` counts only the first time."""
        same = (known.total_fen, known.subject, known.attach, known.notify_url) == (
            total_fen, body["description"], body.get("attach", ""), body["notify_url"],
        )  # fmt: skip
        if known.status in ("PAID", "FINISHED"):
            raise WechatError(400, "ORDERPAID", "该订单已支付")
        if known.status == "CLOSED":
            raise WechatError(400, "ORDER_CLOSED", "该订单已关闭")
        if not same:
            raise WechatError(403, "OUT_TRADE_NO_USED", "商户订单号重复")

    def _expiry(self, body: Mapping[str, Any]) -> float:
        now = self._trading.clock.unix()
        if "time_expire" not in body:
            return now + 7 * _DAY
        try:
            return max(parse_rfc3339(body["time_expire"]), now + 60)
        except (ValueError, TypeError):
            raise _parameter_error("time_expire") from None

    def _code_url(self, trade: Trade) -> Answer:
        return {"code_url": f"weixin://wxpay/bizpayurl?pr={self._trading.cashier_token(trade)}"}

    def _check_refund(self, body: Mapping[str, Any]) -> tuple[str, int, int]:
        number = body.get("out_refund_no")
        if not isinstance(number, str) or not _REFUND_NUMBER.fullmatch(number):
            raise _parameter_error("out_refund_no")
        if not body.get("transaction_id") and not body.get("out_trade_no"):
            raise _parameter_error("transaction_id")
        for name, limit in (("reason", 80), ("notify_url", 256)):
            value = body.get(name, "")
            if not isinstance(value, str) or len(value) > limit:
                raise _parameter_error(name)
        amount = body.get("amount")
        if not isinstance(amount, dict) or amount.get("currency") != "CNY":
            raise _parameter_error("amount")
        for name in ("refund", "total"):
            value = amount.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise _parameter_error(f"amount/{name}")
        return number, amount["refund"], amount["total"]

    def _paid_trade(self, account: WechatAccount, body: Mapping[str, Any]) -> tuple[Trade, Payment]:
        transaction_no = str(body.get("transaction_id") or "")
        if transaction_no:
            trade = self._books.trade_by_transaction("wxpay", account.mch_id, transaction_no)
        else:
            trade = self._books.trade("wxpay", account.mch_id, str(body["out_trade_no"]))
        if trade is None:
            raise WechatError(404, "RESOURCE_NOT_EXISTS", "订单不存在")
        payments = self._books.payments(trade.id)
        named = [p for p in payments if p.transaction_no == transaction_no]
        if not payments:
            raise WechatError(400, "INVALID_REQUEST", "订单未支付，不能退款")
        return trade, (named or payments)[0]

    def _payment_of(self, refund: Refund) -> Payment:
        payments = self._books.payments(refund.trade_id)
        return next(p for p in payments if p.id == refund.payment_id)


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a request that passed the signature check."""
    parsed = json.loads(body) if body else {}
    if not isinstance(parsed, dict):
        raise WechatError(400, "PARAM_ERROR", "请求体不是JSON对象")
    return parsed


def _parameter_error(field: str) -> WechatError:
    return WechatError(
        400, "PARAM_ERROR", f"参数错误：{field}", {"field": f"/{field}", "location": "body"}
    )
