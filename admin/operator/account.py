"""One's own account: password, two-step sign-in, recovery codes."""

from admin.console import ACCOUNT, Family
from admin.layout.qr import qr_svg
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.access.v1 import access_service_pb2 as access


class Account(Page):
    """Everything on one page; what is shown once is shown in the answer to its form."""

    path = "/admin/account"
    rpc = "AccessService.GetSession"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The page; while a new key waits to be confirmed, with its QR code."""
        assert visit.viewer is not None
        uri = visit.form.get("uri", "") if visit.form.get("action") == "confirm" else ""
        return self._show(visit, uri=uri, secret=visit.form.get("secret", ""))

    async def do_change_password(self, visit: Visit, **_params: str) -> Reply:
        """Ends the other sessions."""
        await visit.call(
            "AccessService.ChangePassword",
            access.ChangePasswordRequest(
                current_password=visit.form.get("currentPassword", ""),
                new_password=visit.form.get("newPassword", ""),
            ),
        )
        return visit.redirect(self.path, "account.password_changed")

    async def do_begin(self, visit: Visit, **_params: str) -> Reply:
        """A new key."""
        answer = await visit.call(
            "AccessService.BeginTotp",
            access.BeginTotpRequest(password=visit.form.get("password", "")),
        )
        return self._show(visit, uri=answer.uri, secret=answer.secret)

    async def do_confirm(self, visit: Visit, **_params: str) -> Reply:
        """Switch it on and show the recovery codes."""
        answer = await visit.call(
            "AccessService.ConfirmTotp", access.ConfirmTotpRequest(code=visit.form.trimmed("code"))
        )
        return self._show(visit, codes=answer.recovery_codes)

    async def do_replace_codes(self, visit: Visit, **_params: str) -> Reply:
        """Show new recovery codes."""
        answer = await visit.call(
            "AccessService.ReplaceRecoveryCodes",
            access.ReplaceRecoveryCodesRequest(
                password=visit.form.get("password", ""), code=visit.form.trimmed("code")
            ),
        )
        return self._show(visit, codes=answer.recovery_codes)

    async def do_disable(self, visit: Visit, **_params: str) -> Reply:
        """Switch it off."""
        await visit.call(
            "AccessService.DisableTotp",
            access.DisableTotpRequest(
                password=visit.form.get("password", ""), code=visit.form.trimmed("code")
            ),
        )
        return visit.redirect(self.path, "account.totp_disabled")

    def _show(self, visit: Visit, *, uri: str = "", secret: str = "", codes: object = ()) -> Reply:
        assert visit.viewer is not None
        return render(
            visit,
            "operator/account.html",
            session=visit.viewer.session,
            codes=codes,
            uri=uri,
            secret=secret,
            qr=qr_svg(uri) if uri.startswith("otpauth://") else "",
        )


FAMILY = Family("account", ACCOUNT, (Account,))
