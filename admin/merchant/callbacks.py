"""Where the merchant is told, with which secret, and whether it works; and who may call the API."""

from typing import Any

from admin.console import Family
from admin.layout.formats import optional
from admin.layout.view import render
from admin.merchant.own import changed, own_merchant
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants

OVERLAPS = (0, 1, 24, 72, 168)
_SWITCHES = {
    "callback_enabled": "callbackEnabled",
    "refund_callback_enabled": "refundCallbackEnabled",
}


class Callbacks(Page):
    """Address, switches, secret, allowlist."""

    path = "/merchant/callbacks"
    rpc = "MerchantService.GetMerchant"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The forms."""
        return await self._show(visit)

    async def do_save(self, visit: Visit, **_params: str) -> Reply:
        """Address and switches."""
        await changed(
            visit,
            callback_base=visit.form.trimmed("callbackBase"),
            **{name: visit.form.get(sent) == "true" for name, sent in _SWITCHES.items()},
        )
        return visit.redirect(self.path, "callbacks.saved")

    async def do_allow(self, visit: Visit, **_params: str) -> Reply:
        """The allowlist."""
        await changed(visit, api_ip_whitelist=visit.form.trimmed("apiIpWhitelist"))
        return visit.redirect(self.path, "callbacks.saved")

    async def do_test(self, visit: Visit, **_params: str) -> Reply:
        """A test event, shown as it went."""
        sent = await visit.call(
            "MerchantService.SendTestCallback", merchants.SendTestCallbackRequest()
        )
        return await self._show(visit, sent=sent)

    async def do_rotate(self, visit: Visit, **_params: str) -> Reply:
        """A new secret, shown once."""
        hours = visit.form.get("overlapHours", "")
        made = await visit.call(
            "MerchantService.RotateNotifySecret",
            merchants.RotateNotifySecretRequest(
                overlap_hours=int(hours) if hours in {str(one) for one in OVERLAPS} else -1
            ),
        )
        return await self._show(visit, secret=made.secret)

    async def _show(self, visit: Visit, *, sent: Any = None, secret: str = "") -> Reply:
        return render(
            visit,
            "merchant/callbacks.html",
            merchant=await own_merchant(visit),
            sent=sent,
            http_status=None if sent is None else optional(sent, "http_status"),
            secret=secret,
            overlaps=[(str(hours), visit.t(f"callbacks.overlap_{hours}")) for hours in OVERLAPS],
        )


FAMILY = Family("callbacks", "integration", (Callbacks,))
