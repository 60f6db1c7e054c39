"""Scenarios by control call and by amount, as the independent client libraries meet them."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import alipay
import pytest
import requests
import wechatpayv3

from sandbox.scenarios import AMOUNT_TABLE, OPERATIONS, SCENARIOS
from sandbox.server import SandboxServer
from tests.sandbox.helpers import Receiver, account_config, alipay_client, until, wechat_client

BROKEN = (requests.exceptions.RequestException, OSError, ValueError)


@pytest.fixture
def wechat(sandbox: SandboxServer, receiver: Receiver, tmp_path: Path) -> wechatpayv3.WeChatPay:
    receiver.default = (204, b"")
    config = account_config(sandbox, "wxpay", "public_key")
    return wechat_client(config, sandbox.url, receiver.url, tmp_path)


@pytest.fixture
def ali(sandbox: SandboxServer) -> alipay.AliPay:
    return alipay_client(account_config(sandbox, "alipay", "public_key"))


def trades(sandbox: SandboxServer, number: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.get(f"/control/books?outTradeNo={number}")["trades"]
    return found


def pay_alipay(
    sandbox: SandboxServer, client: alipay.AliPay, receiver: Receiver, number: str, amount: str
) -> dict[str, Any]:
    query = client.api_alipay_trade_page_pay("商品", number, amount, notify_url=receiver.url)
    return sandbox.control("pay", url=f"{client._gateway}?{query}")


def notices(receiver: Receiver, count: int) -> list[dict[str, str]]:
    return [dict(parse_qsl(r.body.decode())) for r in receiver.wait_for(count)]


def is_genuine(client: alipay.AliPay, notice: dict[str, str]) -> bool:
    fields = dict(notice)
    sign = fields.pop("sign")
    return bool(client.verify(fields, sign))


def test_the_amount_table_is_sound() -> None:
    assert all(name in SCENARIOS for _, name in AMOUNT_TABLE.values())
    assert all(operation in OPERATIONS for operation, _ in AMOUNT_TABLE.values())
    assert all(fen % 10 and fen % 5 and fen not in (1, 11, 88, 99) for fen in AMOUNT_TABLE)


@pytest.mark.parametrize("operation", ["create", "refund", "close"])
@pytest.mark.parametrize(
    ("scenario", "is_done"),
    [
        ("timeout_after_success", True),
        ("timeout_without_effect", False),
        ("reset_after_success", True),
        ("reset_without_effect", False),
        ("error_after_success", True),
        ("error_without_effect", False),
    ],
)
def test_an_answer_that_tells_nothing_and_the_repeat_that_heals(
    sandbox: SandboxServer,
    wechat: wechatpayv3.WeChatPay,
    operation: str,
    scenario: str,
    *,
    is_done: bool,
) -> None:
    number = "WXS00001"
    calls = {
        "create": lambda: wechat.pay("商品", number, {"total": 100}),
        "close": lambda: wechat.close(number),
        "refund": lambda: wechat.refund(
            "RFS1", {"refund": 30, "total": 100, "currency": "CNY"}, out_trade_no=number
        ),
    }
    if operation != "create":
        code_url = json.loads(calls["create"]()[1])["code_url"]
        if operation == "refund":
            sandbox.control("pay", url=code_url)
    sandbox.control(
        "scenarios", scenario=scenario, match={"operation": operation},
        options={"holdSeconds": 0.3},
    )  # fmt: skip
    try:
        status, _ = calls[operation]()
    except BROKEN:
        status = 0
    assert status == (500 if scenario.startswith("error") else 0)
    assert _is_done(sandbox, number, operation) is is_done
    assert calls[operation]()[0] in (200, 204)
    assert _is_done(sandbox, number, operation)
    effects = [c for c in _calls(sandbox, operation) if c["effective"]]
    assert len(effects) == 1


def test_a_slow_close_is_overtaken_by_the_payment(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay
) -> None:
    _, answer = wechat.pay("商品", "WXS00013", {"total": 100})
    sandbox.control(
        "scenarios", scenario="slow_effect", match={"operation": "close"},
        options={"delaySeconds": 1},
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(wechat.close, "WXS00013")
        until(lambda: not sandbox.get("/control/scenarios")["rules"])
        sandbox.control("pay", url=json.loads(answer)["code_url"])
        status, problem = closing.result()
    assert (status, json.loads(problem)["code"]) == (400, "ORDERPAID")


def test_a_slow_answer_is_overtaken_by_its_notification(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, receiver: Receiver
) -> None:
    sandbox.control(
        "scenarios", scenario="slow_answer", match={"operation": "create"},
        options={"delaySeconds": 1},
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(wechat.pay, "商品", "WXS00014", {"total": 100})
        until(lambda: trades(sandbox, "WXS00014"))
        sandbox.control("pay", provider="wxpay", outTradeNo="WXS00014")
        receiver.wait_for(1)
        assert not creating.done()
        assert creating.result()[0] == 200


def _is_done(sandbox: SandboxServer, number: str, operation: str) -> bool:
    found = trades(sandbox, number)
    if operation == "create":
        return bool(found)
    if operation == "close":
        return bool(found[0]["status"] == "CLOSED")
    return bool(found[0]["refunds"])


def _calls(sandbox: SandboxServer, operation: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = sandbox.get("/control/books")["calls"]
    return [c for c in calls if c["operation"] == operation]


@pytest.mark.parametrize(
    ("scenario", "status", "code"),
    [
        ("refused", 400, "INVALID_REQUEST"),
        ("balance_too_low", 403, "NOT_ENOUGH"),
        ("rate_limited", 429, "FREQUENCY_LIMITED"),
    ],
)
def test_wechat_refunds_that_are_refused(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, scenario: str, status: int, code: str
) -> None:
    _, answer = wechat.pay("商品", "WXS00002", {"total": 100})
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    sandbox.control("scenarios", scenario=scenario, match={"operation": "refund"})
    amount = {"refund": 30, "total": 100, "currency": "CNY"}
    got, answer = wechat.refund("RFS2", amount, out_trade_no="WXS00002")
    assert (got, json.loads(answer)["code"]) == (status, code)
    assert trades(sandbox, "WXS00002")[0]["refunds"] == []


@pytest.mark.parametrize("scenario", ["unsigned_answer", "bad_signature_answer", "signtest_answer"])
def test_wechat_answers_that_do_not_verify(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, scenario: str
) -> None:
    sandbox.control("scenarios", scenario=scenario, match={"operation": "create"})
    with pytest.raises(Exception, match=r"verify the signature|does not support this algorithm"):
        wechat.pay("商品", "WXS00003", {"total": 100})
    assert wechat.pay("商品", "WXS00003", {"total": 100})[0] == 200
    assert trades(sandbox, "WXS00003")[0]["effectiveCreates"] == 1


@pytest.mark.parametrize(
    ("scenario", "begins"), [("html_answer", b"<!DOCTYPE"), ("cut_answer", b'{"code_url":"wei')]
)
def test_answers_that_are_not_json(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, scenario: str, begins: bytes
) -> None:
    sandbox.control("scenarios", scenario=scenario, match={"operation": "create"})
    _, answer = wechat._core.request(
        "/v3/pay/transactions/native",
        wechatpayv3.type.RequestType.POST,
        {
            "appid": wechat._appid,
            "mchid": wechat._mchid,
            "description": "商品",
            "out_trade_no": "WXS00004",
            "notify_url": wechat._notify_url,
            "amount": {"total": 100},
        },
        skip_verify=True,
    )
    raw = answer if isinstance(answer, bytes) else answer.encode()
    assert raw.startswith(begins)
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)


@pytest.mark.parametrize("scenario", ["unsigned_answer", "bad_signature_answer"])
def test_alipay_answers_that_do_not_verify(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver, scenario: str
) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS1", "1.00")
    sandbox.control("scenarios", scenario=scenario, match={"operation": "refund"})
    with pytest.raises(
        (alipay.exceptions.AliPayException, alipay.exceptions.AliPayValidationError)
    ):
        ali.api_alipay_trade_refund("0.30", out_trade_no="ALS1", out_request_no="R1")
    again = ali.api_alipay_trade_refund("0.30", out_trade_no="ALS1", out_request_no="R1")
    assert (again["fund_change"], again["refund_fee"]) == ("N", "0.30")


@pytest.mark.parametrize(
    ("scenario", "sub_code", "refunds"),
    [
        ("error_after_success", "ACQ.SYSTEM_ERROR", 1),
        ("error_without_effect", "ACQ.SYSTEM_ERROR", 0),
        ("balance_too_low", "ACQ.SELLER_BALANCE_NOT_ENOUGH", 0),
        ("rate_limited", "isv.app-call-limited", 0),
        ("refused", "ACQ.INVALID_PARAMETER", 0),
    ],
)
def test_alipay_refunds_that_say_no_are_signed(
    sandbox: SandboxServer,
    ali: alipay.AliPay,
    receiver: Receiver,
    *,
    scenario: str,
    sub_code: str,
    refunds: int,
) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS2", "1.00")
    sandbox.control("scenarios", scenario=scenario, match={"provider": "alipay"})
    answer = ali.api_alipay_trade_refund("0.30", out_trade_no="ALS2", out_request_no="R1")
    assert answer["sub_code"] == sub_code
    assert len(trades(sandbox, "ALS2")[0]["refunds"]) == refunds


def test_a_genuine_answer_about_another_order(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver
) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS3", "1.00")
    sandbox.control("scenarios", scenario="other_order_answer", match={"operation": "query"})
    assert ali.api_alipay_trade_query(out_trade_no="ALS3")["out_trade_no"] == "another_order"
    assert ali.api_alipay_trade_query(out_trade_no="ALS3")["out_trade_no"] == "ALS3"


@pytest.mark.parametrize(
    ("scenario", "final", "pushed"),
    [
        ("refund_pending", "SUCCESS", "REFUND.SUCCESS"),
        ("refund_closed", "CLOSED", "REFUND.CLOSED"),
        ("refund_abnormal", "ABNORMAL", "REFUND.ABNORMAL"),
    ],
)
def test_wechat_refunds_that_end_differently(
    sandbox: SandboxServer,
    wechat: wechatpayv3.WeChatPay,
    receiver: Receiver,
    *,
    scenario: str,
    final: str,
    pushed: str,
) -> None:
    _, answer = wechat.pay("商品", "WXS00005", {"total": 100})
    sandbox.control("pay", url=json.loads(answer)["code_url"], waitSeconds=10)
    sandbox.control("scenarios", scenario=scenario, options={"delaySeconds": None})
    amount = {"refund": 30, "total": 100, "currency": "CNY"}
    wechat.refund("RFS3", amount, out_trade_no="WXS00005", notify_url=receiver.url)
    assert json.loads(wechat.query_refund("RFS3")[1])["status"] == "PROCESSING"
    sandbox.control("refunds", provider="wxpay", outRefundNo="RFS3", status=final)
    assert json.loads(wechat.query_refund("RFS3")[1])["status"] == final
    notice = receiver.wait_for(2)[1]
    assert wechat.callback(notice.headers, notice.body)["event_type"] == pushed
    refunded = trades(sandbox, "WXS00005")[0]["payments"][0]["refundedFen"]
    assert refunded == (30 if final == "SUCCESS" else 0)


def test_an_alipay_refund_that_stays_pending(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver
) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS4", "1.00")
    sandbox.control("scenarios", scenario="refund_pending", options={"delaySeconds": None})
    first = ali.api_alipay_trade_refund("0.30", out_trade_no="ALS4", out_request_no="R1")
    assert (first["code"], first["fund_change"], first["refund_fee"]) == ("10000", "N", "0.00")
    state = ali.api_alipay_trade_fastpay_refund_query("R1", out_trade_no="ALS4")
    assert "refund_status" not in state
    sandbox.control("refunds", provider="alipay", outRefundNo="R1", status="SUCCESS")
    state = ali.api_alipay_trade_fastpay_refund_query("R1", out_trade_no="ALS4")
    assert state["refund_status"] == "REFUND_SUCCESS"


def test_money_that_comes_after_the_close(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver
) -> None:
    paid = pay_alipay(sandbox, ali, receiver, "ALS5", "10.52")
    assert (paid["payments"], paid["trade"]["awaitsLatePayment"]) == ([], True)
    assert ali.api_alipay_trade_close("ALS5")["code"] == "10000"
    (notice,) = notices(receiver, 1)
    assert (notice["trade_status"], notice["total_amount"]) == ("TRADE_SUCCESS", "10.52")
    (payment,) = trades(sandbox, "ALS5")[0]["payments"]
    assert payment["late"] is True
    assert ali.api_alipay_trade_query(out_trade_no="ALS5")["trade_status"] == "TRADE_SUCCESS"


def test_money_that_comes_after_the_expiry(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, receiver: Receiver
) -> None:
    _, answer = wechat.pay("商品", "WXS00006", {"total": 1052})
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    sandbox.control("clock", offsetSeconds=8 * 86400)
    receiver.wait_for(1)
    sandbox.control("clock", offsetSeconds=0)
    assert json.loads(wechat.query(out_trade_no="WXS00006")[1])["trade_state"] == "SUCCESS"
    assert trades(sandbox, "WXS00006")[0]["payments"][0]["late"] is True


def test_two_payments_on_one_order(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, receiver: Receiver
) -> None:
    _, answer = wechat.pay("商品", "WXS00007", {"total": 1053})
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    pushed = [wechat.callback(r.headers, r.body)["resource"] for r in receiver.wait_for(2)]
    assert {p["out_trade_no"] for p in pushed} == {"WXS00007"}
    first, second = (p["transaction_id"] for p in pushed)
    assert first != second
    for transaction in (first, second):
        answer = wechat.query(transaction_id=transaction)[1]
        assert json.loads(answer)["transaction_id"] == transaction
    amount = {"refund": 1053, "total": 1053, "currency": "CNY"}
    assert wechat.refund("RFS4", amount, transaction_id=second)[0] == 200
    payments = until(
        lambda: [p for p in trades(sandbox, "WXS00007")[0]["payments"] if p["refundedFen"]]
    )
    assert [p["transactionNo"] for p in payments] == [second]


def test_a_second_payment_by_force(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver
) -> None:
    first = pay_alipay(sandbox, ali, receiver, "ALS6", "1.00")["payments"][0]
    forced = sandbox.control("pay", provider="alipay", outTradeNo="ALS6", force=True)
    assert forced["payments"][0]["transactionNo"] != first["transactionNo"]
    assert len(notices(receiver, 2)) == 2


def test_a_lost_notification(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver
) -> None:
    paid = pay_alipay(sandbox, ali, receiver, "ALS7", "10.41")
    assert [n["state"] for n in paid["notifications"]] == ["lost"]
    assert ali.api_alipay_trade_query(out_trade_no="ALS7")["trade_status"] == "TRADE_SUCCESS"


@pytest.mark.parametrize(("amount", "count"), [("10.42", 3), ("10.43", 2)])
def test_duplicates(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver, amount: str, count: int
) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS8", amount)
    received = notices(receiver, count)
    assert len({n["notify_id"] for n in received}) == 1
    assert all(is_genuine(ali, n) for n in received)


def test_out_of_order(sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS9", "10.46")
    received = notices(receiver, 3)
    statuses = [n["trade_status"] for n in received]
    assert statuses == ["TRADE_SUCCESS", "WAIT_BUYER_PAY", "TRADE_CLOSED"]
    assert all(is_genuine(ali, n) for n in received)


def test_a_bad_signature_first_then_the_right_one(
    sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver
) -> None:
    sandbox.control("clock", timeFactor=0)
    receiver.answers = [(400, b"fail")]
    pay_alipay(sandbox, ali, receiver, "ALS10", "10.48")
    assert [is_genuine(ali, n) for n in notices(receiver, 2)] == [False, True]


@pytest.mark.parametrize("scenario", ["notify_bad_signature", "notify_signtest"])
def test_wechat_bad_signature_first_then_the_right_one(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, receiver: Receiver, scenario: str
) -> None:
    sandbox.control("clock", timeFactor=0)
    sandbox.control("scenarios", scenario=scenario, match={"event": "TRANSACTION.SUCCESS"})
    receiver.answers = [(401, b"")]
    _, answer = wechat.pay("商品", "WXS00008", {"total": 100})
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    first, second = receiver.wait_for(2)
    assert wechat.callback(first.headers, first.body) is None
    assert wechat.callback(second.headers, second.body)["id"] == json.loads(first.body)["id"]
    probe = first.headers["wechatpay-signature"].startswith("WECHATPAY/SIGNTEST/")
    assert probe is (scenario == "notify_signtest")


@pytest.mark.parametrize(
    ("scenario", "field", "value"),
    [
        ("notify_tampered_amount", "total_amount", "1.01"),
        ("notify_wrong_app", "app_id", "2021999999999999"),
        ("notify_wrong_seller", "seller_id", "2088999999999999"),
    ],
)
def test_validly_signed_lies(
    sandbox: SandboxServer,
    ali: alipay.AliPay,
    receiver: Receiver,
    *,
    scenario: str,
    field: str,
    value: str,
) -> None:
    sandbox.control("scenarios", scenario=scenario)
    pay_alipay(sandbox, ali, receiver, "ALS11", "1.00")
    (notice,) = notices(receiver, 1)
    assert notice[field] == value
    assert is_genuine(ali, notice)


@pytest.mark.parametrize("scenario", ["notify_empty_aad", "notify_no_aad", "notify_wrong_seller"])
def test_wechat_sealing_variants(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay, receiver: Receiver, scenario: str
) -> None:
    sandbox.control("scenarios", scenario=scenario)
    _, answer = wechat.pay("商品", "WXS00009", {"total": 100})
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    (pushed,) = receiver.wait_for(1)
    opened = wechat.callback(pushed.headers, pushed.body)
    associated = {"notify_empty_aad": "", "notify_no_aad": None}.get(scenario, "transaction")
    assert json.loads(pushed.body)["resource"].get("associated_data") == associated
    expected = "1999999999" if scenario == "notify_wrong_seller" else wechat._mchid
    assert opened["resource"]["mchid"] == expected


def test_pushes_on_demand(sandbox: SandboxServer, ali: alipay.AliPay, receiver: Receiver) -> None:
    pay_alipay(sandbox, ali, receiver, "ALS12", "1.00")
    for status in ("TRADE_FINISHED", "TRADE_CLOSED", "WAIT_BUYER_PAY"):
        sandbox.control(
            "notify", provider="alipay", outTradeNo="ALS12", status=status, waitSeconds=10
        )
    received = {n["trade_status"] for n in notices(receiver, 4)}
    assert received == {"TRADE_SUCCESS", "TRADE_FINISHED", "TRADE_CLOSED", "WAIT_BUYER_PAY"}
    sandbox.control(
        "notify", provider="alipay", outTradeNo="ALS12", scenario="notify_concurrent",
        options={"copies": 5}, waitSeconds=10,
    )  # fmt: skip
    assert len({n["notify_id"] for n in notices(receiver, 9)[4:]}) == 1


def test_amount_scenarios_can_be_switched_off(
    sandbox: SandboxServer, wechat: wechatpayv3.WeChatPay
) -> None:
    assert wechat.pay("商品", "WXS00010", {"total": 1074})[0] == 500
    assert wechat.pay("商品", "WXS00010", {"total": 1074})[0] == 200
    sandbox.control("settings", amountScenarios=False)
    assert wechat.pay("商品", "WXS00011", {"total": 1078})[0] == 200
    sandbox.control("settings", amountScenarios=True)
    assert wechat.pay("商品", "WXS00012", {"total": 1078})[0] == 400


def test_rules_are_counted_and_checked(sandbox: SandboxServer) -> None:
    sandbox.control("scenarios", scenario="rate_limited", match={"operation": "query"}, times=2)
    (rule,) = sandbox.get("/control/scenarios")["rules"]
    assert rule["remaining"] == 2
    for wrong in (
        {"scenario": "no_such"},
        {"scenario": "notify_lost", "match": {"operation": "create"}},
        {"scenario": "notify_lost", "match": {"colour": "red"}},
        {"scenario": "notify_lost", "times": 0},
        {},
    ):
        with pytest.raises(RuntimeError, match="400"):
            sandbox.control("scenarios", **wrong)
    sandbox.delete("/control/scenarios")
    assert sandbox.get("/control/scenarios")["rules"] == []
