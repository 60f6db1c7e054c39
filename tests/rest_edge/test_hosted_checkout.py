"""The payer's pages."""

import re
import time
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from core_service.errors import CoreError
from novapay.payments.v1 import payment_service_pb2 as payments
from tests.rest_edge.conftest import Answered, Edge, RecordingCore

WECHAT = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 MicroMessenger/8.0.50"
)
ALIPAY = "Mozilla/5.0 (Linux; Android 15) Mobile Safari/537.36 AlipayClient/10.6.58"
PHONE = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Mobile Safari/537.36"
BUTTON = "https://openapi.alipay.com/gateway.do?a=1&sign=x%2By"
SETTLED = ["PAID", "EXPIRED", "CLOSED", "FAILED", "PARTLY_REFUNDED", "REFUNDED"]


def checkout(state: str = "WAITING", **fields: Any) -> payments.GetCheckoutResponse:
    values: dict[str, Any] = {
        "order_id": "po_1",
        "external_order_id": "ext-7",
        "merchant_name": "茶店 <b>&",
        "amount": "1012.00",
        "currency": "CNY",
        "subject": "</title><script>alert(1)</script>{{7*7}}",
        "state": payments.CheckoutState.Value(f"CHECKOUT_STATE_{state}"),
        "may_change": state == "WAITING",
        "channel_code": "wxpay.native",
        "payment_mode": "qr_code",
        "checkout_url": "weixin://wxpay/bizpayurl?pr=abc" if state == "WAITING" else "",
        "return_url": "https://shop.example/done?a=1&b=2",
        "refunded_amount": "0.00",
        "expire_at": Timestamp(seconds=1_780_286_400),
        "return_delay_seconds": 7,
    }
    return payments.GetCheckoutResponse(**(values | fields))


def redirect(**fields: Any) -> payments.GetCheckoutResponse:
    values = {"payment_mode": "redirect", "channel_code": "alipay.page", "checkout_url": BUTTON}
    return checkout(**(values | fields))


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
    assert "¥1,012.00" in html
    assert '<time datetime="2026-06-01T12:00:00+08:00">2026-06-01 12:00:00 UTC+8</time>' in html
    assert '<noscript>\n<meta http-equiv="refresh" content="5">' in html
    assert "po_1" == core.only_call.request.order_id


def test_countdown_starts_from_the_server_s_clock(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout(expire_at=Timestamp(seconds=int(time.time()) + 1000)))
    found = re.search(r'class="countdown" data-left="(\d+)"', page(edge).body.decode())
    assert found
    assert 900 < int(found[1]) <= 1000


def test_alipay_cashier_shows_a_button(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", redirect())
    html = page(edge).body.decode()
    assert f'href="{BUTTON.replace("&", "&amp;")}"' in html
    assert "<svg" not in html


@pytest.mark.parametrize(
    ("agent", "expected", "absent"),
    [
        (WECHAT, ["长按二维码", "data:image/png;base64,"], ["download", "<svg"]),
        (ALIPAY, ["请用微信扫码", "data:image/png;base64,"], ["download", "<svg"]),
        (PHONE, ["从相册选取", "data:image/png;base64,", "download="], ["<svg"]),
        ("Firefox", ["打开微信扫一扫", "<svg"], ["download", "data:image"]),
    ],
)
def test_a_code_comes_with_what_the_device_can_do(
    edge: Edge, core: RecordingCore, agent: str, expected: list[str], absent: list[str]
) -> None:
    core.answer("GetCheckout", checkout())
    html = page(edge, user_agent=agent).body.decode()
    assert [] == [text for text in expected if text not in html]
    assert [] == [text for text in absent if text in html]


@pytest.mark.parametrize(
    ("agent", "text", "has_button"),
    [
        (WECHAT, "在浏览器打开", False),
        (ALIPAY, "立即付款", True),
        (PHONE, "前往支付宝付款", True),
        ("Firefox", "前往支付宝付款", True),
    ],
)
def test_a_button_is_only_where_it_works(
    edge: Edge, core: RecordingCore, agent: str, text: str, *, has_button: bool
) -> None:
    core.answer("GetCheckout", redirect())
    html = page(edge, user_agent=agent).body.decode()
    assert text in html
    assert has_button == ("openapi.alipay.com" in html)


def test_i16_texts_are_escaped_and_nothing_is_inline(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    for path in ("/pay/po_1", "/pay/po_1/return"):
        answer = page(edge, path)
        html = answer.body.decode()
        assert "&lt;script&gt;" in html
        assert ["src="] == [found[:4] for found in re.findall(r"<script ?([^>]*)>", html)]
        assert "style=" not in html
        assert "<style" not in html
        assert not re.search(r"\son\w+=", html)
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
    for state in ("WAITING", "PAID"):
        core.answer("GetCheckout", redirect(state=state, checkout_url=scheme, return_url=scheme))
        for path in ("/pay/po_1", "/pay/po_1/return"):
            html = page(edge, path).body.decode()
            links = re.findall(r'(?:href|url)="?=?([^";]+)"', html)
            assert {"?lang=en"} == {
                link for link in links if not link.startswith("/static/") and link != "/pay/po_1"
            }


@pytest.mark.parametrize("state", SETTLED)
@pytest.mark.parametrize("path", ["/pay/po_1", "/pay/po_1/return"])
def test_what_is_settled_cannot_be_paid_and_leads_back(
    edge: Edge, core: RecordingCore, state: str, path: str
) -> None:
    core.answer("GetCheckout", checkout(state))
    html = page(edge, path).body.decode()
    assert f'data-state="{state}"' in html
    assert "<svg" not in html
    assert 'data-watch="no"' in html
    assert 'href="https://shop.example/done?a=1&amp;b=2"' in html
    assert (state == "PAID") == ('http-equiv="refresh"' in html)


@pytest.mark.parametrize("state", ["EXPIRED", "CLOSED"])
def test_an_ended_order_that_may_still_turn_out_paid_is_watched(
    edge: Edge, core: RecordingCore, state: str
) -> None:
    core.answer("GetCheckout", checkout(state, may_change=True))
    html = page(edge).body.decode()
    assert 'data-watch="yes"' in html
    assert "结果会显示在这里" in html
    core.answer("GetCheckout", checkout(state))
    assert "请返回商户重新下单" in page(edge).body.decode()


def test_result_page_believes_the_core_and_not_the_query(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    html = page(
        edge, "/pay/po_1/return?trade_status=TRADE_SUCCESS&return_url=https://evil.example"
    ).body.decode()
    assert "正在确认支付结果" in html
    assert "支付成功" not in html
    assert "evil.example" not in html
    assert "shop.example" not in html
    assert 'href="/pay/po_1"' in html
    assert "<svg" not in html


@pytest.mark.parametrize("path", ["/pay/po_1", "/pay/po_1/return"])
def test_paid_goes_on_to_the_merchant_after_the_merchant_s_delay(
    edge: Edge, core: RecordingCore, path: str
) -> None:
    core.answer("GetCheckout", checkout("PAID", paid_at=Timestamp(seconds=1_780_286_400)))
    html = page(edge, path).body.decode()
    assert (
        '<meta http-equiv="refresh" content="7;url=https://shop.example/done?a=1&amp;b=2">' in html
    )
    assert "<b>7</b> 秒后自动返回商户" in html
    assert "2026-06-01 12:00:00 UTC+8" in html


def test_refunds_show_what_went_back(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout("PARTLY_REFUNDED", refunded_amount="500.5"))
    html = page(edge).body.decode()
    assert "已部分退款" in html
    assert "<dd>¥500.5</dd>" in html


def test_payers_see_the_merchant_s_number_and_not_ours(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    text = re.sub(r"<[^>]*>", "", page(edge).body.decode())
    assert "ext-7" in text
    assert "po_1" not in text


def test_logo_comes_with_its_checksum_in_the_address(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout(merchant_logo_etag="abc"))
    assert 'src="/pay/po_1/logo?v=abc"' in page(edge).body.decode()
    core.answer(
        "GetCheckoutLogo",
        payments.GetCheckoutLogoResponse(content_type="image/png", content=b"\x89PNG", etag="abc"),
    )
    logo = edge.request("GET", "/pay/po_1/logo?v=abc")
    assert (200, "image/png", b"\x89PNG") == (
        logo.status, logo.headers["content-type"], logo.body,
    )  # fmt: skip
    assert "default-src 'none'" in logo.headers["content-security-policy"]
    core.answer("GetCheckoutLogo", CoreError("NOT_FOUND"))
    assert 404 == edge.request("GET", "/pay/po_1/logo").status


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


def test_the_chosen_language_survives_the_way_to_the_wallet_and_back(
    edge: Edge, core: RecordingCore
) -> None:
    core.answer("GetCheckout", checkout())
    kept = page(edge, "/pay/po_1?lang=en", accept_language="zh").headers["set-cookie"]
    assert "novapay_language=en; Path=/; HttpOnly; SameSite=Lax" in kept
    cookie = kept.partition(";")[0]
    back = page(edge, "/pay/po_1/return?out_trade_no=1", accept_language="zh", cookie=cookie)
    assert "Confirming your payment" in back.body.decode()
    assert "等待付款" in page(edge, "/pay/po_1?lang=zh-CN", cookie=cookie).body.decode()
    assert "set-cookie" not in page(edge, "/pay/po_1?lang=xx").headers


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


LARGEST_LOGO_BYTES = 24 * 1024


def test_first_view_is_small(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout(checkout_url=f"weixin://wxpay/bizpayurl?pr={'x' * 40}"))
    for agent in ("Firefox", PHONE):
        html = page(edge, user_agent=agent).body.decode()
        assets = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', html))
        assert 3 == len(assets)
        sizes = [len(edge.request("GET", path).body) for path in assets]
        assert sum(sizes) + len(html.encode()) + LARGEST_LOGO_BYTES < 50_000


def test_static_files_may_be_kept_for_ever(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetCheckout", checkout())
    html = page(edge).body.decode()
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8",
             "svg": "image/svg+xml"}  # fmt: skip
    for path, kind in re.findall(r'"(/static/\w+\.(\w+)\?v=[0-9a-f]{12})"', html):
        answer = edge.request("GET", path)
        assert (200, kinds[kind]) == (answer.status, answer.headers["content-type"])
        assert "immutable" in answer.headers["cache-control"]
        assert b"url(" not in answer.body
    for path in ("/static/nothing.css", "/static/..%2Fapp.py", "/static/app.py"):
        assert 404 == edge.request("GET", path).status
