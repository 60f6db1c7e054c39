"""The pages on which a person pays: what Alipay's cashier or the WeChat app would show."""

import falcon

from sandbox import alipay_messages
from sandbox.books import Payment, Trade
from sandbox.clock import alipay_time
from sandbox.money import fen_to_yuan
from sandbox.pages import render
from sandbox.trading import PaymentRefusedError, Trading
from sandbox.wechat_orders import CODE_URL_LIFE_SECONDS

CODE_URL_PREFIX = "weixin://wxpay/bizpayurl?pr="


class Cashier:
    """The page at `/cashier/{provider}/{token}`."""

    def __init__(self, trading: Trading) -> None:
        self._trading = trading

    def on_get(
        self, _req: falcon.Request, resp: falcon.Response, provider: str, token: str
    ) -> None:
        """The order and the buttons."""
        self._show(resp, self._trade(provider, token), "", "")

    def on_post(
        self, req: falcon.Request, resp: falcon.Response, provider: str, token: str
    ) -> None:
        """A button was pressed: `action` = pay, late or cancel."""
        trade = self._trade(provider, token)
        form = req.get_media()
        action = form.get("action") if isinstance(form, dict) else None
        if action not in ("pay", "late"):
            self._show(resp, trade, "cancelled", "")
            return
        try:
            payments = self._trading.pay(trade.id, late=action == "late")
        except PaymentRefusedError as refusal:
            self._show(resp, trade, "refused", str(refusal))
            return
        if payments and trade.return_url:
            resp.status = falcon.HTTP_303
            resp.set_header("Location", self.return_url(trade, payments[0]))
            return
        self._show(resp, trade, "paid" if payments else "late", "")

    def return_url(self, trade: Trade, payment: Payment) -> str:
        """The merchant's return_url with Alipay's signed parameters."""
        account = self._trading.accounts.alipay[trade.account]
        query = alipay_messages.return_query(account, trade, payment, self._trading.clock.unix())
        return f"{trade.return_url}{'&' if '?' in trade.return_url else '?'}{query}"

    def trade_of_token(self, provider: str, token: str) -> Trade | None:
        """The trade of a cashier page; None if unknown or the QR code is too old."""
        books = self._trading.books
        row = books.row("SELECT * FROM cashier_tokens WHERE token = ?", token)
        if row is None:
            return None
        trade = books.trade_by_id(row["trade_id"])
        age = self._trading.clock.unix() - row["created_at"]
        if trade.provider != provider or (provider == "wxpay" and age > CODE_URL_LIFE_SECONDS):
            return None
        return trade

    def _trade(self, provider: str, token: str) -> Trade:
        self._trading.sweep()
        trade = self.trade_of_token({"wechat": "wxpay"}.get(provider, provider), token)
        if trade is None:
            raise falcon.HTTPNotFound(title="二维码已失效 / this code is not valid any more")
        return trade

    def _show(self, resp: falcon.Response, trade: Trade, outcome: str, reason: str) -> None:
        trade = self._trading.books.trade_by_id(trade.id)
        render(
            resp,
            "cashier.html",
            trade=trade,
            amount=fen_to_yuan(trade.total_fen),
            expires=alipay_time(trade.expires_at),
            expired=trade.expires_at <= self._trading.clock.unix(),
            outcome=outcome,
            reason=reason,
        )
