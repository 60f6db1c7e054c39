"""HTTP side of the simulated Alipay gateway: `/alipay/gateway.do`."""

import html
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import falcon

from sandbox.accounts import AlipayAccount
from sandbox.alipay_signing import (
    AlipayError,
    check_request,
    parse_parameters,
    signed_answer,
)
from sandbox.alipay_trades import OPERATIONS, PAGE_PAY, AlipayTrades, business, parse_content
from sandbox.scenarios import Chosen, Occasion
from sandbox.trading import Trading
from sandbox.wire_faults import inject_scenario, wait_before_effect

_MESSAGES = {
    "10000": "Success",
    "20000": "Service Currently Unavailable",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40004": "Business Failed",
    "40005": "Call Limited",
}
_HTML_ANSWER = "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


class AlipayGateway:
    """One URL for every method; HTTP 200 whatever happens."""

    def __init__(self, trading: Trading) -> None:
        self._trading = trading
        self._trades = AlipayTrades(trading)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Page pay as a link."""
        self._answer(req, resp, b"")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Server calls, and page pay as a form."""
        self._answer(req, resp, req.bounded_stream.read())

    def _answer(self, req: falcon.Request, resp: falcon.Response, body: bytes) -> None:
        account: AlipayAccount | None = None
        parameters: dict[str, str] = {}
        charset = "utf-8"
        try:
            query = req.query_string.encode("latin-1")
            parameters, charset = parse_parameters(query, body)
            account = check_request(parameters, charset, self._trading.accounts.alipay)
            if parameters["method"] == PAGE_PAY:
                token = self._open_cashier(account, parameters)
                resp.status = falcon.HTTP_302
                resp.set_header("Location", f"/cashier/alipay/{token}")
                return
            self._call(account, parameters, charset, req, resp)
        except AlipayError as refusal:
            if parameters.get("method") == PAGE_PAY:
                _error_page(resp, refusal)
                return
            if refusal.signed and account is None:
                account = self._trading.accounts.alipay.get(parameters.get("app_id", ""))
            _refuse(resp, refusal, account, parameters.get("method", ""), charset)

    def open_link(self, query: str) -> str:
        """Opens a page-pay link as a browser would; the cashier's token, or AlipayError."""
        parameters, charset = parse_parameters(query.encode())
        account = check_request(parameters, charset, self._trading.accounts.alipay)
        if parameters["method"] != PAGE_PAY:
            raise AlipayError("40002", "isv.invalid-method", "不是收银台链接")
        return self._open_cashier(account, parameters)

    def _open_cashier(self, account: AlipayAccount, parameters: Mapping[str, str]) -> str:
        self._trading.sweep()
        with self._trading.books.transaction():
            trade, is_new = self._trades.open_cashier(account, parameters)
            token = self._trading.cashier_token(trade)
            self._trading.record_call(
                "alipay", account.app_id, "create", trade.out_trade_no,
                scenario="", effective=is_new, answer="cashier",
            )  # fmt: skip
        return token

    def _call(
        self,
        account: AlipayAccount,
        parameters: Mapping[str, str],
        charset: str,
        req: falcon.Request,
        resp: falcon.Response,
    ) -> None:
        """A server call: effect first, then the answer as the scenario wants it."""
        method = parameters["method"]
        operation = OPERATIONS.get(method)
        if operation is None:
            raise AlipayError("40002", "isv.invalid-method", "不存在的方法名")
        content = parse_content(parameters)
        self._trading.sweep()
        occasion = self._occasion(account, operation, content)
        chosen = self._trading.scenarios.choose("answer", occasion)
        wait_before_effect(chosen)
        node, effective, code = self._node(account, operation, content, chosen)
        with self._trading.books.transaction():
            self._trading.record_call(
                "alipay", account.app_id, operation, occasion.number,
                scenario=chosen.name if chosen else "", effective=effective, answer=code,
            )  # fmt: skip
        _send(resp, signed_answer(account, method, node, charset), charset)
        if chosen:
            inject_scenario(req.env, chosen)
            resp.data = _spoiled(chosen, account, method, node, charset)

    def _node(
        self,
        account: AlipayAccount,
        operation: str,
        content: dict[str, Any],
        chosen: Chosen | None,
    ) -> tuple[dict[str, Any], bool, str]:
        """(answer node, whether the books changed, code for the books)."""
        try:
            effective = False
            result: dict[str, Any] = {}
            if chosen is None or chosen.scenario.effect:
                with self._trading.books.transaction():
                    result, effective = self._trades.methods[operation](account, content)
            refusal = _scenario_refusal(chosen) if chosen else None
        except AlipayError as error:
            refusal, effective = error, False
        if refusal:
            return _failure_node(refusal), effective, refusal.sub_code
        return {"code": "10000", "msg": "Success", **result}, effective, "10000"

    def _occasion(
        self, account: AlipayAccount, operation: str, content: Mapping[str, Any]
    ) -> Occasion:
        out_trade_no = str(content.get("out_trade_no") or "")
        trade = self._trading.books.trade("alipay", account.app_id, out_trade_no)
        if trade is None and content.get("trade_no"):
            trade = self._trading.books.trade_by_transaction(
                "alipay", account.app_id, str(content["trade_no"])
            )
        number, amount_fen = out_trade_no, trade.total_fen if trade else None
        if operation in ("refund", "refund_query"):
            number = str(content.get("out_request_no") or out_trade_no)
        if operation == "refund":
            digits = str(content.get("refund_amount", "")).replace(".", "")
            amount_fen = int(digits) if digits.isascii() and digits.isdigit() else None
        return Occasion(
            provider="alipay",
            account=account.app_id,
            operation=operation,
            number=number,
            out_trade_no=trade.out_trade_no if trade else out_trade_no,
            amount_fen=amount_fen,
        )


def _scenario_refusal(chosen: Chosen) -> AlipayError | None:
    """What the scenario says in place of the true answer; the effect may be done already."""
    match chosen.name:
        case "error_after_success" | "error_without_effect":
            return business("SYSTEM_ERROR", "系统错误")
        case "balance_too_low":
            return business("SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足")
        case "rate_limited":
            return AlipayError("40005", "isv.app-call-limited", "应用调用次数超限")
        case "refused":
            return business("INVALID_PARAMETER", "参数无效（沙箱场景）")
    return None


def _spoiled(
    chosen: Chosen,
    account: AlipayAccount,
    method: str,
    node: Mapping[str, Any],
    charset: str,
) -> bytes:
    """The answer body as the scenario makes it."""
    good = signed_answer(account, method, node, charset)
    match chosen.name:
        case "unsigned_answer":
            return signed_answer(None, method, node, charset)
        case "bad_signature_answer" | "signtest_answer":
            other = signed_answer(account, method, {**node, "msg": "Other"}, charset)
            return good[: good.index(b'"sign":')] + other[other.index(b'"sign":') :]
        case "html_answer":
            return _HTML_ANSWER.encode()
        case "cut_answer":
            return good[: len(good) // 2]
        case "other_order_answer":
            another = {**node, "out_trade_no": "another_order", "out_request_no": "another"}
            return signed_answer(account, method, another, charset)
    return good


def _failure_node(refusal: AlipayError) -> dict[str, Any]:
    node = {
        "code": refusal.code,
        "msg": _MESSAGES[refusal.code],
        "sub_code": refusal.sub_code,
        "sub_msg": refusal.sub_msg,
    }
    if refusal.string_to_sign is not None:
        node["sandbox_string_to_sign"] = refusal.string_to_sign
    return node


def _refuse(
    resp: falcon.Response,
    refusal: AlipayError,
    account: AlipayAccount | None,
    method: str,
    charset: str,
) -> None:
    signer = account if refusal.signed else None
    _send(resp, signed_answer(signer, method, _failure_node(refusal), charset), charset)
    if refusal.string_to_sign is not None:
        resp.set_header("X-Sandbox-String-To-Sign", quote(refusal.string_to_sign, safe=""))


def _send(resp: falcon.Response, body: bytes, charset: str) -> None:
    resp.status = falcon.HTTP_200
    resp.content_type = f"text/html;charset={charset}"
    resp.data = body


def _error_page(resp: falcon.Response, refusal: AlipayError) -> None:
    """Page-pay errors go to the buyer as a GBK page; the merchant's server hears nothing."""
    lines = [f"错误代码 {refusal.sub_code}", refusal.sub_msg]
    if refusal.string_to_sign is not None:
        lines.append("string to sign: " + json.dumps(refusal.string_to_sign, ensure_ascii=False))
        resp.set_header("X-Sandbox-String-To-Sign", quote(refusal.string_to_sign, safe=""))
    content = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    page = (
        '<!DOCTYPE html><html><head><meta charset="gbk"><title>支付宝沙箱 - 出错了</title></head>'
        f"<body><h1>抱歉，支付宝沙箱不能受理</h1>{content}</body></html>"
    )
    resp.status = falcon.HTTP_200
    resp.content_type = "text/html;charset=gbk"
    resp.data = page.encode("gbk", "xmlcharrefreplace")
