"""Who the merchant is, and what its payers see."""

from admin.console import Family
from admin.layout.formats import enum
from admin.layout.view import render
from admin.merchant.own import changed, own_code, own_merchant
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants

_FIELDS = {
    "name": "name",
    "legal_name": "legalName",
    "company_registration_id": "companyRegistrationId",
    "contact_name": "contactName",
    "contact_phone": "contactPhone",
    "contact_email": "contactEmail",
    "onboarding_note": "onboardingNote",
}


class Profile(Page):
    """The profile and its review."""

    path = "/merchant/profile"
    rpc = "MerchantService.GetMerchant"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The form; without the role for it, the facts."""
        merchant = await own_merchant(visit)
        review = enum(merchant, "status")
        return render(
            visit,
            "merchant/profile.html",
            merchant=merchant,
            review=review,
            is_owner=visit.may("AccessService.CreateStaff"),
            is_settled=review in ("APPROVED", "SUSPENDED"),
        )

    async def do_save(self, visit: Visit, **_params: str) -> Reply:
        """The fields that the form had; what was approved is not in it."""
        fields = {
            name: visit.form.trimmed(sent) for name, sent in _FIELDS.items() if sent in visit.form
        }
        delay = visit.form.trimmed("returnDelaySeconds")
        number = {"return_delay_seconds": int(delay)} if delay.isdecimal() else {}
        await changed(visit, **fields, **number)
        return visit.redirect(self.path, "merchant.profile_saved")

    async def do_logo(self, visit: Visit, **_params: str) -> Reply:
        """Sets or removes the picture that payers see."""
        upload = visit.form.uploads.get("content")
        await visit.call(
            "MerchantService.SetMerchantLogo",
            merchants.SetMerchantLogoRequest(
                id=own_code(visit),
                content=b"" if visit.form.get("remove") or upload is None else upload.content,
            ),
        )
        return visit.redirect(self.path, "merchant.profile_saved")


class Logo(Page):
    """The picture itself."""

    path = "/merchant/profile/logo"
    rpc = "MerchantService.GetMerchantLogo"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """Its bytes; the core let nothing in but pictures."""
        logo = await visit.call(self.rpc, merchants.GetMerchantLogoRequest(id=own_code(visit)))
        return Reply(
            body=logo.content,
            content_type=logo.content_type,
            headers=[("cache-control", "private, max-age=31536000, immutable")],
        )


FAMILY = Family("profile", "business", (Profile, Logo))
