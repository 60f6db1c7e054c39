"""The simulated Alipay gateway, spoken to by python-alipay-sdk."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import alipay
import pytest
import urllib3

from sandbox.server import SandboxServer
from tests.sandbox.helpers import Receiver, account_config, alipay_client, until

# The oracle reads certificates by an old interface of pyOpenSSL.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated.*:DeprecationWarning")
MODES = pytest.mark.parametrize("mode", ["public_key", "cert"])


def page_url(client: alipay.AliPay, number: str, amount: str, notify_url: str, **more: Any) -> str:
    subject = more.pop("subject", "测试商品-一年会员")
    return_url = more.pop("return_url", "http://shop.example/return?x=1")
    query = client.api_alipay_trade_page_pay(
        subject, number, amount, return_url=return_url, notify_url=notify_url, **more
    )
    return f"{client._gateway}?{query}"


def form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))


def get(url: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", url, redirect=False, retries=False)


def trade(sandbox: SandboxServer, number: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.get(f"/control/books?outTradeNo={number}")["trades"][0]
    return found


@MODES
def test_a_whole_life(sandbox: SandboxServer, receiver: Receiver, mode: str) -> None:
    config = account_config(sandbox, "alipay", mode)
    client = alipay_client(config)
    url = page_url(client, "AL1", "88.88", receiver.url)
    missing = client.api_alipay_trade_query(out_trade_no="AL1")
    assert missing["sub_code"] == "ACQ.TRADE_NOT_EXIST"

    assert sandbox.control("open", url=url)["trade"]["status"] == "WAITING"
    assert client.api_alipay_trade_query(out_trade_no="AL1")["trade_status"] == "WAIT_BUYER_PAY"
    paid = sandbox.control("pay", provider="alipay", outTradeNo="AL1", waitSeconds=10)
    assert client.verify(*_split(dict(parse_qsl(urlsplit(paid["returnUrl"]).query)[1:])))

    notice = form(receiver.wait_for(1)[0].body)
    assert notice["trade_status"] == "TRADE_SUCCESS"
    assert (notice["total_amount"], notice["app_id"]) == ("88.88", config["appId"])
    assert notice["seller_id"] == config["sellerId"]
    assert client.verify(*_split(notice))
    queried = client.api_alipay_trade_query(out_trade_no="AL1")
    assert queried["trade_status"] == "TRADE_SUCCESS"
    assert queried["fund_bill_list"][0]["note"] == '余额 {沙箱} "1"'
    assert queried["trade_no"] == notice["trade_no"]

    first = client.api_alipay_trade_refund("8.88", out_trade_no="AL1", out_request_no="R1")
    assert (first["fund_change"], first["refund_fee"]) == ("Y", "8.88")
    again = client.api_alipay_trade_refund("8.88", out_trade_no="AL1", out_request_no="R1")
    assert (again["fund_change"], again["refund_fee"]) == ("N", "8.88")
    other = client.api_alipay_trade_refund("8.89", out_trade_no="AL1", out_request_no="R1")
    assert other["sub_code"] == "ACQ.DISCORDANT_REPEAT_REQUEST"
    much = client.api_alipay_trade_refund("80.01", out_trade_no="AL1", out_request_no="R2")
    assert much["sub_code"] == "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"
    second = client.api_alipay_trade_refund("80.00", out_trade_no="AL1", out_request_no="R2")
    assert (second["fund_change"], second["refund_fee"]) == ("Y", "88.88")
    state = client.api_alipay_trade_fastpay_refund_query("R1", out_trade_no="AL1")
    assert (state["refund_status"], state["refund_amount"]) == ("REFUND_SUCCESS", "8.88")
    nothing = client.api_alipay_trade_fastpay_refund_query("R9", out_trade_no="AL1")
    assert nothing["code"] == "10000"
    assert "refund_status" not in nothing

    notices = [form(r.body) for r in receiver.wait_for(3)]
    assert all(client.verify(*_split(dict(n))) for n in notices)
    pushed = {(n["trade_status"], n.get("refund_fee"), n.get("out_biz_no")) for n in notices}
    assert pushed == {
        ("TRADE_SUCCESS", None, None),
        ("TRADE_SUCCESS", "8.88", "R1"),
        ("TRADE_CLOSED", "88.88", "R2"),
    }
    assert [r["executed"] for r in trade(sandbox, "AL1")["refunds"]] == [True, True]
    assert trade(sandbox, "AL1")["effectiveCreates"] == 1


def _split(parameters: dict[str, str]) -> tuple[dict[str, str], str]:
    sign = parameters.pop("sign")
    return parameters, sign


def test_the_raw_answer_has_escaped_slashes_and_the_serial(sandbox: SandboxServer) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "cert"))
    sandbox.control("open", url=page_url(client, "AL2", "1.00", "http://127.0.0.1:1/"))
    body = urlencode(parse_qsl(client.client_api("alipay.trade.query", {"out_trade_no": "AL2"})))
    answer = urllib3.request("POST", client._gateway, body=body)
    text = answer.data.decode()
    assert answer.headers["content-type"] == "text/html;charset=utf-8"
    assert "沙箱测试店\\/一号店" in text
    assert text.index('"alipay_cert_sn"') < text.index('"sign"')


def test_opening_makes_the_trade_once(sandbox: SandboxServer) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    url = page_url(client, "AL3", "1.00", "http://127.0.0.1:1/")
    page = get(url)
    assert page.status == 302
    assert "¥1.00" in get(sandbox.url + page.headers["location"]).data.decode()
    assert get(url).status == 302
    assert [trade(sandbox, "AL3")[k] for k in ("createCalls", "effectiveCreates")] == [2, 1]
    changed = get(page_url(client, "AL3", "2.00", "http://127.0.0.1:1/"))
    assert changed.status == 200
    assert "ACQ.CONTEXT_INCONSISTENT" in changed.data.decode("gbk")


def test_the_cashier_pays_and_returns_signed(sandbox: SandboxServer, receiver: Receiver) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    cashier = sandbox.control("open", url=page_url(client, "AL4", "3.00", receiver.url))
    answer = urllib3.request(
        "POST",
        cashier["cashierUrl"],
        body="action=pay",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        redirect=False,
    )
    assert answer.status == 303
    location = urlsplit(answer.headers["location"])
    returned = dict(parse_qsl(location.query))
    assert returned.pop("x") == "1"
    assert returned["method"] == "alipay.trade.page.pay.return"
    assert client.verify(*_split(returned))
    receiver.wait_for(1)


def test_wrong_signatures_are_refused_and_explained(sandbox: SandboxServer) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    url = page_url(client, "AL5", "5.00", "http://127.0.0.1:1/")
    refused = get(url.replace("5.00", "0.05"))
    assert "isv.invalid-signature" in refused.data.decode("gbk")
    query = client.client_api("alipay.trade.query", {"out_trade_no": "AL5"})
    tampered = get(f"{client._gateway}?{query.replace('AL5', 'AL6')}")
    node = json.loads(tampered.data)["alipay_trade_query_response"]
    assert (node["code"], node["sub_code"]) == ("40002", "isv.invalid-signature")
    assert 'biz_content={"out_trade_no":"AL6"}' in node["sandbox_string_to_sign"]
    assert node["sandbox_string_to_sign"].startswith("app_id=")


def test_an_unknown_app_gets_an_unsigned_error(sandbox: SandboxServer) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    query = client.client_api("alipay.trade.query", {"out_trade_no": "AL5"})
    answer = json.loads(get(f"{client._gateway}?{query.replace('app_id=2', 'app_id=3')}").data)
    assert list(answer) == ["alipay_trade_query_response"]
    assert answer["alipay_trade_query_response"]["sub_code"] == "isv.invalid-app-id"


@pytest.mark.parametrize("name", ["app_cert_sn", "alipay_root_cert_sn"])
def test_certificate_mode_needs_both_serials(sandbox: SandboxServer, name: str) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "cert"))
    data = client.build_body("alipay.trade.query", {"out_trade_no": "AL5"})
    del data[name]
    answer = json.loads(get(f"{client._gateway}?{client.sign_data(data)}").data)
    node = answer["alipay_trade_query_response"]
    assert node["sub_code"] == f"isv.missing-{name.replace('_', '-')}"


def test_close_and_its_refusals(sandbox: SandboxServer) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    assert client.api_alipay_trade_close("AL7")["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    url = page_url(client, "AL7", "5.00", "http://127.0.0.1:1/")
    sandbox.control("open", url=url)
    assert client.api_alipay_trade_close("AL7")["code"] == "10000"
    assert client.api_alipay_trade_query(out_trade_no="AL7")["trade_status"] == "TRADE_CLOSED"
    assert client.api_alipay_trade_close("AL7")["sub_code"] == "ACQ.TRADE_HAS_CLOSE"
    assert "ACQ.TRADE_HAS_CLOSE" in get(url).data.decode("gbk")
    with pytest.raises(RuntimeError, match="409"):
        sandbox.control("pay", provider="alipay", outTradeNo="AL7")


def test_expiry_closes_the_trade_and_kills_the_link(sandbox: SandboxServer) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    url = page_url(client, "AL8", "5.00", "http://127.0.0.1:1/", timeout_express="30m")
    sandbox.control("open", url=url)
    sandbox.control("clock", offsetSeconds=1799)
    assert trade(sandbox, "AL8")["status"] == "WAITING"
    sandbox.control("clock", offsetSeconds=1801)
    assert client.api_alipay_trade_query(out_trade_no="AL8")["trade_status"] == "TRADE_CLOSED"
    expired = page_url(
        client, "AL9", "5.00", "http://127.0.0.1:1/", time_expire="2020-01-01 00:00:00"
    )
    assert "ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR" in get(expired).data.decode("gbk")


def test_after_a_year_the_trade_is_finished(sandbox: SandboxServer, receiver: Receiver) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    sandbox.control("pay", url=page_url(client, "AL13", "5.00", receiver.url))
    sandbox.control("clock", offsetSeconds=366 * 86400)
    assert client.api_alipay_trade_query(out_trade_no="AL13")["trade_status"] == "TRADE_FINISHED"
    refused = client.api_alipay_trade_refund("1.00", out_trade_no="AL13", out_request_no="R1")
    assert refused["sub_code"] == "ACQ.TRADE_HAS_FINISHED"
    receiver.wait_for(1)


def test_notifications_are_retried_until_success(
    sandbox: SandboxServer, receiver: Receiver
) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    sandbox.control("clock", timeFactor=0.0001)
    receiver.answers = [(500, b"success"), (200, b"fail"), (200, b"SUCCESS"), (204, b"")]
    sandbox.control("pay", url=page_url(client, "AL10", "5.00", receiver.url))
    tried = receiver.wait_for(5)
    notices = [form(r.body) for r in tried]
    assert len({n["notify_id"] for n in notices}) == 1
    push = until(lambda: _only_push(sandbox, "AL10", "accepted"))
    assert [a["accepted"] for a in push["attempts"]] == [False] * 4 + [True]


def _only_push(sandbox: SandboxServer, number: str, state: str) -> dict[str, Any] | None:
    (push,) = trade(sandbox, number)["notifications"]
    return push if push["state"] == state else None


def test_alipay_gives_up_after_eight_attempts(sandbox: SandboxServer, receiver: Receiver) -> None:
    client = alipay_client(account_config(sandbox, "alipay", "public_key"))
    sandbox.control("clock", timeFactor=0)
    receiver.default = (200, b"<html>success</html>")
    sandbox.control("pay", url=page_url(client, "AL11", "5.00", receiver.url))
    receiver.wait_for(8)
    push = until(lambda: _only_push(sandbox, "AL11", "given_up"))
    assert len(push["attempts"]) == 8


def test_renewed_certificates_change_the_serial(sandbox: SandboxServer) -> None:
    made = sandbox.control("accounts", provider="alipay", mode="cert")
    client = alipay_client(made["config"])
    old = made["config"]["alipayCert"]
    renewed = sandbox.control("rotate", provider="alipay", account=made["account"], step="renew")
    new = renewed["config"]["alipayCert"]
    assert new != old
    serial = client.get_cert_sn(new)
    query = client.client_api("alipay.trade.query", {"out_trade_no": "AL12"})
    assert json.loads(get(f"{client._gateway}?{query}").data)["alipay_cert_sn"] == serial
    assert client.get_cert_sn(old) != serial
