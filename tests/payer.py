"""A payer, and the provider behind them: drives the sandbox by its control calls, with the vectors' test keys."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests import notifications
from tests.stack import Answer, Merchant, Stack, wait_until

PROVIDERS = {"alipay.page": "alipay", "wxpay.native": "wxpay"}


class Payer:
    """Pays orders in the sandbox and sends genuine notifications of its own."""

    def __init__(self, stack: Stack, accounts: Mapping[str, Any]) -> None:
        """`accounts`: channel → {"provider", "id", "callbackToken"} of the merchant whose orders are paid."""
        self.stack = stack
        self.accounts = accounts

    def control(self, path: str, body: Any = None) -> Any:
        answer = self.stack.sandbox.post_json(f"/control/{path}", body or {})
        assert answer.status < 300, (path, body, answer.raw)
        return answer.json

    def pay(self, order: Mapping[str, Any], **options: Any) -> Any:
        """Opens the cashier with the checkout URL, as a browser would, and pays."""
        return self.control("pay", {"url": order["checkoutUrl"], **options})

    def paid_alipay(self, merchant: Merchant, amount: str = "12.00") -> Any:
        """An Alipay order that NovaPay knows to be paid."""
        order = merchant.create_order("alipay.page", amount).json["order"]
        self.pay(order)
        wait_until(lambda: merchant.order(order["id"])["status"] == "SUCCEEDED", what="payment")
        return order

    @contextmanager
    def scenario(self, channel: str, name: str, **options: Any) -> Iterator[None]:
        """Lets the provider misbehave inside the block."""
        rule = {
            "scenario": name,
            "match": {"provider": PROVIDERS[channel]},
            "times": None,
            "options": options,
        }
        self.control("scenarios", rule)
        try:
            yield
        finally:
            self.stack.sandbox.request("DELETE", "/control/scenarios")

    def trade(self, order_id: str) -> Any:
        """The provider's own books about one order; None when it has never heard of it."""
        answer = self.stack.sandbox.request("GET", f"/control/books?outTradeNo={order_id}")
        trades = answer.json["trades"]
        return trades[0] if trades else None

    def calls(self, order_id: str, operation: str) -> list[Any]:
        """What NovaPay asked the provider about one order."""
        answer = self.stack.sandbox.request("GET", f"/control/books?outTradeNo={order_id}")
        return [call for call in answer.json["calls"] if call["operation"] == operation]

    def callback_path(
        self, channel: str, *, account: str | None = None, token: str | None = None
    ) -> str:
        known = self.accounts[channel]
        provider = PROVIDERS[channel]
        return f"/api/payments/callback/{provider}/{account or known['id']}/{token or known['callbackToken']}"

    def notify(self, order: Mapping[str, Any], **changes: Any) -> Answer:
        """Sends a genuine success notification about an order; `changes` are made before signing."""
        path = self.callback_path(order["channelCode"])
        if order["channelCode"] == "alipay.page":
            headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
            return self.stack.http.request(
                "POST", path, body=notifications.alipay(dict(order), **changes), headers=headers
            )
        wechat_headers, body = notifications.wxpay(dict(order), **changes)
        return self.stack.http.request("POST", path, body=body, headers=wechat_headers)

    def notify_by_get(self, order: Mapping[str, Any], **changes: Any) -> Answer:
        query = notifications.alipay(dict(order), **changes).decode()
        return self.stack.http.request("GET", f"{self.callback_path('alipay.page')}?{query}")


def sandbox_accounts(stack: Stack) -> dict[str, Any]:
    """Registers the vectors' accounts with the sandbox; channel → account configuration for NovaPay."""
    alipay, wxpay = notifications.ALIPAY, notifications.WXPAY
    wanted = {
        "alipay.page": {
            "provider": "alipay",
            "mode": "public_key",
            "appId": alipay["app_id"],
            "sellerId": alipay["seller_id"],
            "appPrivateKey": alipay["app_private_key_pkcs8"],
            "alipayPrivateKey": alipay["alipay_private_key_pkcs8"],
        },
        "wxpay.native": {
            "provider": "wxpay",
            "mode": "platform_cert",
            "mchId": wxpay["mchid"],
            "appId": wxpay["appid"],
            "apiV3Key": wxpay["apiv3_key"],
            "merchantPrivateKey": wxpay["merchant_private_key_pkcs8"],
            "merchantSerialNo": wxpay["merchant_serial_no"],
            "platformCertificates": [
                {"cert": item["cert"], "privateKey": item["private_key_pkcs8"]}
                for item in wxpay["platform_certs"]
            ],
        },
    }
    configurations = {}
    for channel, body in wanted.items():
        answer = stack.sandbox.post_json("/control/accounts", body)
        assert answer.status == 201, answer.raw
        configurations[channel] = answer.json["config"]
    return configurations
