"""HTTP side of the simulated WeChat Pay API v3 under `/wechat/v3`."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import falcon

from sandbox.accounts import WechatAccount
from sandbox.books import Trade
from sandbox.scenarios import Chosen, Occasion
from sandbox.trading import Trading
from sandbox.wechat_orders import WechatOrders, parse_body
from sandbox.wechat_signing import (
    SIGNTEST_PREFIX,
    WechatError,
    answer_key,
    check_request,
    signature_headers,
)
from sandbox.wire_faults import inject_scenario, wait_before_effect

_JSON = "application/json; charset=utf-8"

Work = Callable[[], tuple[dict[str, Any] | None, bool]]


class WechatApi:
    """All endpoints; falcon's route suffixes choose the responder."""

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._orders = WechatOrders(trading)

    def on_post_native(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Native prepay."""
        with _Errors(resp):
            account, body = self._accept(req)
            amount = body.get("amount")
            occasion = Occasion(
                provider="wxpay",
                account=account.mch_id,
                operation="create",
                number=str(body.get("out_trade_no", "")),
                out_trade_no=str(body.get("out_trade_no", "")),
                amount_fen=_integer(amount, "total"),
            )
            self._run(req, resp, account, occasion, lambda: self._orders.create(account, body))

    def on_get_by_number(self, req: falcon.Request, resp: falcon.Response, number: str) -> None:
        """Query by out_trade_no."""
        with _Errors(resp):
            account, _ = self._accept(req)
            self._check_query_merchant(req, account)
            trade = self._trading.books.trade("wxpay", account.mch_id, number)
            self._query(req, resp, account, trade, number=number)

    def on_get_by_transaction(
        self, req: falcon.Request, resp: falcon.Response, number: str
    ) -> None:
        """Query by transaction_id."""
        with _Errors(resp):
            account, _ = self._accept(req)
            self._check_query_merchant(req, account)
            trade = self._trading.books.trade_by_transaction("wxpay", account.mch_id, number)
            if trade and not self._trading.books.payments(trade.id):
                trade = None  # an unpaid order has no transaction yet
            self._query(req, resp, account, trade, number=number, transaction_no=number)

    def on_post_close(self, req: falcon.Request, resp: falcon.Response, number: str) -> None:
        """Close; 204 with a signed empty body."""
        with _Errors(resp):
            account, body = self._accept(req)
            if "mchid" not in body:
                raise WechatError(400, "PARAM_ERROR", "参数错误：mchid", {"field": "/mchid"})
            trade = self._trading.books.trade("wxpay", account.mch_id, number)
            occasion = self._occasion(account, "close", number, trade)
            self._run(
                req, resp, account, occasion,
                lambda: (None, self._orders.close(self._fresh(trade))),
            )  # fmt: skip

    def on_post_refunds(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Refund."""
        with _Errors(resp):
            account, body = self._accept(req)
            occasion = Occasion(
                provider="wxpay",
                account=account.mch_id,
                operation="refund",
                number=str(body.get("out_refund_no", "")),
                out_trade_no=self._order_of_refund(account, body),
                amount_fen=_integer(body.get("amount"), "refund"),
            )
            self._run(req, resp, account, occasion, lambda: self._orders.refund(account, body))

    def on_get_refund(self, req: falcon.Request, resp: falcon.Response, number: str) -> None:
        """Refund query."""
        with _Errors(resp):
            account, _ = self._accept(req)
            refund = self._trading.books.refund("wxpay", account.mch_id, number)
            trade = self._trading.books.trade_by_id(refund.trade_id) if refund else None
            occasion = self._occasion(account, "refund_query", number, trade)
            self._run(
                req, resp, account, occasion,
                lambda: (self._orders.refund_query(account, number), False),
            )  # fmt: skip

    def on_get_certificates(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Download of the platform certificates."""
        with _Errors(resp):
            account, _ = self._accept(req)
            occasion = self._occasion(account, "certificates", "", None)
            self._run(
                req, resp, account, occasion, lambda: (self._orders.certificates(account), False)
            )

    def sink(self, req: falcon.Request, resp: falcon.Response, **_: Any) -> None:
        """Any other path of the API."""
        with _Errors(resp):
            self._accept(req)
            raise WechatError(404, "RESOURCE_NOT_EXISTS", "接口不存在")

    # -- common path of every call

    def _accept(self, req: falcon.Request) -> tuple[WechatAccount, dict[str, Any]]:
        raw = req.bounded_stream.read()
        account = check_request(
            req.method,
            _wire_url(req),
            {name.lower(): value for name, value in req.headers.items()},
            raw,
            accounts=self._trading.accounts.wxpay,
            now=self._trading.clock.signing(),
        )
        self._trading.sweep()
        return account, parse_body(raw)

    def _run(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        account: WechatAccount,
        occasion: Occasion,
        work: Work,
    ) -> None:
        """Effect first, then the signed answer as the scenario wants it."""
        chosen = self._trading.scenarios.choose("answer", occasion)
        wait_before_effect(chosen)
        effective, answer, refusal = False, None, None
        try:
            if chosen is None or chosen.scenario.effect:
                with self._trading.books.transaction():
                    answer, effective = work()
            refusal = _scenario_refusal(chosen, occasion.operation) if chosen else None
        except WechatError as error:
            refusal = error
        with self._trading.books.transaction():
            self._trading.record_call(
                "wxpay", account.mch_id, occasion.operation, occasion.number,
                scenario=chosen.name if chosen else "", effective=effective,
                answer=refusal.code if refusal else "SUCCESS",
            )  # fmt: skip
        if refusal:
            _refuse(resp, refusal)
        else:
            self._sign(req, resp, account, answer)
        if chosen:
            self._spoil(chosen, req, resp, account, answer)

    def _sign(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        account: WechatAccount,
        answer: dict[str, Any] | None,
    ) -> None:
        body = b"" if answer is None else _json_bytes(answer)
        key = answer_key(account, req.get_header("Wechatpay-Serial") or "")
        for name, value in signature_headers(key, body, self._trading.clock.signing()).items():
            resp.set_header(name, value)
        resp.status = falcon.HTTP_204 if answer is None else falcon.HTTP_200
        resp.content_type = _JSON
        resp.set_header("Request-ID", secrets.token_hex(16))
        resp.data = body

    def _spoil(
        self,
        chosen: Chosen,
        req: falcon.Request,
        resp: falcon.Response,
        account: WechatAccount,
        answer: dict[str, Any] | None,
    ) -> None:
        """Changes a finished answer as the scenario says."""
        inject_scenario(req.env, chosen)
        signature = resp.get_header("Wechatpay-Signature") or ""
        match chosen.name:
            case "unsigned_answer":
                for part in ("Timestamp", "Nonce", "Signature", "Serial", "Signature-Type"):
                    resp.delete_header(f"Wechatpay-{part}")
            case "bad_signature_answer":
                self._sign(req, resp, account, {"code_url": "weixin://wxpay/bizpayurl?pr=other"})
                resp.data = b"" if answer is None else _json_bytes(answer)
                resp.status = falcon.HTTP_204 if answer is None else falcon.HTTP_200
            case "signtest_answer":
                resp.set_header("Wechatpay-Signature", SIGNTEST_PREFIX + signature)
            case "html_answer":
                resp.status = falcon.HTTP_200
                resp.content_type = "text/html"
                resp.data = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
            case "cut_answer":
                resp.data = (resp.data or b"")[: len(resp.data or b"") // 2]
            case "other_order_answer" if answer is not None:
                other = {**answer, "out_trade_no": "another_order", "out_refund_no": "another"}
                self._sign(req, resp, account, other)

    def _query(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        account: WechatAccount,
        trade: Trade | None,
        *,
        number: str,
        transaction_no: str = "",
    ) -> None:
        occasion = self._occasion(account, "query", number, trade)
        self._run(
            req, resp, account, occasion,
            lambda: (self._orders.query(account, self._fresh(trade), transaction_no), False),
        )  # fmt: skip

    def _fresh(self, trade: Trade | None) -> Trade | None:
        """The trade as it is now, inside the transaction of the call."""
        return self._trading.books.trade_by_id(trade.id) if trade else None

    def _check_query_merchant(self, req: falcon.Request, account: WechatAccount) -> None:
        if req.get_param("mchid") != account.mch_id:
            raise WechatError(
                400, "PARAM_ERROR", "商户号与签名使用的商户号不一致", {"field": "mchid"}
            )

    def _order_of_refund(self, account: WechatAccount, body: dict[str, Any]) -> str:
        if body.get("out_trade_no"):
            return str(body["out_trade_no"])
        trade = self._trading.books.trade_by_transaction(
            "wxpay", account.mch_id, str(body.get("transaction_id", ""))
        )
        return trade.out_trade_no if trade else ""

    @staticmethod
    def _occasion(
        account: WechatAccount, operation: str, number: str, trade: Trade | None
    ) -> Occasion:
        return Occasion(
            provider="wxpay",
            account=account.mch_id,
            operation=operation,
            number=number,
            out_trade_no=trade.out_trade_no if trade else number,
            amount_fen=trade.total_fen if trade and operation == "close" else None,
        )


class _Errors:
    """Turns a WechatError into the unsigned error answer."""

    def __init__(self, resp: falcon.Response) -> None:
        self._resp = resp

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        if isinstance(error, WechatError):
            _refuse(self._resp, error)
            return True
        return False


def _scenario_refusal(chosen: Chosen, operation: str) -> WechatError | None:
    match chosen.name:
        case "error_after_success" | "error_without_effect":
            return WechatError(500, "SYSTEM_ERROR", "系统错误，请用相同参数重试")
        case "balance_too_low":
            return WechatError(403, "NOT_ENOUGH", "商户余额不足，请充值后重试")
        case "rate_limited":
            return WechatError(429, "FREQUENCY_LIMITED", "频率超限，请降低请求速度")
        case "refused":
            code = "INVALID_REQUEST" if operation == "refund" else "PARAM_ERROR"
            return WechatError(400, code, "参数错误（沙箱场景）")
    return None


def _refuse(resp: falcon.Response, refusal: WechatError) -> None:
    body: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.detail is not None:
        body["detail"] = refusal.detail
    resp.status = refusal.status
    resp.content_type = _JSON
    resp.set_header("Request-ID", secrets.token_hex(16))
    resp.data = _json_bytes(body)


def _wire_url(req: falcon.Request) -> str:
    """Path and query as they came over the wire, percent-encoding included."""
    raw: str = req.env.get("RAW_URI") or req.relative_uri
    return raw


def _json_bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _integer(container: object, name: str) -> int | None:
    value = container.get(name) if isinstance(container, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
