"""What happens to money at the simulated providers: pay, close, expire, refund, push."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sandbox import alipay_messages, wechat_messages
from sandbox.account_store import Accounts
from sandbox.accounts import AlipayAccount, WechatAccount
from sandbox.books import Books, Payment, Refund, Trade
from sandbox.clock import Clock, alipay_time
from sandbox.push_plan import Push, plan_pushes
from sandbox.scenarios import Chosen, Occasion, Scenarios

LATE_PAYMENT_SECONDS = 1.0
ALIPAY_REFUND_WINDOW_SECONDS = 365 * 86400
WECHAT_REFUND_SECONDS = 0.5
PENDING_REFUND_SECONDS = 10.0
_REFUND_OUTCOMES = {
    "refund_pending": "SUCCESS", "refund_closed": "CLOSED", "refund_abnormal": "ABNORMAL",
}  # fmt: skip


class PaymentRefusedError(Exception):
    """The cashier cannot take this payment; the text says why, in both languages."""


class Trading:
    """The rules that both providers share. All changes of the books go through here."""

    def __init__(
        self,
        books: Books,
        accounts: Accounts,
        clock: Clock,
        scenarios: Scenarios,
        wake_pusher: Callable[[], None],
    ) -> None:
        self.books = books
        self.accounts = accounts
        self.clock = clock
        self.scenarios = scenarios
        self._wake_pusher = wake_pusher

    # -- trades

    def open_trade(
        self,
        account: AlipayAccount | WechatAccount,
        *,
        out_trade_no: str,
        total_fen: int,
        subject: str,
        attach: str,
        notify_url: str,
        return_url: str,
        expires_at: float,
    ) -> Trade:
        """Makes a new WAITING trade; the caller has checked that the number is free."""
        now = self.clock.unix()
        trade_id = self.books.insert(
            "trades",
            provider=account.provider,
            account=account.account_id,
            out_trade_no=out_trade_no,
            trade_no=self._provider_number(account.provider),
            total_fen=total_fen,
            subject=subject,
            attach=attach,
            notify_url=notify_url,
            return_url=return_url,
            status="WAITING",
            created_at=now,
            expires_at=expires_at,
        )
        return self.books.trade_by_id(trade_id)

    def cashier_token(self, trade: Trade) -> str:
        """A fresh token of the cashier page of this trade."""
        token = secrets.token_urlsafe(12)
        self.books.insert(
            "cashier_tokens", token=token, trade_id=trade.id, created_at=self.clock.unix()
        )
        return token

    def sweep(self) -> None:
        """Lets time do its work: expiry and end of refundability (Alipay), late payments, refunds."""
        now = self.clock.unix()
        with self.books.transaction():
            self.books.execute(
                "UPDATE trades SET status = 'CLOSED', closed_at = expires_at"
                " WHERE provider = 'alipay' AND status = 'WAITING' AND expires_at <= ?", now,
            )  # fmt: skip
            self.books.execute(
                "UPDATE trades SET status = 'FINISHED' WHERE provider = 'alipay' AND status = 'PAID'"
                " AND id IN (SELECT trade_id FROM payments WHERE paid_at < ?)",
                now - ALIPAY_REFUND_WINDOW_SECONDS,
            )
            self.books.execute(
                "UPDATE trades SET late_payment_due = ? WHERE awaits_late_payment = 1"
                " AND late_payment_due IS NULL AND (status = 'CLOSED' OR expires_at <= ?)",
                time.time() + LATE_PAYMENT_SECONDS, now,
            )  # fmt: skip
            due = self.books.rows(
                "SELECT id FROM trades WHERE awaits_late_payment = 1 AND late_payment_due <= ?",
                time.time(),
            )
            for row in due:
                self.books.execute(
                    "UPDATE trades SET awaits_late_payment = 0 WHERE id = ?", row["id"]
                )
                self._book_payment(self.books.trade_by_id(row["id"]), late=True)
            refunds = self.books.rows(
                "SELECT * FROM refunds WHERE status = 'PROCESSING' AND settles_due <= ?",
                time.time(),
            )
            for found in refunds:
                self.finish_refund(Refund(**found), found["settles_as"])

    def close(self, trade: Trade) -> None:
        """WAITING becomes CLOSED."""
        self.books.execute(
            "UPDATE trades SET status = 'CLOSED', closed_at = ? WHERE id = ?",
            self.clock.unix(), trade.id,
        )  # fmt: skip

    # -- payments

    def pay(
        self, trade_id: int, *, force: bool = False, late: bool = False, times: int = 1
    ) -> list[Payment]:
        """The payer pays. Returns the new payments: none if the money comes late, two if twice.

        `force` books the money whatever the state: late after a close or expiry, or a second
        payment after the first. Raises PaymentRefusedError where a real cashier would.
        """
        self.sweep()
        with self.books.transaction():
            trade = self.books.trade_by_id(trade_id)
            if not force:
                self._check_payable(trade)
            chosen = self.scenarios.choose("payment", self._occasion(trade, "pay"))
            if late or (chosen and chosen.name == "pays_late" and not force):
                self.books.execute(
                    "UPDATE trades SET awaits_late_payment = 1 WHERE id = ?", trade.id
                )
                return []
            if chosen and chosen.name == "pays_twice":
                times = 2
            closed = trade.status == "CLOSED" or trade.expires_at <= self.clock.unix()
            payments = [self._book_payment(trade, late=closed) for _ in range(times)]
        self._wake_pusher()
        return payments

    def _check_payable(self, trade: Trade) -> None:
        if trade.status in ("PAID", "FINISHED"):
            raise PaymentRefusedError("订单已支付 / the order has been paid")
        if trade.status == "CLOSED":
            raise PaymentRefusedError("订单已关闭 / the order is closed")
        if trade.expires_at <= self.clock.unix():
            raise PaymentRefusedError("订单已过期 / the order has expired")

    def _book_payment(self, trade: Trade, *, late: bool) -> Payment:
        first = not self.books.payments(trade.id)
        number = trade.trade_no if first else self._provider_number(trade.provider)
        payment = Payment(
            id=0,
            trade_id=trade.id,
            transaction_no=number,
            amount_fen=trade.total_fen,
            refunded_fen=0,
            late=int(late),
            paid_at=self.clock.unix(),
        )
        values = {name: value for name, value in vars(payment).items() if name != "id"}
        payment = replace(payment, id=self.books.insert("payments", **values))
        self.books.execute("UPDATE trades SET status = 'PAID' WHERE id = ?", trade.id)
        self.push(self.books.trade_by_id(trade.id), payment, None)
        return payment

    # -- refunds

    def create_refund(
        self,
        trade: Trade,
        payment: Payment,
        *,
        number: str,
        amount_fen: int,
        reason: str,
        notify_url: str,
    ) -> Refund:
        """Accepts a refund. Alipay's is done at once, WeChat Pay's a moment later."""
        chosen = self.scenarios.choose(
            "refund", self._occasion(trade, "refund", number, amount_fen)
        )
        outcome = _REFUND_OUTCOMES[chosen.name] if chosen else "SUCCESS"
        wait: float | None = 0.0 if trade.provider == "alipay" else WECHAT_REFUND_SECONDS
        if chosen:
            wait = chosen.seconds(PENDING_REFUND_SECONDS if outcome == "SUCCESS" else 1.0)
        refund_id = self.books.insert(
            "refunds",
            provider=trade.provider,
            account=trade.account,
            trade_id=trade.id,
            payment_id=payment.id,
            out_refund_no=number,
            refund_no=self._provider_number(trade.provider, "5"),
            amount_fen=amount_fen,
            reason=reason,
            notify_url=notify_url,
            status="PROCESSING",
            created_at=self.clock.unix(),
            settles_as=outcome,
            settles_due=None if wait is None else time.time() + wait,
        )
        refund = self._refund(refund_id)
        if wait == 0.0:
            refund = self.finish_refund(refund, outcome)
        self._wake_pusher()
        return refund

    def finish_refund(self, refund: Refund, outcome: str) -> Refund:
        """Ends a PROCESSING or ABNORMAL refund as SUCCESS, CLOSED or ABNORMAL and pushes it."""
        with self.books.transaction():
            self.books.execute(
                "UPDATE refunds SET status = ?, finished_at = ?, settles_due = NULL WHERE id = ?",
                outcome, self.clock.unix(), refund.id,
            )  # fmt: skip
            if outcome == "SUCCESS":
                self.books.execute(
                    "UPDATE payments SET refunded_fen = refunded_fen + ? WHERE id = ?",
                    refund.amount_fen, refund.payment_id,
                )  # fmt: skip
            finished = self._refund(refund.id)
            trade = self.books.trade_by_id(refund.trade_id)
            payment = next(p for p in self.books.payments(trade.id) if p.id == refund.payment_id)
            if trade.provider == "wxpay" or outcome == "SUCCESS":
                self.push(trade, payment, finished)
        self._wake_pusher()
        return finished

    def reserved_fen(self, payment: Payment) -> int:
        """What refunds have taken or may still take of a payment."""
        return sum(
            r.amount_fen
            for r in self.books.refunds(payment.trade_id)
            if r.payment_id == payment.id and r.status != "CLOSED"
        )

    # -- pushes

    def push(
        self,
        trade: Trade,
        payment: Payment | None,
        refund: Refund | None,
        *,
        status: str | None = None,
        chosen: Chosen | None = None,
    ) -> list[int]:
        """Queues the notification of an event as the scenario wants it; ids of the rows.

        `status` makes an Alipay push of that trade_status; `chosen` overrides the rules.
        """
        url = refund.notify_url if refund and trade.provider == "wxpay" else trade.notify_url
        if not url:
            return []
        content, event = self._content(trade, payment, refund, status)
        amount = refund.amount_fen if refund else trade.total_fen
        number = refund.out_refund_no if refund else trade.out_trade_no
        if chosen is None:
            occasion = self._occasion(trade, "notify", number, amount, event)
            chosen = self.scenarios.choose("push", occasion)
        return [
            self._queue(trade, url, event, piece, chosen)
            for piece in plan_pushes(trade.provider, content, chosen)
        ]

    def _content(
        self, trade: Trade, payment: Payment | None, refund: Refund | None, status: str | None
    ) -> tuple[dict[str, Any], str]:
        if trade.provider == "alipay":
            app = self.accounts.alipay[trade.account]
            fields = alipay_messages.notice(app, trade, payment, refund, status)
            return fields, fields["trade_status"]
        merchant = self.accounts.wxpay[trade.account]
        if payment is None:
            raise ValueError("WeChat Pay pushes payments and refunds only")
        now = self.clock.unix()
        if refund:
            content = wechat_messages.refund_notice(merchant, trade, payment, refund, now)
        else:
            content = wechat_messages.payment_notice(merchant, trade, payment, now)
        return content, content["event_type"]

    def _queue(self, trade: Trade, url: str, event: str, piece: Push, chosen: Chosen | None) -> int:
        content = piece.content
        return self.books.insert(
            "notifications",
            provider=trade.provider,
            account=trade.account,
            trade_id=trade.id,
            event=content.get("trade_status", event),
            notify_id=content.get("notify_id") or content["id"],
            url=url,
            content=json.dumps(content, ensure_ascii=False),
            scenario=chosen.name if chosen else "",
            flaw=piece.flaw,
            flawed_attempts=piece.flawed_attempts,
            created_at=self.clock.unix(),
            state="lost" if piece.lost else "waiting",
            due=time.time() + piece.delay_seconds,
        )

    # -- helpers

    def record_call(
        self,
        provider: str,
        account: str,
        operation: str,
        number: str,
        *,
        scenario: str,
        effective: bool,
        answer: str,
    ) -> None:
        """Keeps one call of the provider's interface; `effective` if it changed the books."""
        self.books.insert(
            "calls",
            at=self.clock.unix(),
            provider=provider,
            account=account,
            operation=operation,
            number=number,
            scenario=scenario,
            effective=int(effective),
            answer=answer,
        )

    def _occasion(
        self,
        trade: Trade,
        operation: str,
        number: str | None = None,
        amount_fen: int | None = None,
        event: str = "",
    ) -> Occasion:
        return Occasion(
            provider=trade.provider,
            account=trade.account,
            operation=operation,
            number=number or trade.out_trade_no,
            out_trade_no=trade.out_trade_no,
            amount_fen=trade.total_fen if amount_fen is None else amount_fen,
            event=event,
        )

    def _refund(self, refund_id: int) -> Refund:
        return Refund(**self.books.rows("SELECT * FROM refunds WHERE id = ?", refund_id)[0])

    def _provider_number(self, provider: str, prefix: str = "4") -> str:
        """A number in the provider's form: date first (Alipay) or 28 digits (WeChat Pay)."""
        day = alipay_time(self.clock.unix())[:10].replace("-", "")
        serial = f"{secrets.randbelow(10**12):012d}"
        if provider == "alipay":
            return f"{day}220014{serial}01"
        return f"{prefix}20000{secrets.randbelow(100):02d}{day}{serial}"
