"""Deliveries of merchant callbacks: the list, and one with the exact request and answer of each attempt."""

from admin import csv_file
from admin.console import Family
from admin.layout.formats import enum
from admin.layout.view import render
from admin.operator.orders import retried
from admin.page import Page
from admin.query import ask_for_list, put_choice, put_switches, put_texts
from admin.visit import Reply, Visit
from novapay.payments.v1 import payment_service_pb2 as payments

STATUSES = ("PENDING", "PROCESSING", "DELIVERED", "FAILED")
EVENTS = ("payment.order.updated", "payment.refund.updated")
RETRY = "PaymentService.RetryDelivery"


def wanted_of(visit: Visit) -> payments.ListDeliveriesRequest:
    """What the address asks for. Raises INVALID_REQUEST."""
    wanted = payments.ListDeliveriesRequest()
    put_texts(visit, wanted, "merchant_code", "event", "page_token")
    put_choice(visit, wanted, "status")
    put_switches(visit, wanted, "due", "undelivered")
    return wanted


class Deliveries(Page):
    """The list."""

    path = "/admin/deliveries"
    rpc = "PaymentService.ListDeliveries"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of it."""
        found = await ask_for_list(visit, self.rpc, wanted_of)
        return render(
            visit,
            "operator/deliveries.html",
            found=found,
            statuses=STATUSES,
            events=EVENTS,
            most_rows=csv_file.MOST_ROWS,
        )


class DeliveriesFile(csv_file.ListFile):
    """The same deliveries as CSV."""

    path = "/admin/deliveries.csv"
    rpc = Deliveries.rpc
    rows = "deliveries"
    columns = (
        "deliveries.id", "orders.merchant", "orders.id", "refunds.id", "deliveries.event", "deliveries.tells",
        "deliveries.status", "deliveries.attempts", "deliveries.due_at", "orders.created_at", "deliveries.delivered_at",
    )  # fmt: skip

    def wanted(self, visit: Visit) -> payments.ListDeliveriesRequest:
        """As the list."""
        return wanted_of(visit)

    def cells(self, row: payments.Delivery) -> list[str]:
        """A delivery."""
        return [
            row.id,
            row.merchant_code,
            row.order_id,
            row.refund_id,
            row.event,
            row.resulting_status,
            enum(row, "status"),
            str(row.attempt_count),
            csv_file.time_cell(row, "due_at"),
            csv_file.time_cell(row, "created_at"),
            csv_file.time_cell(row, "delivered_at"),
        ]


class Delivery(Page):
    """One delivery."""

    path = "/admin/deliveries/{delivery_id}"
    rpc = "PaymentService.GetDelivery"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """With its attempts, the newest first."""
        request = payments.GetDeliveryRequest(id=params["delivery_id"])
        shown = await visit.call(self.rpc, request)
        return render(
            visit,
            "operator/delivery.html",
            shown=shown,
            delivery=shown.delivery,
            attempts=list(reversed(shown.attempts)),
        )

    async def do_retry(self, visit: Visit, **params: str) -> Reply:
        """Send it now."""
        request = payments.RetryDeliveryRequest(id=params["delivery_id"])
        return visit.redirect(visit.here(), *retried(await visit.call(RETRY, request)))


FAMILY = Family("deliveries", "payments", (Deliveries, DeliveriesFile, Delivery))
