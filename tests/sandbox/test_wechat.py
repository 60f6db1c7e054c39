"""The simulated WeChat Pay API v3, spoken to by wechatpayv3."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from wechatpayv3.utils import build_authorization, load_private_key

from sandbox.server import SandboxServer
from tests.sandbox.helpers import Receiver, account_config, until, wechat_client

MODES = pytest.mark.parametrize("mode", ["platform_cert", "public_key", "both"])


def books(sandbox: SandboxServer, number: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.get(f"/control/books?outTradeNo={number}")["trades"][0]
    return found


@MODES
def test_a_whole_life(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path, mode: str
) -> None:
    config = account_config(sandbox, "wxpay", mode)
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path / "certs")
    receiver.default = (204, b"")
    number = "WX100001"
    missing, problem = client.query(out_trade_no=number)
    assert (missing, json.loads(problem)["code"]) == (404, "ORDER_NOT_EXIST")

    status, answer = client.pay("测试商品", number, {"total": 8888}, attach="附加 +%")
    assert status == 200
    code_url = json.loads(answer)["code_url"]
    assert code_url.startswith("weixin://wxpay/bizpayurl?pr=")
    _, again = client.pay("测试商品", number, {"total": 8888}, attach="附加 +%")
    assert json.loads(again)["code_url"] != code_url
    used, problem = client.pay("测试商品", number, {"total": 8889}, attach="附加 +%")
    assert (used, json.loads(problem)["code"]) == (403, "OUT_TRADE_NO_USED")
    assert json.loads(client.query(out_trade_no=number)[1])["trade_state"] == "NOTPAY"

    sandbox.control("pay", url=code_url, waitSeconds=10)
    pushed = receiver.wait_for(1)[0]
    notice = client.callback(pushed.headers, pushed.body)
    assert notice["event_type"] == "TRANSACTION.SUCCESS"
    transaction = notice["resource"]
    assert (transaction["mchid"], transaction["appid"]) == (config["mchId"], config["appId"])
    assert (transaction["amount"]["total"], transaction["attach"]) == (8888, "附加 +%")
    queried = json.loads(client.query(transaction_id=transaction["transaction_id"])[1])
    assert (queried["trade_state"], queried["out_trade_no"]) == ("SUCCESS", number)
    paid, problem = client.close(number)
    assert (paid, json.loads(problem)["code"]) == (400, "ORDERPAID")

    amount = {"refund": 1000, "total": 8888, "currency": "CNY"}
    status, answer = client.refund(
        "RF0001", amount, out_trade_no=number, reason="商品已售完", notify_url=receiver.url
    )
    assert (status, json.loads(answer)["status"]) == (200, "PROCESSING")
    refund = receiver.wait_for(2)[1]
    notice = client.callback(refund.headers, refund.body)
    assert notice["event_type"] == "REFUND.SUCCESS"
    assert notice["resource"]["refund_status"] == "SUCCESS"
    assert "appid" not in notice["resource"]
    assert json.loads(client.query_refund("RF0001")[1])["status"] == "SUCCESS"
    assert json.loads(client.query(out_trade_no=number)[1])["trade_state"] == "REFUND"
    much = {"refund": 7889, "total": 8888, "currency": "CNY"}
    assert client.refund("RF0002", much, out_trade_no=number)[0] == 400
    assert client.query_refund("RF0009")[0] == 404
    found = books(sandbox, number)
    assert (found["createCalls"], found["effectiveCreates"]) == (3 - 1, 1)
    assert [r["executed"] for r in found["refunds"]] == [True]


def test_close_is_signed_and_may_be_repeated(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    config = account_config(sandbox, "wxpay", "platform_cert")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path / "certs")
    client.pay("测试商品", "WX100002", {"total": 1})
    assert client.close("WX100002")[0] == 204
    assert client.close("WX100002")[0] == 204
    assert json.loads(client.query(out_trade_no="WX100002")[1])["trade_state"] == "CLOSED"
    closed, problem = client.pay("测试商品", "WX100002", {"total": 1})
    assert (closed, json.loads(problem)["code"]) == (400, "ORDER_CLOSED")
    assert client.close("WX100009")[0] == 404


def test_certificates_download_and_rotate(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    made = sandbox.control("accounts", provider="wxpay", mode="platform_cert")
    client = wechat_client(made["config"], sandbox.url, receiver.url, tmp_path / "certs")
    core = client._core
    core._update_certificates()
    assert len(core._certificates) == 2
    assert any(f"{c.serial_number:040X}".startswith("0") for c in core._certificates)
    assert client.pay("测试商品", "WX100003", {"total": 1})[0] == 200

    sandbox.control("rotate", provider="wxpay", account=made["account"], step="renew")
    assert client.pay("测试商品", "WX100003", {"total": 1})[0] == 200  # found by downloading again
    assert len(core._certificates) == 3
    for expected in (2, 1):
        sandbox.control("rotate", provider="wxpay", account=made["account"], step="drop")
        core._update_certificates()
        assert len(core._certificates) == expected
    with pytest.raises(RuntimeError, match="400"):
        sandbox.control("rotate", provider="wxpay", account=made["account"], step="drop")


def test_a_public_key_merchant_has_no_certificates(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    config = account_config(sandbox, "wxpay", "public_key")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path)
    status, answer = client._core.request("/v3/certificates", skip_verify=True)
    assert (status, json.loads(answer)["code"]) == (404, "RESOURCE_NOT_EXISTS")


def test_grey_period_mixes_both_keys(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    config = account_config(sandbox, "wxpay", "both")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path / "certs")
    # Without the header of the public key, answers stay with the certificate.
    headers = _signed_headers(config, "GET", "/v3/certificates", "")
    answer = urllib3.request("GET", f"{sandbox.url}/v3/certificates", headers=headers)
    assert not answer.headers["wechatpay-serial"].startswith("PUB_KEY_ID_")
    sandbox.control("grey", account=config["mchId"], percent=50)
    for i in range(4):
        _, answer = client.pay("测试商品", f"WX10001{i}", {"total": 1})
        sandbox.control("pay", url=json.loads(answer)["code_url"], waitSeconds=10)
    pushes = receiver.wait_for(4)
    kinds = {p.headers["wechatpay-serial"].startswith("PUB_KEY_ID_") for p in pushes}
    assert kinds == {True, False}
    assert all(client.callback(p.headers, p.body) for p in pushes)


def _signed_headers(
    config: dict[str, Any], method: str, path: str, body: str, **changes: str
) -> dict[str, str]:
    authorization = build_authorization(
        path, method, changes.get("mchid", config["mchId"]),
        changes.get("serial", config["mchSerialNo"]), load_private_key(config["privateKey"]), body,
    )  # fmt: skip
    return {
        "Authorization": changes.get("authorization", authorization),
        "Accept": "application/json",
        "User-Agent": "test",
        "Content-Type": "application/json",
    }


PATH = "/wechat/v3/pay/transactions/out-trade-no/NH%7C2026?mchid="


def test_the_prefix_and_the_encoding_on_the_wire_are_signed(sandbox: SandboxServer) -> None:
    config = account_config(sandbox, "wxpay", "platform_cert")
    path = PATH + config["mchId"]
    good = urllib3.request(
        "GET", sandbox.url + path, headers=_signed_headers(config, "GET", path, "")
    )
    assert (good.status, good.json()["code"]) == (404, "ORDER_NOT_EXIST")
    raw = path.replace("%7C", "|")
    bad = urllib3.request(
        "GET", sandbox.url + path, headers=_signed_headers(config, "GET", raw, "")
    )
    assert (bad.status, bad.json()["code"]) == (401, "SIGN_ERROR")
    information = bad.json()["detail"]["sign_information"]
    assert information["sandbox_string_to_sign"].startswith(f"GET\n{path}\n")
    assert not any(name.lower().startswith("wechatpay-") for name in bad.headers)


@pytest.mark.parametrize(
    "changes",
    [
        {"mchid": "1999999999"},
        {"serial": "0" * 40},
        {"authorization": ""},
        {"authorization": "Bearer x"},
        {"authorization": 'WECHATPAY2-SHA256-RSA2048 mchid="1"'},
    ],
)
def test_who_does_not_sign_rightly_is_refused(
    sandbox: SandboxServer, changes: dict[str, str]
) -> None:
    config = account_config(sandbox, "wxpay", "platform_cert")
    path = PATH + config["mchId"]
    headers = _signed_headers(config, "GET", path, "", **changes)
    answer = urllib3.request("GET", sandbox.url + path, headers=headers)
    assert (answer.status, answer.json()["code"]) == (401, "SIGN_ERROR")


def test_a_clock_ten_minutes_off_is_refused(sandbox: SandboxServer) -> None:
    config = account_config(sandbox, "wxpay", "platform_cert")
    path = PATH + config["mchId"]
    headers = _signed_headers(config, "GET", path, "")
    sandbox.control("clock", skewSeconds=600)
    answer = urllib3.request("GET", sandbox.url + path, headers=headers)
    assert (answer.status, answer.json()["code"]) == (401, "SIGN_ERROR")


def test_p22_a_skewed_clock_shows_in_what_the_platform_signs(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    config = account_config(sandbox, "wxpay", "public_key")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path)
    _, answer = client.pay("测试商品", "WX100007", {"total": 1})
    sandbox.control("clock", skewSeconds=-600)
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    (pushed,) = receiver.wait_for(1)
    age = time.time() - int(pushed.headers["wechatpay-timestamp"])
    assert 590 < age < 660
    assert client.callback(pushed.headers, pushed.body)["event_type"] == "TRANSACTION.SUCCESS"


def test_headers_without_user_agent_are_refused(sandbox: SandboxServer) -> None:
    config = account_config(sandbox, "wxpay", "platform_cert")
    path = PATH + config["mchId"]
    headers = _signed_headers(config, "GET", path, "") | {"User-Agent": urllib3.util.SKIP_HEADER}
    answer = urllib3.request("GET", sandbox.url + path, headers=headers)
    assert (answer.status, answer.json()["code"]) == (400, "PARAM_ERROR")


def test_an_expired_order_is_not_payable_but_not_closed(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    config = account_config(sandbox, "wxpay", "public_key")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path)
    expiry = (datetime.now(UTC) + timedelta(minutes=2)).isoformat(timespec="seconds")
    client.pay("测试商品", "WX100004", {"total": 1}, time_expire=expiry)
    sandbox.control("clock", offsetSeconds=3600)
    with pytest.raises(RuntimeError, match="409"):
        sandbox.control("pay", provider="wxpay", outTradeNo="WX100004")
    assert json.loads(client.query(out_trade_no="WX100004")[1])["trade_state"] == "NOTPAY"
    assert client.close("WX100004")[0] == 204


def test_a_code_lives_two_hours(sandbox: SandboxServer, receiver: Receiver, tmp_path: Path) -> None:
    config = account_config(sandbox, "wxpay", "public_key")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path)
    _, answer = client.pay("测试商品", "WX100005", {"total": 1})
    code_url = json.loads(answer)["code_url"]
    sandbox.control("open", url=code_url)
    sandbox.control("clock", offsetSeconds=7201)
    with pytest.raises(RuntimeError, match="404"):
        sandbox.control("open", url=code_url)


def test_notifications_are_retried_until_acknowledged(
    sandbox: SandboxServer, receiver: Receiver, tmp_path: Path
) -> None:
    config = account_config(sandbox, "wxpay", "public_key")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path)
    sandbox.control("clock", timeFactor=0)
    receiver.answers = [(500, b""), (400, b'{"code":"FAIL"}'), (302, b"")]
    receiver.default = (200, b'{"code":"FAIL"}')  # the status alone decides
    _, answer = client.pay("测试商品", "WX100006", {"total": 1})
    sandbox.control("pay", url=json.loads(answer)["code_url"])
    tried = receiver.wait_for(4)
    assert len({json.loads(r.body)["id"] for r in tried}) == 1
    assert len({r.headers["wechatpay-nonce"] for r in tried}) == 4
    until(lambda: books(sandbox, "WX100006")["notifications"][0]["state"] == "accepted")
