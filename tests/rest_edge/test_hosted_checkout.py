"""The payer's pages."""

import re
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from core_service.errors import CoreError
from novapay.payments.v1 import payment_service_pb2 as payments
from tests.rest_edge.conftest import Answered, Edge, RecordingCore


def checkout(**fields: Any) -> payments.GetCheckoutResponse:
    values: dict[str, Any] = {
        "order_id": "po_1",
        "merchant_name": "茶店 <b>&",
        "amount": "12.00",
        "currency": "CNY",
        "subject": "</title><script>alert(1)</script>{{7*7}}",
        "status": payments.ORDER_STATUS_PENDING,
        "payment_mode": "qr_code",
        "checkout_url": "weixin://wxpay/bizpayurl?pr=abc",
        "return_url": "https://shop.example/done?a=1&b=2",
        "expire_at": Timestamp(seconds=1_780_286_400),
    }
    return payments.GetCheckoutResponse(**(values | fields))


def page(edge: Edge, path: str = "/pay/po_1", **headers: str) -> Answered:
    return edge.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def test_wechat_cashier_shows_a_code(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    answer = page(edge)
    html = answer.body.decode()
    assert 200 == answer.status
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in html
    assert "weixin://" not in html
    assert "12.00" in html
    assert "2026-06-01 12:00:00 UTC+8" in html
    assert 'http-equiv="refresh" content="5"' in html
    assert "po_1" == core.only_call.request.order_id


def test_alipay_cashier_shows_a_button(edge: Edge, core: RecordingCore) -> None:
    url = "https://openapi.alipay.com/gateway.do?a=1&sign=x%2By"
    core.answer("GetCheckout", checkout(payment_mode="redirect", checkout_url=url))
    html = page(edge).body.decode()
    assert f'href="{url.replace("&", "&amp;")}"' in html
    assert "<svg" not in html


def test_i16_texts_are_escaped_and_pages_have_no_scripts(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    for path in ("/pay/po_1", "/pay/po_1/return"):
        answer = page(edge, path)
        html = answer.body.decode()
        assert "&lt;script&gt;" in html
        assert "<script" not in html
        assert "style=" not in html
        assert "{{7*7}}" in html
        assert "茶店 &lt;b&gt;&amp;" in html
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "scheme", ["javascript:alert(1)", "data:text/html,x", "weixin://x", "//evil.example", ""]
)
def test_only_web_addresses_become_links(edge: Edge, core: RecordingCore, scheme: str) -> None:
    core.answer(
        "GetCheckout",
        checkout(
            payment_mode="redirect",
            checkout_url=scheme,
            return_url=scheme,
            status=payments.ORDER_STATUS_SUCCEEDED,
        ),
    )
    for path in ("/pay/po_1", "/pay/po_1/return"):
        links = re.findall(r'(?:href|url)="?=?([^";]+)"', page(edge, path).body.decode())
        assert {"/static/pages.css", "?lang=en"} == set(links)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "CANCELLED"])
def test_settled_orders_cannot_be_paid_and_do_not_refresh(
    edge: Edge, core: RecordingCore, status: str
) -> None:
    core.answer(
        "GetCheckout", checkout(status=payments.OrderStatus.Value(f"ORDER_STATUS_{status}"))
    )
    html = page(edge).body.decode()
    assert "<svg" not in html
    assert "refresh" not in html
    assert 'href="https://shop.example/done?a=1&amp;b=2"' in html


def test_result_page_believes_the_core_and_not_the_query(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    html = page(
        edge, "/pay/po_1/return?trade_status=TRADE_SUCCESS&return_url=https://evil.example"
    ).body.decode()
    assert "等待付款" in html
    assert "支付成功" not in html
    assert "evil.example" not in html
    assert "shop.example" not in html


def test_result_page_goes_on_to_the_merchant_after_success(edge: Edge, core: RecordingCore) -> None:
    core.answer(
        "GetCheckout",
        checkout(
            status=payments.ORDER_STATUS_SUCCEEDED,
            paid_at=Timestamp(seconds=1_780_286_400),
            refunded_amount="2.00",
        ),
    )
    answer = page(edge, "/pay/po_1/return")
    html = answer.body.decode()
    assert 200 == answer.status
    assert (
        '<meta http-equiv="refresh" content="5;url=https://shop.example/done?a=1&amp;b=2">' in html
    )
    assert "5 秒后自动返回商户" in html
    assert "2.00 CNY" in html


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, "", "等待付款"),
        ({"accept_language": "en-US,en;q=0.9"}, "", "Waiting for payment"),
        ({"accept_language": "fr, en;q=0.5"}, "", "Waiting for payment"),
        ({"accept_language": "zh-TW,zh"}, "", "等待付款"),
        ({"accept_language": "fr"}, "", "等待付款"),
        ({"accept_language": "zh"}, "?lang=en", "Waiting for payment"),
        ({"accept_language": "en"}, "?lang=zh-CN", "等待付款"),
        ({"accept_language": "en"}, "?lang=%00", "Waiting for payment"),
    ],
)
def test_language(
    edge: Edge, core: RecordingCore, headers: dict[str, str], query: str, expected: str
) -> None:
    core.answer("GetCheckout", checkout())
    assert expected in page(edge, "/pay/po_1" + query, **headers).body.decode()


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("ORDER_NOT_FOUND", 404),
        ("INVALID_REQUEST", 404),
        ("DATABASE_UNAVAILABLE", 503),
        ("INTERNAL", 500),
    ],
)
def test_problems_are_small_pages(
    edge: Edge, core: RecordingCore, reason: str, status: int
) -> None:
    core.answer("GetCheckout", CoreError(reason))
    answer = page(edge, "/pay/po_nothing", accept_language="en", x_request_id="r-7")
    assert status == answer.status
    assert answer.headers["content-type"].startswith("text/html")
    assert b"r-7" in answer.body
    assert (status == 503) == ("retry-after" in answer.headers)


def test_stylesheet_is_served(edge: Edge) -> None:
    answer = edge.request("GET", "/static/pages.css")
    assert (200, "text/css; charset=utf-8") == (answer.status, answer.headers["content-type"])
    assert b"url(" not in answer.body
