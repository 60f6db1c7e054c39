"""Control calls: how tests, scripts and people drive the sandbox. All JSON, no authentication.

    GET  /control/accounts            what a merchant copies from the providers' consoles; `config`
                                      is ready for `novapay accounts create --config`
    POST /control/accounts            {"provider": "alipay", "mode": "public_key" | "cert"}
                                      {"provider": "wxpay", "mode": "platform_cert" | "public_key" |
                                      "both"}: a further account; whatever is left out is made.
                                      alipay: appId, sellerId, label, appPrivateKey | appPublicKey,
                                      alipayPrivateKey, appCert + alipayCert + alipayRootCert;
                                      wxpay: mchId, appId, label, apiV3Key, merchantPrivateKey |
                                      merchantPublicKey, merchantSerialNo, publicKeyId,
                                      platformPrivateKey, platformCertificates
                                      [{"cert", "privateKey"}]
    POST /control/rotate              {"provider": "wxpay", "account": "…", "step": "renew"}
                                      wxpay: add, switch, drop, renew (= add and switch);
                                      alipay (certificate mode): renew, rekey
    POST /control/grey                {"account": "1900900003", "percent": 50}: share of pushes
                                      signed with the public key instead of the certificate
    POST /control/open                {"url": checkoutUrl}: opens Alipay's page-pay link, or a
                                      weixin:// code, as a payer would
    POST /control/pay                 {"provider": "wxpay", "outTradeNo": "po_…"} or {"url": …}
                                      (opens and pays at once); optional "account", "force": true
                                      (pay whatever the state: late or again), "late": true (the
                                      money arrives after close or expiry), "times": 2,
                                      "waitSeconds": 5 (answer after the pushes were tried once)
    POST /control/notify              {"provider": "alipay", "outTradeNo": "po_…"}: pushes again;
                                      optional "outRefundNo", "transactionNo", "status" (Alipay's
                                      trade_status: WAIT_BUYER_PAY, TRADE_CLOSED, TRADE_FINISHED …),
                                      "scenario" (a push scenario), "options", "waitSeconds"
    POST /control/refunds             {"provider": "wxpay", "outRefundNo": "rf_…", "status":
                                      "SUCCESS" | "CLOSED" | "ABNORMAL"}: ends a pending refund
    GET  /control/scenarios           all scenarios, the amounts that choose them, rules in force
    POST /control/scenarios           {"scenario": "timeout_after_success", "match": {"operation":
                                      "refund", "provider": "wxpay"}, "times": 1, "options": {}};
                                      match: provider, account, operation (create, query, close,
                                      refund, refund_query, certificates, pay, notify), outTradeNo,
                                      number, event; options: delaySeconds, holdSeconds, copies,
                                      attempts; times null = for ever
    DELETE /control/scenarios         drops the rules
    POST /control/settings            {"amountScenarios": false}
    GET, POST /control/clock          {"offsetSeconds": 1800}: moves business time, so that orders
                                      expire; "skewSeconds": 600 makes WeChat Pay's signature clock
                                      wrong; "timeFactor": 0.01 shortens the pauses between
                                      notification attempts
    GET  /control/books               trades with payments, refunds, pushes; calls; ?provider=
                                      &account= &outTradeNo=
    POST /control/reset               {}: empty books, real time, no rules; accounts and shops stay
    POST /control/merchants           {"name": "demo", "notifySecret": "…", "merchantCode": "M1"}
                                      → {"callbackUrl": …}
    POST /control/merchants/{name}/behaviour
                                      {"status": 503, "retryAfter": "2", "times": 3}; also
                                      delaySeconds, redirectTo, bodyBytes, reset, hold; {} = good
    GET  /merchant/{name}/deliveries  every callback as received with both verdicts; ?orderId=
    GET  /merchant/{name}/books       what the shop believes

A wrong call answers 400, 404 or 409 as {"title": …, "description": …}.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import falcon

from sandbox.account_factory import new_account
from sandbox.accounts import Account, AccountError
from sandbox.alipay_gateway import AlipayGateway
from sandbox.alipay_signing import AlipayError
from sandbox.book_view import books_view, notification_view, payment_view, trade_view
from sandbox.books import Refund, Trade
from sandbox.cashier import CODE_URL_PREFIX, Cashier
from sandbox.clock import utc_iso
from sandbox.merchant_site import behaviour_from, new_notify_secret
from sandbox.scenarios import AMOUNT_TABLE, MATCH_FIELDS, OPERATIONS, SCENARIOS, Chosen
from sandbox.state import SandboxState
from sandbox.trading import PaymentRefusedError

_POLL_SECONDS = 0.02


class Control:
    """Responders of all control calls."""

    def __init__(self, state: SandboxState, gateway: AlipayGateway, cashier: Cashier) -> None:
        self._state = state
        self._gateway = gateway
        self._cashier = cashier

    # -- accounts and keys

    def on_get_accounts(self, req: falcon.Request, resp: falcon.Response) -> None:
        """All test accounts."""
        listing = [_account_view(a, req.prefix) for a in self._state.accounts.every()]
        resp.media = {"accounts": listing}

    def on_post_accounts(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A further account."""
        account = _account_or_400(lambda: new_account(_body(req)))
        self._state.accounts.put(account)
        resp.status = falcon.HTTP_201
        resp.media = _account_view(account, req.prefix)

    def on_post_rotate(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Certificates change."""
        body = _body(req)
        account = _account_or_400(
            lambda: self._state.accounts.rotate(
                _text(body, "provider"), _text(body, "account"), str(body.get("step", "renew"))
            )
        )
        resp.media = _account_view(account, req.prefix)

    def on_post_grey(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Certificates and public key mixed."""
        body = _body(req)
        percent = _number(body, "percent", 50)
        account = _account_or_400(
            lambda: self._state.accounts.set_grey_percent(_text(body, "account"), int(percent))
        )
        resp.media = _account_view(account, req.prefix)

    # -- payers

    def on_post_open(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Opens a cashier."""
        trade, token = self._open(_text(_body(req), "url"))
        path = "wechat" if trade.provider == "wxpay" else "alipay"
        resp.media = {
            "token": token,
            "cashierUrl": f"{req.prefix}/cashier/{path}/{token}",
            "trade": trade_view(self._state.books, trade),
        }

    def on_post_pay(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Pays."""
        body = _body(req)
        trade = self._open(_text(body, "url"))[0] if "url" in body else self._find(body)
        try:
            payments = self._state.trading.pay(
                trade.id,
                force=bool(body.get("force", False)),
                late=bool(body.get("late", False)),
                times=int(_number(body, "times", 1)),
            )
        except PaymentRefusedError as refusal:
            raise falcon.HTTPConflict(title="not payable", description=str(refusal)) from None
        pushes = self._tried_pushes(trade, _number(body, "waitSeconds", 0))
        answer: dict[str, Any] = {
            "payments": [payment_view(p) for p in payments],
            "notifications": pushes,
            "trade": trade_view(self._state.books, self._state.books.trade_by_id(trade.id)),
        }
        if payments and trade.return_url:
            answer["returnUrl"] = self._cashier.return_url(trade, payments[0])
        resp.media = answer

    def on_post_notify(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Pushes once more, as asked."""
        body = _body(req)
        trade = self._find(body)
        books = self._state.books
        payments = books.payments(trade.id)
        wanted = body.get("transactionNo")
        payment = next((p for p in payments if wanted in (None, p.transaction_no)), None)
        refund = None
        if "outRefundNo" in body:
            number = _text(body, "outRefundNo")
            refund = next((r for r in books.refunds(trade.id) if r.out_refund_no == number), None)
            if refund is None:
                raise falcon.HTTPNotFound(title="no such refund")
        scenario = SCENARIOS.get(str(body.get("scenario", "")))
        if "scenario" in body and (scenario is None or scenario.family != "push"):
            raise falcon.HTTPBadRequest(title="not a push scenario")
        chosen = Chosen(scenario, body.get("options") or {}) if scenario else None
        try:
            with books.transaction():
                self._state.trading.push(
                    trade, payment, refund, status=body.get("status"), chosen=chosen
                )
        except ValueError as error:
            raise falcon.HTTPConflict(title="not pushable", description=str(error)) from None
        self._state.pusher.wake()
        wait = _number(body, "waitSeconds", 0)
        resp.media = {"notifications": self._tried_pushes(trade, wait)}

    def on_post_refunds(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ends a refund that is pending or abnormal."""
        body = _body(req)
        outcome = _text(body, "status")
        if outcome not in ("SUCCESS", "CLOSED", "ABNORMAL"):
            raise falcon.HTTPBadRequest(title="status must be SUCCESS, CLOSED or ABNORMAL")
        rows = self._state.books.rows(
            "SELECT * FROM refunds WHERE provider = ? AND out_refund_no = ?",
            _text(body, "provider"), _text(body, "outRefundNo"),
        )  # fmt: skip
        if not rows:
            raise falcon.HTTPNotFound(title="no such refund")
        refund = Refund(**rows[-1])
        if refund.status not in ("PROCESSING", "ABNORMAL"):
            raise falcon.HTTPConflict(title=f"the refund is {refund.status}")
        self._state.trading.finish_refund(refund, outcome)
        trade = self._state.books.trade_by_id(refund.trade_id)
        resp.media = {"trade": trade_view(self._state.books, trade)}

    # -- scenarios, clock, books

    def on_get_scenarios(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """What there is and what is in force."""
        resp.media = {
            "scenarios": [
                {"name": s.name, "family": s.family, "zh": s.zh, "en": s.en}
                for s in SCENARIOS.values()
            ],
            "amounts": [
                {"fenPart": fen, "operation": operation, "scenario": name}
                for fen, (operation, name) in AMOUNT_TABLE.items()
            ],
            "matchFields": MATCH_FIELDS,
            "operations": OPERATIONS,
            "rules": self._state.scenarios.listing(),
        }

    def on_post_scenarios(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A new rule."""
        body = _body(req)
        times = body.get("times", 1)
        match, options = body.get("match") or {}, body.get("options") or {}
        if not isinstance(match, dict) or not isinstance(options, dict):
            raise falcon.HTTPBadRequest(title="match and options are objects")
        if times is not None and (not isinstance(times, int) or times < 1):
            raise falcon.HTTPBadRequest(title="times is a positive integer or null")
        try:
            self._state.scenarios.add(_text(body, "scenario"), match, times, options)
        except ValueError as error:
            raise falcon.HTTPBadRequest(title="no such rule", description=str(error)) from None
        resp.status = falcon.HTTP_201
        resp.media = {"rules": self._state.scenarios.listing()}

    def on_delete_scenarios(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """No rules any more."""
        self._state.scenarios.clear()
        resp.media = {"rules": []}

    def on_post_settings(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Amount scenarios on or off."""
        self._state.scenarios.amount_scenarios = bool(_body(req).get("amountScenarios", True))
        resp.media = {"amountScenarios": self._state.scenarios.amount_scenarios}

    def on_get_clock(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Provider time."""
        clock = self._state.clock
        resp.media = {
            "now": utc_iso(clock.unix()),
            "offsetSeconds": clock.offset_seconds,
            "skewSeconds": clock.skew_seconds,
            "timeFactor": clock.time_factor,
        }

    def on_post_clock(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Moves provider time; what has expired by then expires now."""
        body, clock = _body(req), self._state.clock
        clock.offset_seconds = _number(body, "offsetSeconds", clock.offset_seconds)
        clock.skew_seconds = _number(body, "skewSeconds", clock.skew_seconds)
        clock.time_factor = _number(body, "timeFactor", clock.time_factor)
        self._state.trading.sweep()
        self._state.pusher.wake()
        self.on_get_clock(req, resp)

    def on_get_books(self, req: falcon.Request, resp: falcon.Response) -> None:
        """The books."""
        self._state.trading.sweep()
        resp.media = books_view(
            self._state.books,
            provider=req.get_param("provider"),
            account=req.get_param("account"),
            out_trade_no=req.get_param("outTradeNo"),
        )

    def on_post_reset(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """A clean slate."""
        self._state.reset()
        resp.media = {"reset": True}

    # -- demo merchants

    def on_post_merchants(self, req: falcon.Request, resp: falcon.Response) -> None:
        """A shop that receives callbacks."""
        body = _body(req)
        name = _text(body, "name")
        if not name.replace("-", "").replace("_", "").isalnum():
            raise falcon.HTTPBadRequest(title="name: letters, digits, - and _")
        secret = str(body.get("notifySecret") or new_notify_secret())
        self._state.merchants.register(name, secret, str(body.get("merchantCode", "")))
        resp.status = falcon.HTTP_201
        resp.media = {
            "name": name,
            "notifySecret": secret,
            "callbackUrl": f"{req.prefix}/merchant/callback/{name}",
            "deliveriesUrl": f"{req.prefix}/merchant/{name}/deliveries",
        }

    def on_post_behaviour(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """How the shop answers from now on."""
        if name not in self._state.merchants.names():
            raise falcon.HTTPNotFound(title="no such merchant")
        try:
            self._state.merchants.misbehave(name, behaviour_from(_body(req)))
        except ValueError as error:
            raise falcon.HTTPBadRequest(title="no such behaviour", description=str(error)) from None
        resp.media = {"name": name}

    # -- helpers

    def _open(self, url: str) -> tuple[Trade, str]:
        """The trade and the cashier token behind a checkout URL or a WeChat code."""
        if url.startswith(CODE_URL_PREFIX):
            token, provider = url.removeprefix(CODE_URL_PREFIX), "wxpay"
        else:
            provider = "alipay"
            try:
                token = self._gateway.open_link(urlsplit(url).query)
            except AlipayError as refusal:
                raise falcon.HTTPConflict(
                    title=refusal.sub_code, description=refusal.sub_msg
                ) from None
        trade = self._cashier.trade_of_token(provider, token)
        if trade is None:
            raise falcon.HTTPNotFound(title="no such code, or older than two hours")
        return trade, token

    def _find(self, body: dict[str, Any]) -> Trade:
        rows = self._state.books.rows(
            "SELECT * FROM trades WHERE provider = ? AND out_trade_no = ?"
            " AND (? IS NULL OR account = ?)",
            _text(body, "provider"), _text(body, "outTradeNo"),
            body.get("account"), body.get("account"),
        )  # fmt: skip
        if not rows:
            raise falcon.HTTPNotFound(
                title="no such trade",
                description="Alipay knows a trade only after POST /control/open with its URL",
            )
        if len(rows) > 1:
            raise falcon.HTTPConflict(title="several accounts use this number; give account")
        return Trade(**rows[0])

    def _tried_pushes(self, trade: Trade, wait_seconds: float) -> list[dict[str, Any]]:
        """The trade's pushes, once each was tried or the wait is over."""
        end = time.monotonic() + wait_seconds
        while True:
            pushes = notification_view(self._state.books, trade.id)
            untried = any(
                not p["attempts"] and p["state"] in ("waiting", "sending") for p in pushes
            )
            if not untried or time.monotonic() >= end:
                return pushes
            time.sleep(_POLL_SECONDS)


def _body(req: falcon.Request) -> dict[str, Any]:
    media = req.get_media(default_when_empty={})
    if not isinstance(media, dict):
        raise falcon.HTTPBadRequest(title="the body must be a JSON object")
    return media


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise falcon.HTTPBadRequest(title=f"{name} is missing or not a text")
    return value


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise falcon.HTTPBadRequest(title=f"{name} must be a number")
    return float(value)


def _account_or_400(make: Callable[[], Account]) -> Account:
    try:
        return make()
    except AccountError as error:
        raise falcon.HTTPBadRequest(title="no such account", description=str(error)) from None


def _account_view(account: Account, prefix: str) -> dict[str, Any]:
    return {
        "provider": account.provider,
        "channel": account.channel,
        "account": account.account_id,
        "mode": account.mode,
        "label": account.label,
        "config": account.merchant_config(prefix),
    }
