"""Orders: the list, the file of it, and one order with its story and what can be done about it."""

import secrets
from dataclasses import dataclass

from admin import csv_file
from admin.console import Family
from admin.layout import story
from admin.layout.formats import enum
from admin.layout.view import render
from admin.operator.merchant_tabs import merchant_of, merchant_path
from admin.page import Page
from admin.query import (
    ask_for_list,
    put_amount,
    put_choice,
    put_switches,
    put_texts,
    put_times,
)
from admin.visit import Reply, Visit
from core_service.errors import CoreError
from core_service.errors import Family as ErrorFamily
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.payments.v1 import payment_service_pb2 as payments
from novapay.refunds.v1 import refund_service_pb2 as refunds

STATUSES = ("PENDING", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELLED")
OPEN = ("PENDING", "PROCESSING")
SYNC = "PaymentService.QueryPaymentOrder"
CLOSE = "PaymentService.ClosePaymentOrder"
REFUND = "RefundService.CreateRefund"
RETRY = "PaymentService.RetryCallback"


def wanted_of(visit: Visit) -> payments.ListPaymentOrdersRequest:
    """What the address asks for. Raises INVALID_REQUEST."""
    wanted = payments.ListPaymentOrdersRequest()
    put_texts(visit, wanted, "merchant_code", "search", "channel_code", "page_token")
    put_amount(visit, wanted, "amount")
    put_choice(visit, wanted, "status")
    put_times(visit, wanted, "created_from", "created_to")
    put_switches(visit, wanted, "late", "stuck")
    return wanted


class Orders(Page):
    """The list; a search that finds one thing goes straight to it."""

    path = "/admin/orders"
    rpc = "PaymentService.ListPaymentOrders"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of it."""
        found = await ask_for_list(visit, self.rpc, wanted_of)
        channels = await visit.call("PaymentService.ListChannels", payments.ListChannelsRequest())
        number = visit.query.get("search", "").strip()
        if number and not visit.query.get("page_token") and visit.failure is None:
            if len(found.orders) == 1 and not found.next_page_token:
                return visit.redirect(f"{self.path}/{found.orders[0].id}")
            place = "" if found.orders else await self.place_of(visit, number)
            if place:
                return visit.redirect(place)
        return render(
            visit,
            "operator/orders.html",
            found=found,
            statuses=STATUSES,
            channels=channels.channels,
            most_rows=csv_file.MOST_ROWS,
        )

    async def place_of(self, visit: Visit, number: str) -> str:
        """The page of what is no order: an account, an API key or a merchant; empty when there is none."""
        if not visit.may("MerchantService.ListMerchants"):
            return ""
        own_id = number.lower()
        if own_id.startswith(("acc_", "npk_")):
            request = merchants.ListMerchantsRequest(search=own_id, page_size=1)
            owners = (await visit.call("MerchantService.ListMerchants", request)).merchants
            more = ("accounts", own_id) if own_id.startswith("acc_") else ("credentials",)
            return merchant_path(owners[0].code, *more) if owners else ""
        try:
            return merchant_path((await merchant_of(visit, number)).code)
        except CoreError as error:
            if error.family not in (ErrorFamily.INVALID_ARGUMENT, ErrorFamily.NOT_FOUND):
                raise
            return ""


class OrdersFile(csv_file.ListFile):
    """The same orders as CSV."""

    path = "/admin/orders.csv"
    rpc = Orders.rpc
    rows = "orders"
    columns = (
        "orders.id", "orders.merchant", "orders.external_id", "orders.channel", "orders.amount", "orders.refunded",
        "orders.status", "orders.gateway_id", "orders.subject", "orders.late", "orders.created_at", "orders.paid_at",
    )  # fmt: skip

    def wanted(self, visit: Visit) -> payments.ListPaymentOrdersRequest:
        """As the list."""
        return wanted_of(visit)

    def cells(self, row: payments.PaymentOrderSummary) -> list[str]:
        """An order."""
        return [
            row.id,
            row.merchant_code,
            row.external_order_id,
            row.channel_code,
            row.amount,
            row.refunded_amount,
            enum(row, "status"),
            row.gateway_order_id,
            row.subject,
            "yes" if row.late else "",
            csv_file.time_cell(row, "created_at"),
            csv_file.time_cell(row, "paid_at"),
        ]


@dataclass(frozen=True)
class Action:
    """Something that can be done to an order; `off` says why not now (a text key), empty: it can."""

    rpc: str
    off: str


class Order(Page):
    """One order."""

    path = "/admin/orders/{order_id}"
    rpc = "PaymentService.GetPaymentOrder"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """What somebody should look at, diagnosis, facts, timeline."""
        shown = await self._shown(visit, params["order_id"])
        return render(
            visit,
            "operator/order.html",
            shown=shown,
            order=shown.order,
            order_status=enum(shown.order, "status"),
            anomalies=[one for one in shown.anomalies if not one.HasField("resolved_at")],
            sentences=story.findings(visit, shown.diagnosis),
            lines=story.timeline(visit, shown),
            actions=_actions(shown.order),
            refund_number=f"op-{secrets.token_hex(8)}",
        )

    async def do_sync(self, visit: Visit, **params: str) -> Reply:
        """Ask the provider now."""
        order = (await self._shown(visit, params["order_id"])).order
        request = payments.QueryPaymentOrderRequest(
            merchant_code=order.merchant_code, order_reference=order.id, sync=True
        )
        answer = await visit.call(SYNC, request)
        status = visit.t(f"status.{enum(answer.order, 'status')}")
        return visit.redirect(visit.here(), "orders.synced", status=status)

    async def do_close(self, visit: Visit, **params: str) -> Reply:
        """Close it at the provider and here."""
        order = (await self._shown(visit, params["order_id"])).order
        request = payments.ClosePaymentOrderRequest(
            merchant_code=order.merchant_code, order_reference=order.id
        )
        await visit.call(CLOSE, request)
        return visit.redirect(visit.here(), "orders.closed")

    async def do_refund(self, visit: Visit, **params: str) -> Reply:
        """Send money back. The number of the form makes a second press the same refund."""
        order = (await self._shown(visit, params["order_id"])).order
        request = refunds.CreateRefundRequest(
            merchant_code=order.merchant_code,
            order_reference=order.id,
            external_refund_id=visit.form.trimmed("externalRefundId"),
            amount=visit.form.trimmed("amount"),
            reason=visit.form.trimmed("reason"),
        )
        answer = await visit.call(REFUND, request)
        status = visit.t(f"status.{enum(answer.refund, 'status')}")
        return visit.redirect(visit.here(), "orders.refunded_now", status=status)

    async def do_retry(self, visit: Visit, **params: str) -> Reply:
        """Send the merchant's callback now."""
        request = payments.RetryCallbackRequest(id=params["order_id"])
        return visit.redirect(visit.here(), *retried(await visit.call(RETRY, request)))

    async def _shown(self, visit: Visit, order_id: str) -> payments.GetPaymentOrderResponse:
        answer: payments.GetPaymentOrderResponse = await visit.call(
            self.rpc, payments.GetPaymentOrderRequest(id=order_id)
        )
        return answer


def retried(
    answer: payments.RetryCallbackResponse | payments.RetryDeliveryResponse,
) -> tuple[str]:
    """How sending a callback went, as a text key."""
    if answer.delivered:
        return ("orders.retry_delivered",)
    return (f"orders.skipped_{answer.reason}" if answer.skipped else "orders.retry_failed",)


def _actions(order: payments.PaymentOrder) -> dict[str, Action]:
    status = enum(order, "status")
    told = enum(order, "callback_status")
    is_paid = status == "SUCCEEDED"
    return {
        "sync": Action(SYNC, "orders.off_paid" if is_paid else ""),
        "close": Action(CLOSE, "" if status in OPEN else "orders.off_not_open"),
        "refund": Action(REFUND, _refund_off(order, is_paid=is_paid)),
        "retry": Action(RETRY, _retry_off(status, told)),
    }


def _refund_off(order: payments.PaymentOrder, *, is_paid: bool) -> str:
    if not is_paid:
        return "orders.off_not_paid"
    return "orders.off_all_refunded" if order.refund_summary.refundable_amount == "0.00" else ""


def _retry_off(status: str, told: str) -> str:
    if status in OPEN:
        return "orders.off_open"
    return "orders.off_no_callback" if told == "NOT_REQUIRED" else ""


FAMILY = Family("orders", "payments", (Orders, OrdersFile, Order))
