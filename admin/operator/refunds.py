"""Refunds: the list. What can be done about one is done on its order's page."""

from admin import csv_file
from admin.console import Family
from admin.layout.formats import enum
from admin.layout.view import render
from admin.page import Page
from admin.query import ask_for_list, put_choice, put_switches, put_texts, put_times
from admin.visit import Reply, Visit
from novapay.refunds.v1 import refund_service_pb2 as refunds

STATUSES = ("PENDING", "PROCESSING", "SUCCEEDED", "FAILED")


def wanted_of(visit: Visit) -> refunds.ListRefundsRequest:
    """What the address asks for. Raises INVALID_REQUEST."""
    wanted = refunds.ListRefundsRequest()
    put_texts(visit, wanted, "merchant_code", "page_token")
    put_choice(visit, wanted, "status")
    put_times(visit, wanted, "created_from", "created_to")
    put_switches(visit, wanted, "stuck")
    return wanted


class Refunds(Page):
    """The list."""

    path = "/admin/refunds"
    rpc = "RefundService.ListRefunds"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of it."""
        found = await ask_for_list(visit, self.rpc, wanted_of)
        return render(
            visit,
            "operator/refunds.html",
            found=found,
            statuses=STATUSES,
            most_rows=csv_file.MOST_ROWS,
        )

    async def do_query(self, visit: Visit, **_params: str) -> Reply:
        """Ask the provider about one refund now."""
        request = refunds.QueryRefundRequest(
            merchant_code=visit.form.get("merchantCode", ""),
            refund_reference=visit.form.get("refundReference", ""),
            sync=True,
        )
        answer = await visit.call("RefundService.QueryRefund", request)
        name = refunds.RefundStatus.Name(answer.refund.status).removeprefix("REFUND_STATUS_")
        return visit.redirect(
            visit.here(), "refunds.queried", status=visit.t(f"status.{name}"), id=answer.refund.id
        )


class RefundsFile(csv_file.ListFile):
    """The same refunds as CSV."""

    path = "/admin/refunds.csv"
    rpc = Refunds.rpc
    rows = "refunds"
    columns = (
        "refunds.id", "orders.merchant", "refunds.external_id", "orders.id", "orders.external_id", "orders.channel",
        "refunds.amount", "refunds.status", "refunds.reason", "refunds.failure", "refunds.provider_id",
        "orders.created_at", "refunds.refunded_at",
    )  # fmt: skip

    def wanted(self, visit: Visit) -> refunds.ListRefundsRequest:
        """As the list."""
        return wanted_of(visit)

    def cells(self, row: refunds.Refund) -> list[str]:
        """A refund."""
        return [
            row.id,
            row.merchant_code,
            row.external_refund_id,
            row.payment_order_id,
            row.external_order_id,
            row.channel_code,
            row.amount,
            enum(row, "status"),
            row.reason,
            row.failure_code,
            row.provider_refund_id,
            csv_file.time_cell(row, "created_at"),
            csv_file.time_cell(row, "refunded_at"),
        ]


FAMILY = Family("refunds", "payments", (Refunds, RefundsFile))
