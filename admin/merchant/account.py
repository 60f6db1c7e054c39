"""One's own account: who one is here, and the password."""

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.access.v1 import access_service_pb2 as access


class ChangePassword(Page):
    """The only page that is open while the password is somebody else's choice."""

    path = "/merchant/account"
    rpc = "AccessService.ChangePassword"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The form."""
        assert visit.viewer is not None
        return render(visit, "merchant/account.html", member=visit.viewer.session.staff)

    async def do_change(self, visit: Visit, **_params: str) -> Reply:
        """Ends the other sessions."""
        await visit.call(
            self.rpc,
            access.ChangePasswordRequest(
                current_password=visit.form.get("currentPassword", ""),
                new_password=visit.form.get("newPassword", ""),
            ),
        )
        return visit.redirect(self.console.prefix, "merchant.password_changed")


FAMILY = Family("own_account", "account", (ChangePassword,))
