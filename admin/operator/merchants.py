"""Merchants: finding them, reviewing them, and what they say about themselves."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from admin.console import Family
from admin.layout.formats import enum
from admin.layout.view import render
from admin.operator import accounts, bindings, credentials, people
from admin.operator.merchant_tabs import merchant_of, render_merchant
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import CoreError
from novapay.access.v1 import access_service_pb2 as access
from novapay.merchants.v1 import merchant_service_pb2 as merchants

PAGE_SIZE = 50
STATUSES = ("PENDING", "APPROVED", "REJECTED", "SUSPENDED")
REVIEW = {
    # action: (from, to, whether a reason is needed)
    "approve": (("PENDING", "REJECTED"), "APPROVED", False),
    "reject": (("PENDING",), "REJECTED", True),
    "suspend": (("APPROVED",), "SUSPENDED", True),
    "reactivate": (("SUSPENDED",), "APPROVED", True),
}
"""What a review can do. Payments of an approved merchant that are under way go on whatever becomes of it."""
_LINES = ("legal_name", "contact_name", "contact_phone", "contact_email", "company_registration_id")


class Merchants(Page):
    """All of them, newest first."""

    path = "/admin/merchants"
    rpc = "MerchantService.ListMerchants"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """Found by any of their names, or by status."""
        status = visit.query.get("status", "")
        request = merchants.ListMerchantsRequest(
            page_size=PAGE_SIZE,
            page_token=visit.query.get("page_token"),
            search=visit.query.get("q"),
            status=_status(status) if status in STATUSES else None,
        )
        answer = await visit.call(self.rpc, request)
        return render(
            visit,
            "operator/merchants.html",
            merchants=answer.merchants,
            next=answer.next_page_token,
            statuses=STATUSES,
        )

    async def do_create(self, visit: Visit, **_params: str) -> Reply:
        """A merchant of our own making, approved or waiting for review."""
        approved = visit.form.get("approved") == "true"
        answer = await visit.call(
            "MerchantService.CreateMerchant",
            merchants.CreateMerchantRequest(
                code=visit.form.trimmed("code"),
                name=visit.form.trimmed("name"),
                status=_status("APPROVED" if approved else "PENDING"),
            ),
        )
        return visit.redirect(f"{self.path}/{answer.merchant.code}/profile", "merchants.created")


class Overview(Page):
    """One merchant: its state, what is missing, and the review."""

    path = "/admin/merchants/{code}"
    rpc = "MerchantService.GetMerchant"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """With the review's actions that fit its status, and its staff."""
        merchant = await merchant_of(visit, params["code"])
        staff: Any = ()
        if visit.may("AccessService.ListStaff"):
            request = access.ListStaffRequest(merchant_code=merchant.code)
            staff = (await visit.call("AccessService.ListStaff", request)).staff
        status = enum(merchant, "status")
        return render_merchant(
            visit,
            merchant,
            "merchant_overview",
            staff=staff,
            actions=[
                (name, needs_reason)
                for name, (begin, _end, needs_reason) in REVIEW.items()
                if status in begin
            ],
        )

    async def do_review(self, visit: Visit, **params: str) -> Reply:
        """Move the merchant to another status, with a note that it can read."""
        merchant = await merchant_of(visit, params["code"])
        step = visit.form.get("step", "")
        if step not in REVIEW:
            raise CoreError("NOT_FOUND")
        begin, end, _needs_reason = REVIEW[step]
        if enum(merchant, "status") not in begin:
            # Somebody else was faster; the page shows what is so now.
            return visit.redirect(visit.path, "merchants.changed_meanwhile")
        request = merchants.UpdateMerchantRequest(
            id=merchant.id,
            status=_status(end),
            review_note=visit.form.trimmed("reviewNote"),
            update_mask=FieldMask(paths=["status", "review_note"]),
        )
        await visit.call("MerchantService.UpdateMerchant", request)
        return visit.redirect(visit.path, f"merchants.{step}_done")


class Profile(Page):
    """What is known of a merchant, where it is told of payments, who may call, and what payers see."""

    path = "/admin/merchants/{code}/profile"
    rpc = "MerchantService.GetMerchant"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """The forms."""
        return render_merchant(visit, await merchant_of(visit, params["code"]), "merchant_profile")

    async def do_profile(self, visit: Visit, **params: str) -> Reply:
        """Names and numbers."""
        names = ("name", *_LINES, "onboarding_note")
        values = {name: visit.form.trimmed(_json_name(name)) for name in names}
        return await self._change(visit, params["code"], values)

    async def do_callbacks(self, visit: Visit, **params: str) -> Reply:
        """Where and whether; the secret only when a new one was entered."""
        values: dict[str, Any] = {
            "callback_base": visit.form.trimmed("callbackBase"),
            "callback_enabled": visit.form.get("callbackEnabled") == "true",
            "refund_callback_enabled": visit.form.get("refundCallbackEnabled") == "true",
        }
        if visit.form.trimmed("notifySecret"):
            values["notify_secret"] = visit.form.trimmed("notifySecret")
        return await self._change(visit, params["code"], values)

    async def do_access(self, visit: Visit, **params: str) -> Reply:
        """Addresses that may call."""
        values = {"api_ip_whitelist": visit.form.trimmed("apiIpWhitelist")}
        return await self._change(visit, params["code"], values)

    async def do_payer(self, visit: Visit, **params: str) -> Reply:
        """How long the result page waits."""
        seconds = visit.form.trimmed("returnDelaySeconds")
        number = (
            int(seconds) if seconds.isascii() and seconds.isdecimal() and len(seconds) < 4 else -1
        )
        return await self._change(visit, params["code"], {"return_delay_seconds": number})

    async def do_logo(self, visit: Visit, **params: str) -> Reply:
        """Set the logo."""
        upload = visit.form.uploads.get("content")
        content = b"" if upload is None else upload.content
        if not content:
            return visit.redirect(visit.path, "merchants.no_file")
        return await self._set_logo(visit, params["code"], content)

    async def do_remove_logo(self, visit: Visit, **params: str) -> Reply:
        """Take the logo away."""
        return await self._set_logo(visit, params["code"], b"")

    async def _set_logo(self, visit: Visit, code: str, content: bytes) -> Reply:
        request = merchants.SetMerchantLogoRequest(id=code, content=content)
        await visit.call("MerchantService.SetMerchantLogo", request)
        return visit.redirect(visit.path, "merchants.saved")

    async def _change(self, visit: Visit, code: str, values: dict[str, Any]) -> Reply:
        request = merchants.UpdateMerchantRequest(
            id=code, update_mask=FieldMask(paths=list(values)), **values
        )
        await visit.call("MerchantService.UpdateMerchant", request)
        return visit.redirect(visit.path, "merchants.saved")


class Logo(Page):
    """The picture itself."""

    path = "/admin/merchants/{code}/logo"
    rpc = "MerchantService.GetMerchantLogo"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """As it was set."""
        answer = await visit.call(self.rpc, merchants.GetMerchantLogoRequest(id=params["code"]))
        return Reply(body=answer.content, content_type=answer.content_type)


def _status(name: str) -> merchants.MerchantStatus.ValueType:
    return merchants.MerchantStatus.Value(f"MERCHANT_STATUS_{name}")


def _json_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


FAMILY = Family(
    "merchants",
    "merchants_group",
    (
        Merchants,
        Overview,
        Profile,
        Logo,
        *accounts.MERCHANT_PAGES,
        *bindings.MERCHANT_PAGES,
        *credentials.MERCHANT_PAGES,
        *people.MERCHANT_PAGES,
    ),
)
