"""A small, lively world for pages to show: a merchant with people, orders in every state, refunds, callbacks."""

from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import grpc

from core_service.client import service_channel
from novapay.access.v1 import access_service_pb2 as access
from novapay.access.v1 import access_service_pb2_grpc
from novapay.merchants.v1 import merchant_service_pb2, merchant_service_pb2_grpc
from tests.journeys.database import connected
from tests.payer import Payer, sandbox_accounts
from tests.pictures import png
from tests.stack import Merchant, Receiver, Stack, wait_until
from tests.stack_fixtures import add_channels

OWNER_EMAIL = "owner@tea.example"
OWNER_PASSWORD = "long enough for an owner"  # of a test
TEA_GREEN = b"\x2e\x7d\x4f"
STAFF_COOKIE = "novapay_merchant_session"

SALES = (
    ("wxpay.native", "88.10", "明前龙井 · 250 克"),
    ("alipay.page", "1280.00", "年度会员 · 企业版"),
    ("wxpay.native", "36.50", "茉莉花茶 · 125 克"),
    ("alipay.page", "459.00", "紫砂壶 · 西施"),
    ("wxpay.native", "12800.00", "云南古树普洱 · 收藏级"),
    ("alipay.page", "99.00", "茶具清洁套装"),
)


@dataclass
class Demo:
    """What there is to look at."""

    stack: Stack
    merchant: Merchant
    operator_cookies: dict[str, str]
    staff_cookies: dict[str, str]
    accounts: dict[str, Any]
    orders: dict[str, Any] = field(default_factory=dict)
    """State (`paid`, `waiting_wxpay`, …) → order as the merchant sees it."""
    delivery_id: str = ""


def build_demo(stack: Stack, receiver: Receiver) -> Demo:
    """Everything over the doors that people and merchants use; only time is turned by hand."""
    merchant = _registered_merchant(stack)
    accounts = add_channels(stack, merchant, sandbox_accounts(stack))
    name, _, value = stack.sign_in().cookie.partition("=")
    demo = Demo(stack, merchant, {name: value}, {STAFF_COOKIE: _staff_session(stack)}, accounts)
    _trade(demo, Payer(stack, accounts), receiver)
    return demo


def _registered_merchant(stack: Stack) -> Merchant:
    stub = _access(stack)
    stub.RegisterMerchant(
        access.RegisterMerchantRequest(
            name="山间茶舍",
            legal_name="山间茶舍贸易有限公司",
            contact_name="林青",
            contact_phone="+86 571 0000 0000",
            contact_email=OWNER_EMAIL,
            company_registration_id="91330100MA00000000",
            onboarding_note="线上茶叶零售，月流水约二十万元。",
            email=OWNER_EMAIL,
            password=OWNER_PASSWORD,
            owner_name="林青",
        ),
        timeout=20,
    )
    admin = stack.sign_in()
    code = next(
        item["code"]
        for item in admin.get("/api/admin/merchants").json["merchants"]
        if item["name"] == "山间茶舍"
    )
    path = f"/api/admin/merchants/{code}"
    assert admin.send("PUT", path, {"status": "APPROVED"}).status == 200
    merchants = merchant_service_pb2_grpc.MerchantServiceStub(_channel(stack))
    merchants.SetMerchantLogo(
        merchant_service_pb2.SetMerchantLogoRequest(id=code, content=png(64, 64, TEA_GREEN)),
        timeout=20,
    )
    credential = stack.cli("credentials", "create", "--merchant", code)
    return Merchant(stack.http, code, credential["keyId"], credential["secret"])


def _staff_session(stack: Stack) -> str:
    request = access.SignInStaffRequest(email=OWNER_EMAIL, password=OWNER_PASSWORD)
    token: str = _access(stack).SignInStaff(request, timeout=20).session_token
    return token


def _access(stack: Stack) -> access_service_pb2_grpc.AccessServiceStub:
    return access_service_pb2_grpc.AccessServiceStub(_channel(stack))


def _channel(stack: Stack) -> grpc.Channel:
    return service_channel(stack.grpc_address, stack.service_token)


def _trade(demo: Demo, payer: Payer, receiver: Receiver) -> None:
    shop, orders = demo.merchant, demo.orders
    receiver.answers[:] = [(500, {})]
    numbers = count(1)

    def order(channel: str, amount: str, subject: str) -> Any:
        answer = shop.create_order(
            channel,
            amount,
            subject=subject,
            externalOrderId=f"TEA-{next(numbers):05}",
            callbackUrl=receiver.url,
            returnUrl=f"{demo.stack.base}/docs",
        )
        assert answer.status == 200, answer.raw
        return answer.json["order"]

    paid = [order(*sale) for sale in SALES]
    for item in paid:
        payer.pay(item)
    orders["waiting_wxpay"] = order("wxpay.native", "88.10", "明前龙井 · 250 克")
    orders["waiting_alipay"] = order("alipay.page", "1280.00", "年度会员 · 企业版")
    orders["closed"] = order("wxpay.native", "36.50", "茉莉花茶 · 125 克")
    orders["expired"] = order("alipay.page", "99.00", "茶具清洁套装")
    orders["late"] = order("alipay.page", "20.00", "试饮装")
    for name in ("closed", "late"):
        shop.post(f"/api/payment-orders/{orders[name]['id']}/close", {})
    payer.pay(orders["late"])
    _let_expire(demo.stack, orders["expired"]["id"])
    for item in (*paid, orders["late"]):
        wait_until(partial(_is_paid, shop, item), what="paid")
    orders["paid"], orders["partly_refunded"], orders["refunded"] = paid[0], paid[1], paid[3]
    assert shop.refund(paid[1]["id"], "640.00", reason="部分退货").status == 200
    assert shop.refund(paid[3]["id"], "459.00", reason="破损").status == 200
    wait_until(lambda: shop.order(paid[0]["id"])["callbackStatus"] == "DELIVERED", what="callbacks")
    admin = demo.stack.sign_in()
    demo.delivery_id = admin.get(f"/api/admin/deliveries?merchantCode={shop.code}").json[
        "deliveries"
    ][-1]["id"]


def _is_paid(shop: Merchant, order: Any) -> bool:
    return bool(shop.order(order["id"])["status"] == "SUCCEEDED")


def _let_expire(stack: Stack, order_id: str) -> None:
    with connected(stack) as connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE payment_orders SET expire_at = now() - interval '1 minute', ask_at = now() WHERE id = %s",
            (order_id,),
        )
        connection.commit()
