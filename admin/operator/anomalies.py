"""The inbox of anomalies: what a person should look at, and putting it away with a note."""

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.query import ask_for_list, put_switches, put_texts
from admin.visit import Reply, Visit
from novapay.payments.v1 import payment_service_pb2 as payments

KINDS = ("LATE_PAYMENT", "DUPLICATE_PAYMENT", "AMOUNT_MISMATCH", "REFUND_STUCK")
RESOLVE = "PaymentService.ResolveAnomaly"


def wanted_of(visit: Visit) -> payments.ListAnomaliesRequest:
    """What the address asks for."""
    wanted = payments.ListAnomaliesRequest()
    put_texts(visit, wanted, "merchant_code", "kind", "page_token")
    put_switches(visit, wanted, "resolved")
    return wanted


def _scope_of(visit: Visit) -> payments.GetOverviewRequest:
    scope = payments.GetOverviewRequest()
    put_texts(visit, scope, "merchant_code")
    return scope


class Anomalies(Page):
    """The list."""

    path = "/admin/anomalies"
    rpc = "PaymentService.ListAnomalies"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of it, with what is stuck without anybody having said so."""
        found = await ask_for_list(visit, self.rpc, wanted_of)
        overview = await ask_for_list(visit, "PaymentService.GetOverview", _scope_of)
        return render(
            visit,
            "operator/anomalies.html",
            found=found,
            kinds=KINDS,
            stuck=overview.stuck,
            is_resolved=visit.query.get("resolved") == "true",
        )

    async def do_resolve(self, visit: Visit, **_params: str) -> Reply:
        """Put one away."""
        request = payments.ResolveAnomalyRequest(
            id=visit.form.get("id", ""), note=visit.form.trimmed("note")
        )
        await visit.call(RESOLVE, request)
        return visit.redirect(visit.here(), "anomalies.resolved_now")


FAMILY = Family("anomalies", "payments", (Anomalies,))
