"""The merchants' console under /merchant.

A page family is a module here with its templates beside it, and one line in `families`. The session
says which merchant every call is about; no page names one.
"""

from typing import ClassVar

from admin.console import Console, Family, Viewer
from admin.edge import EdgeRequest
from admin.layout.formats import enum
from admin.merchant import (
    account,
    accounts,
    callbacks,
    credentials,
    home,
    payments,
    profile,
    requests,
    start,
    team,
)
from core_service import metadata
from core_service.schema import Method, method_named
from novapay.access.v1 import access_service_pb2


class MerchantConsole(Console):
    """A merchant's own people."""

    prefix: ClassVar[str] = "/merchant"
    name: ClassVar[str] = "merchant.console"
    is_for_one_merchant: ClassVar[bool] = True
    password_path: ClassVar[str] = account.ChangePassword.path
    families: ClassVar[tuple[Family, ...]] = (
        home.FAMILY,
        start.FAMILY,
        *payments.FAMILIES,
        accounts.FAMILY,
        credentials.FAMILY,
        callbacks.FAMILY,
        requests.FAMILY,
        profile.FAMILY,
        team.FAMILY,
        account.FAMILY,
    )

    async def viewer(self, request: EdgeRequest, token: str) -> Viewer:
        """The member of staff whose session it is."""
        session = await self.core.ask(
            method_named("AccessService.GetSession"),
            access_service_pb2.GetSessionRequest(),
            request,
            self.credentials(token),
        )
        member = session.staff
        return Viewer(
            name=member.name or member.email,
            email=member.email,
            role=enum(member, "role"),
            csrf_token=session.csrf_token,
            token=token,
            session=session,
        )

    def credentials(self, token: str) -> tuple[tuple[str, bytes], ...]:
        """A member's session, as credentials travel."""
        return ((metadata.STAFF_SESSION_TOKEN, token.encode("ascii")),)

    def roles_of(self, method: Method) -> frozenset[str]:
        """As `staff_roles` of the RPC says."""
        return method.staff_roles
