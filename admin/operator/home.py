"""Signing in and out, and where /admin leads."""

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit, safe_return_path
from core_service.errors import CoreError
from core_service.errors import Family as ErrorFamily
from novapay.access.v1 import access_service_pb2


class Landing(Page):
    """To the first page that the operator may see."""

    path = "/admin"
    rpc = "AccessService.GetSession"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A redirect."""
        assert visit.viewer is not None
        return visit.redirect(self.console.first_path(visit.viewer))


class SignIn(Page):
    """E-mail address, password and, once switched on, a one-time code."""

    path = "/admin/sign-in"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The form."""
        return render(visit, "operator/sign_in.html")

    async def do_sign_in(self, visit: Visit, **_params: str) -> Reply:
        """Open a session and go where the operator wanted to go."""
        answer = await visit.call(
            "AccessService.SignIn",
            access_service_pb2.SignInRequest(
                email=visit.form.trimmed("email"),
                password=visit.form.get("password", ""),
                otp=visit.form.trimmed("otp") or None,
            ),
        )
        wanted = safe_return_path(visit.query.get("next"), self.console)
        reply = visit.redirect(wanted or self.console.prefix)
        reply.headers.append(("set-cookie", self.console.guard.cookie(answer.session_token)))
        return reply


class SignOut(Page):
    """Ends the session on the server and drops the cookie."""

    path = "/admin/sign-out"
    rpc = "AccessService.SignOut"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A link or a bookmark changes nothing."""
        return visit.redirect(self.console.prefix)

    async def do_sign_out(self, visit: Visit, **_params: str) -> Reply:
        """Also when the session is over already."""
        try:
            await visit.call("AccessService.SignOut", access_service_pb2.SignOutRequest())
        except CoreError as error:
            if error.family is not ErrorFamily.UNAUTHENTICATED:
                raise
        reply = visit.redirect(self.console.sign_in_path, "frame.signed_out")
        reply.headers.append(("set-cookie", self.console.guard.cookie("")))
        return reply


FAMILY = Family("home", "", (Landing, SignIn, SignOut))
