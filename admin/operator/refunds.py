"""Refunds: the list. What can be done about one is done on its order's page."""

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.query import put_choice, put_switches, put_texts, put_times
from admin.visit import Reply, Visit
from novapay.refunds.v1 import refund_service_pb2 as refunds

STATUSES = ("PENDING", "PROCESSING", "SUCCEEDED", "FAILED")


class Refunds(Page):
    """The list."""

    path = "/admin/refunds"
    rpc = "RefundService.ListRefunds"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of it."""
        wanted = refunds.ListRefundsRequest()
        put_texts(visit, wanted, "merchant_code", "page_token")
        put_choice(visit, wanted, "status")
        put_times(visit, wanted, "created_from", "created_to")
        put_switches(visit, wanted, "stuck")
        found = await visit.call(self.rpc, wanted)
        return render(visit, "operator/refunds.html", found=found, statuses=STATUSES)

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


FAMILY = Family("refunds", "payments", (Refunds,))
