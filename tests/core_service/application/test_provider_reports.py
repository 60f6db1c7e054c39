"""What providers report: compared with the order whatever it says, applied once, and kept in the order of time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core_service.application import (
    callbacks,
    merchant_cache,
    payment_results,
    provider_notifications,
    refunds,
    system_config,
)
from core_service.application.provider_notifications import Inbound
from core_service.calls import Call, Principal
from core_service.providers.base import (
    HttpAnswer,
    Notification,
    NotificationRequest,
    PaymentState,
    RefundReport,
    RefundState,
)
from core_service.rpc.payment_messages import order_message
from core_service.settings import SYSTEM_CONFIG_DEFAULTS
from core_service.storage import payment_orders
from core_service.storage import refunds as refund_rows
from core_service.storage.database import Row, fetch_all, fetch_one
from core_service.storage.payment_orders import Event
from novapay.payments.v1 import payment_service_pb2
from tests.core_service.application.scripted_provider import ScriptedProvider, scripted_provider
from tests.factories import (
    TEST_BOX,
    TestMerchant,
    make_account,
    make_merchant,
    make_order,
    make_refund,
)

TOKEN = "token-of-the-account"  # a test token
EVENT = Event("provider", "notification", None)
AMOUNT = 8810


@pytest.fixture
def provider(core_database: str) -> Iterator[ScriptedProvider]:
    with scripted_provider() as playing:
        merchant_cache.configure(TEST_BOX, "https://pay.example")
        system_config.configure({key: str(value) for key, value in SYSTEM_CONFIG_DEFAULTS.items()})
        yield playing


@pytest.fixture
def shop(provider: ScriptedProvider, connection: None) -> TestMerchant:
    return make_merchant(callback_base="https://shop.example/")


@pytest.fixture
def account(shop: TestMerchant) -> str:
    return make_account(shop, channel_code="wxpay.native", callback_token=TOKEN)


def order_of(shop: TestMerchant, account: str, **columns: Any) -> str:
    return make_order(shop, account_id=account, channel_code="wxpay.native", **columns)


def row(order_id: str) -> Row:
    found = fetch_one("SELECT * FROM payment_orders WHERE id = %s", (order_id,))
    assert found is not None
    return found


def notify(account: str, token: str = TOKEN) -> HttpAnswer:
    call = Call("request-1", Principal.PUBLIC, time.monotonic() + 10)
    request = NotificationRequest("POST", {}, b"", b"{}")
    inbound = Inbound("wxpay", account, token, request)
    return provider_notifications.handle(call, inbound, now=datetime.now(UTC))


def outcomes(order_id: str) -> list[str]:
    rows = fetch_all("SELECT outcome FROM provider_notifications WHERE order_id = %s", (order_id,))
    return [str(one["outcome"]) for one in rows]


def apply(shop: TestMerchant, provider: ScriptedProvider, order_id: str, **facts: Any) -> Any:
    now = facts.pop("now", datetime.now(UTC))
    report = provider.report(order_id, AMOUNT, **facts)
    snapshot = merchant_cache.by_id(shop.id)
    return payment_results.apply_payment_report(snapshot, order_id, report, EVENT, now=now)


@pytest.mark.parametrize("state", [PaymentState.CLOSED, PaymentState.FAILED, PaymentState.UNPAID])
@pytest.mark.parametrize(
    "wrong", [{"paid_amount_fen": 1}, {"paid_amount_fen": None}, {"currency": "USD"}]
)
def test_p17_wrong_amount_whatever_is_reported(
    shop: TestMerchant,
    account: str,
    provider: ScriptedProvider,
    state: PaymentState,
    wrong: dict[str, Any],
) -> None:
    order = order_of(shop, account)
    report = provider.report(order, AMOUNT, state=state, **wrong)
    provider.notification = Notification("n1", payment=report)
    assert notify(account) == HttpAnswer(400, "text/plain", b"INVALID_NOTIFICATION")
    assert row(order)["status"] == "PENDING"
    assert outcomes(order) == ["amount_mismatch"]


@pytest.mark.parametrize(
    "wrong", [{"amount_fen": 101}, {"order_amount_fen": 1}, {"order_amount_fen": None},
              {"order_id": None}, {"order_id": "po_another"}],
)  # fmt: skip
def test_p17_refund_that_differs(
    shop: TestMerchant, account: str, provider: ScriptedProvider, wrong: dict[str, Any]
) -> None:
    order = order_of(shop, account, status="SUCCEEDED")
    refund = make_refund(shop, order, status="PROCESSING", amount_fen=100)
    facts: dict[str, Any] = {
        "order_id": order,
        "amount_fen": 100,
        "order_amount_fen": AMOUNT,
    } | wrong
    report = RefundReport(refund, state=RefundState.SUCCEEDED, provider_status="SUCCESS", **facts)
    provider.notification = Notification("n1", refund=report)
    assert notify(account).status == 400
    found = fetch_one("SELECT status FROM refunds WHERE id = %s", (refund,))
    assert found == {"status": "PROCESSING"}


def test_p15_one_and_the_same_answer(
    shop: TestMerchant, account: str, provider: ScriptedProvider
) -> None:
    other = make_account(shop, channel_code="wxpay.native", callback_token=TOKEN)
    disabled = make_account(shop, channel_code="wxpay.native", callback_token=TOKEN, enabled=False)
    wrong_channel = make_account(shop, channel_code="alipay.page", callback_token=TOKEN)
    order = order_of(shop, other)
    paid = provider.report(order, AMOUNT, state=PaymentState.PAID, gateway_order_id="gw")
    provider.notification = Notification("n1", payment=paid)
    answers = {
        notify(account),  # the other account's order
        notify(account, "wrong"),
        notify(account, "ключ"),
        notify(disabled),
        notify(wrong_channel),
        notify("acc_unknown"),
    }
    unknown = provider.report("po_unknown", AMOUNT, state=PaymentState.PAID)
    provider.notification = Notification("n1", payment=unknown)
    answers.add(notify(account))
    assert answers == {HttpAnswer(404, "text/plain", b"CHANNEL_ACCOUNT_NOT_FOUND")}
    assert row(order)["status"] == "PENDING"


def test_contradictory_message_about_a_closed_order_makes_us_ask(
    shop: TestMerchant, account: str, provider: ScriptedProvider
) -> None:
    order = order_of(shop, account, status="CANCELLED")
    report = provider.report(order, AMOUNT, has_refunds=True)
    provider.notification = Notification("n1", payment=report, needs_query=True)
    assert notify(account).status == 204
    assert row(order)["ask_at"] is not None


def test_hint_of_a_full_refund_hastens_the_question(
    shop: TestMerchant, account: str, provider: ScriptedProvider
) -> None:
    order = order_of(shop, account, status="SUCCEEDED")
    later = datetime.now(UTC) + timedelta(minutes=5)
    refund = make_refund(shop, order, status="PROCESSING", ask_at=later)
    report = provider.report(order, AMOUNT, has_refunds=True)
    provider.notification = Notification("n1", payment=report, needs_query=True)
    assert notify(account).status == 204
    found = fetch_one("SELECT ask_at FROM refunds WHERE id = %s", (refund,))
    assert found is not None
    assert found["ask_at"] < later
    assert row(order)["ask_at"] is None


def test_number_that_comes_later_is_no_second_payment(
    shop: TestMerchant, account: str, provider: ScriptedProvider
) -> None:
    order = order_of(shop, account)
    provider.state = PaymentState.PAID
    assert apply(shop, provider, order, gateway_order_id=None).is_news
    assert not apply(shop, provider, order, gateway_order_id="gw-1").is_news
    assert fetch_all("SELECT kind FROM journals WHERE order_id = %s", (order,)) == [
        {"kind": "CAPTURE"}
    ]
    assert fetch_all("SELECT kind FROM anomalies WHERE order_id = %s", (order,)) == []


def test_v26_answer_to_an_older_question_is_later_history(
    shop: TestMerchant, account: str, provider: ScriptedProvider
) -> None:
    order = order_of(shop, account)
    asked = datetime.now(UTC)
    apply(shop, provider, order, state=PaymentState.CLOSED, now=asked + timedelta(seconds=3))
    provider.state = PaymentState.PAID
    apply(shop, provider, order, now=asked)
    events = fetch_all(
        "SELECT after_status FROM payment_events WHERE order_id = %s ORDER BY at DESC, id DESC",
        (order,),
    )
    assert [event["after_status"] for event in events] == ["SUCCEEDED", "CANCELLED"]
    view = payment_orders.find_view(shop.id, order)
    assert view is not None
    deliveries = fetch_all(
        "SELECT resulting_status FROM deliveries WHERE order_id = %s ORDER BY created_at DESC, id DESC",
        (order,),
    )
    assert [one["resulting_status"] for one in deliveries] == ["SUCCEEDED", "CANCELLED"]
    assert view.order.late


def test_refund_paid_out_after_it_was_refused_is_shown_to_a_person(
    shop: TestMerchant, account: str, provider: ScriptedProvider
) -> None:
    order = order_of(shop, account, status="SUCCEEDED")
    refund_id = make_refund(shop, order, status="FAILED")
    refund = refund_rows.find_for_merchant(shop.id, refund_id)
    assert refund is not None
    report = RefundReport(refund_id, order, RefundState.SUCCEEDED, "SUCCESS")
    snapshot = merchant_cache.by_id(shop.id)
    for _ in range(2):
        done = refunds.apply_refund_report(snapshot, refund, report, EVENT, now=datetime.now(UTC))
    assert done.refund.status == "FAILED"
    found = fetch_all("SELECT kind, refund_id FROM anomalies WHERE order_id = %s", (order,))
    assert found == [{"kind": "REFUND_STUCK", "refund_id": refund_id}]


@pytest.mark.parametrize(
    ("status", "shown"), [("PENDING", "PENDING"), ("CANCELLED", "NOT_REQUIRED")]
)
def test_v25_callback_status_without_a_delivery(
    shop: TestMerchant, account: str, status: str, shown: str
) -> None:
    """Nothing was queued when the order ended: callbacks were off."""
    order = order_of(shop, account, status=status)
    view = payment_orders.find_view(shop.id, order)
    assert view is not None
    snapshot = merchant_cache.by_id(shop.id)
    assert callbacks.callback_wanted(view.order, snapshot)
    message = order_message(view, snapshot, "https://pay.example")
    name = payment_service_pb2.CallbackStatus.Name(message.callback_status)
    assert name == f"CALLBACK_STATUS_{shown}"
