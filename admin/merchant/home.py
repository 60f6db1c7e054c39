"""Registering a merchant, signing in and out, and where /merchant leads."""

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit, safe_return_path
from core_service.errors import CoreError
from core_service.errors import Family as ErrorFamily
from novapay.access.v1 import access_service_pb2 as access


class Landing(Page):
    """To the first page."""

    path = "/merchant"
    rpc = "AccessService.GetSession"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A redirect."""
        assert visit.viewer is not None
        return visit.redirect(self.console.first_path(visit.viewer))


class SignIn(Page):
    """E-mail address and password."""

    path = "/merchant/sign-in"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The form."""
        return render(visit, "merchant/sign_in.html")

    async def do_sign_in(self, visit: Visit, **_params: str) -> Reply:
        """Open a session and go where the member wanted to go; with a first password, to change it."""
        answer = await visit.call(
            "AccessService.SignInStaff",
            access.SignInStaffRequest(
                email=visit.form.trimmed("email"), password=visit.form.get("password", "")
            ),
        )
        wanted = safe_return_path(visit.query.get("next"), self.console)
        reply = visit.redirect(
            self.console.password_path
            if answer.staff.must_change_password
            else wanted or self.console.prefix
        )
        reply.headers.append(("set-cookie", self.console.guard.cookie(answer.session_token)))
        return reply


class SignOut(Page):
    """Ends the session on the server and drops the cookie."""

    path = "/merchant/sign-out"
    rpc = "AccessService.SignOut"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A link or a bookmark changes nothing."""
        return visit.redirect(self.console.prefix)

    async def do_sign_out(self, visit: Visit, **_params: str) -> Reply:
        """Also when the session is over already."""
        try:
            await visit.call("AccessService.SignOut", access.SignOutRequest())
        except CoreError as error:
            if error.family is not ErrorFamily.UNAUTHENTICATED:
                raise
        reply = visit.redirect(self.console.sign_in_path, "frame.signed_out")
        reply.headers.append(("set-cookie", self.console.guard.cookie("")))
        return reply


class Register(Page):
    """A stranger becomes a merchant that waits for review."""

    path = "/merchant/register"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The form."""
        return render(visit, "merchant/register.html")

    async def do_register(self, visit: Visit, **_params: str) -> Reply:
        """The same answer whether or not the address has an account; then sign in."""
        form = visit.form
        await visit.call(
            "AccessService.RegisterMerchant",
            access.RegisterMerchantRequest(
                name=form.trimmed("name"),
                legal_name=form.trimmed("legalName"),
                contact_name=form.trimmed("contactName"),
                contact_email=form.trimmed("email"),
                contact_phone=form.trimmed("contactPhone"),
                company_registration_id=form.trimmed("companyRegistrationId"),
                onboarding_note=form.trimmed("onboardingNote"),
                owner_name=form.trimmed("contactName"),
                email=form.trimmed("email"),
                password=form.get("password", ""),
            ),
        )
        return visit.redirect(self.console.sign_in_path, "merchant.registered")


FAMILY = Family("home", "", (Landing, SignIn, SignOut, Register))
