"""The payer's pages: the hosted cashier and the result page.

Both show what the core says about the order and nothing that the query string claims. A payer is sent to one place
only: the return address that the merchant gave with the order.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import falcon.asgi
from markupsafe import Markup

from core_service.errors import CoreError
from core_service.schema import method_named
from novapay.payments.v1 import payment_service_pb2 as payments
from rest_edge.core_connection import CoreConnection
from rest_edge.errors import STATUS_BY_FAMILY, retry_after_seconds
from rest_edge.json_codec import enum_numbers
from rest_edge.middleware import REQUEST_KEY, EdgeRequest
from rest_edge.pages import chosen_language, render, show
from rest_edge.qr_code import qr_svg

PAY_PATH = "/pay/{order_id}"
RETURN_PATH = "/pay/{order_id}/return"

REFRESH_SECONDS = 5
REDIRECT_SECONDS = 5

_CHINA = timezone(timedelta(hours=8))
_OPEN = frozenset({"PENDING", "PROCESSING"})
_STATUS_NAMES = {
    number: name for name, number in enum_numbers(payments.OrderStatus.DESCRIPTOR).items()
}


class HostedPage:
    """What the cashier and the result page share."""

    route: str
    template: str

    def __init__(self, core: CoreConnection) -> None:
        self._core = core

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, order_id: str
    ) -> None:
        """The page; unknown orders and failures are small HTML pages too."""
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = self.route
        language = chosen_language(req)
        texts = TEXTS[language]
        try:
            checkout = await self._core.ask(
                method_named("PaymentService.GetCheckout"),
                payments.GetCheckoutRequest(order_id=order_id),
                request,
            )
        except CoreError as error:
            status = STATUS_BY_FAMILY[error.family]
            status = (
                404 if status == 400 else status
            )  # what cannot be an order id is an order that does not exist
            wait = retry_after_seconds(error)
            if wait is not None:
                resp.set_header("retry-after", str(wait))
            text = texts["not_found" if status == 404 else "failed"]
            page = render(
                "problem.html", language, texts=texts, text=text, request_id=request.request_id
            )
            show(resp, page, language, status)
            return
        page = render(self.template, language, texts=texts, **checkout_view(checkout, texts))
        show(resp, page, language)


class Cashier(HostedPage):
    """GET /pay/{id}: QR code or button while the order can be paid, then what became of it."""

    route = PAY_PATH
    template = "cashier.html"


class Result(HostedPage):
    """GET /pay/{id}/return: the true state; after success on to the merchant, with a delay that is shown."""

    route = RETURN_PATH
    template = "result.html"


def checkout_view(checkout: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """What the templates need, as plain values."""
    status = _STATUS_NAMES.get(checkout.status, "PENDING")
    is_open = status in _OPEN
    url = checkout.checkout_url if is_open else ""
    is_qr = checkout.payment_mode == "qr_code"
    refunded = checkout.refunded_amount if checkout.refunded_amount not in ("", "0.00") else ""
    return {
        "order_id": checkout.order_id,
        "merchant": checkout.merchant_name,
        "amount": checkout.amount,
        "currency": checkout.currency,
        "subject": checkout.subject,
        "status": status,
        "status_text": texts[status],
        "is_open": is_open,
        "qr": Markup(qr_svg(url)) if url and is_qr else "",  # noqa: S704 - made here, from numbers
        "checkout_url": url if _is_web_address(url) and not is_qr else "",
        "channel_text": texts["with_wechat" if is_qr else "with_alipay"],
        "return_url": checkout.return_url if _is_web_address(checkout.return_url) else "",
        "expires": _moment(checkout, "expire_at") if is_open else "",
        "paid": _moment(checkout, "paid_at"),
        "refunded": refunded,
        "refresh_seconds": REFRESH_SECONDS,
        "redirect_seconds": REDIRECT_SECONDS,
    }


def _is_web_address(url: str) -> bool:
    return url.startswith(("https://", "http://"))


def _moment(checkout: Any, field: str) -> str:
    if not checkout.HasField(field):
        return ""
    at = datetime.fromtimestamp(getattr(checkout, field).seconds, UTC).astimezone(_CHINA)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC+8")


TEXTS: Mapping[str, Mapping[str, str]] = {
    "zh-CN": {
        "title": "收银台",
        "other_language": "English",
        "other_language_code": "en",
        "PENDING": "等待付款",
        "PROCESSING": "支付处理中",
        "SUCCEEDED": "支付成功",
        "FAILED": "支付失败",
        "CANCELLED": "订单已关闭",
        "with_wechat": "请使用微信扫一扫付款",
        "with_alipay": "前往支付宝付款",
        "not_ready": "订单正在准备，请稍候。",
        "refreshes": "付款后本页会自动更新。",
        "merchant": "收款方",
        "subject": "商品",
        "order": "订单号",
        "expires": "请在此时间前付款",
        "paid": "支付时间",
        "refunded": "已退款",
        "back": "返回商户",
        "going_back": "秒后自动返回商户。",
        "pay_again": "回到收银台",
        "waiting": "尚未收到支付结果，本页会自动更新。",
        "not_found": "没有找到这个订单。",
        "failed": "暂时无法显示这个订单，请稍后再试。",
        "reference": "请求编号",
    },
    "en": {
        "title": "Checkout",
        "other_language": "中文",
        "other_language_code": "zh-CN",
        "PENDING": "Waiting for payment",
        "PROCESSING": "Payment is being processed",
        "SUCCEEDED": "Paid",
        "FAILED": "Payment failed",
        "CANCELLED": "Order closed",
        "with_wechat": "Scan with WeChat to pay",
        "with_alipay": "Pay with Alipay",
        "not_ready": "The order is being prepared; one moment.",
        "refreshes": "This page updates by itself after you have paid.",
        "merchant": "Merchant",
        "subject": "Item",
        "order": "Order",
        "expires": "Pay before",
        "paid": "Paid at",
        "refunded": "Refunded",
        "back": "Back to the merchant",
        "going_back": "seconds until you return to the merchant.",
        "pay_again": "Back to the checkout",
        "waiting": "No result has arrived yet; this page updates by itself.",
        "not_found": "There is no such order.",
        "failed": "This order cannot be shown right now; please try again shortly.",
        "reference": "Request id",
    },
}
