"""The pages on which a person pays."""

import json
from pathlib import Path
from typing import Any

import pytest
import urllib3

from sandbox.server import SandboxServer
from tests.sandbox.helpers import Receiver, account_config, until, wechat_client


@pytest.fixture
def cashier(sandbox: SandboxServer, receiver: Receiver, tmp_path: Path) -> str:
    receiver.default = (204, b"")
    config = account_config(sandbox, "wxpay", "public_key")
    client = wechat_client(config, sandbox.url, receiver.url, tmp_path)
    _, answer = client.pay("<b>商品</b>", "WXC00001", {"total": 123})
    url: str = sandbox.control("open", url=json.loads(answer)["code_url"])["cashierUrl"]
    return url


def press(url: str, action: str) -> str:
    answer = urllib3.request(
        "POST",
        url,
        body=f"action={action}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 200
    return answer.data.decode()


def trade(sandbox: SandboxServer) -> Any:
    return sandbox.get("/control/books")["trades"][0]


def test_the_page_shows_the_order(cashier: str) -> None:
    page = urllib3.request("GET", cashier).data.decode()
    assert "/cashier/wechat/" in cashier
    assert "¥1.23" in page
    assert "&lt;b&gt;商品" in page
    assert all(f'value="{action}"' in page for action in ("pay", "late", "cancel"))


def test_pay(sandbox: SandboxServer, receiver: Receiver, cashier: str) -> None:
    assert "支付成功" in press(cashier, "pay")
    receiver.wait_for(1)
    assert "已支付" in press(cashier, "pay")
    assert len(trade(sandbox)["payments"]) == 1


def test_cancel(sandbox: SandboxServer, cashier: str) -> None:
    assert "已取消" in press(cashier, "cancel")
    assert (trade(sandbox)["status"], trade(sandbox)["payments"]) == ("WAITING", [])


def test_pay_later_arrives_after_the_expiry(
    sandbox: SandboxServer, receiver: Receiver, cashier: str
) -> None:
    assert "已受理" in press(cashier, "late")
    assert trade(sandbox)["payments"] == []
    sandbox.control("clock", offsetSeconds=8 * 86400)
    payments = until(lambda: trade(sandbox)["payments"])
    assert [p["late"] for p in payments] == [True]
    receiver.wait_for(1)


def test_an_unknown_page(cashier: str) -> None:
    assert urllib3.request("GET", f"{cashier}x").status == 404
    other = cashier.replace("/wechat/", "/alipay/")
    assert urllib3.request("GET", other).status == 404
