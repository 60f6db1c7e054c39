"""The first page: what is still to be done, and how the merchant stands."""

from typing import Any

from admin.console import Family
from admin.layout.formats import enum
from admin.layout.view import render
from admin.merchant.own import own_merchant
from admin.operator.overview import overview_of
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants

_PLACES = {
    "account_checked": "/merchant/accounts",
    "key_created": "/merchant/credentials",
    "callback_confirmed": "/merchant/callbacks",
    "sandbox_paid": "/docs",
    "live_paid": "/docs",
}


class Start(Page):
    """Steps until they are all done, and the figures of this merchant."""

    path = "/merchant/start"
    rpc = "MerchantService.GetOnboarding"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The list and the state of the review."""
        merchant = await own_merchant(visit)
        progress = await visit.call(self.rpc, merchants.GetOnboardingRequest())
        steps = _steps(progress)
        return render(
            visit,
            "merchant/start.html",
            merchant=merchant,
            review=enum(merchant, "status"),
            steps=steps if not all(done for _, done, _ in steps) else [],
            only_sandbox=progress.has_sandbox and not progress.has_live_account,
            done=sum(done for _, done, _ in steps),
            **await overview_of(visit),
        )


def _steps(progress: Any) -> list[tuple[str, bool, str]]:
    """(name, whether it is done, where to do it), in order."""
    is_asked = {
        "sandbox_paid": progress.has_sandbox,
        # A sandbox takes no money: its merchants are done without, until they add an account that does.
        "live_paid": progress.has_live_account or not progress.has_sandbox,
    }
    return [
        (name, bool(getattr(progress, name)), place)
        for name, place in _PLACES.items()
        if is_asked.get(name, True)
    ]


FAMILY = Family("start", "payments", (Start,))
