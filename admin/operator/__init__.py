"""The operators' console under /admin.

A page family is a module here with its templates beside it, and one line in `families`.
"""

from typing import ClassVar

from admin.console import Console, Family, Viewer
from admin.edge import EdgeRequest
from admin.layout.formats import enum
from admin.operator import (
    account,
    accounts,
    anomalies,
    audit,
    deliveries,
    home,
    merchants,
    operators,
    orders,
    overview,
    refunds,
    settings,
)
from core_service import metadata
from core_service.schema import Method, method_named
from novapay.access.v1 import access_service_pb2


class OperatorConsole(Console):
    """Whoever runs this installation."""

    prefix: ClassVar[str] = "/admin"
    name: ClassVar[str] = "frame.operator_console"
    password_path: ClassVar[str] = account.Account.path
    families: ClassVar[tuple[Family, ...]] = (
        home.FAMILY,
        overview.FAMILY,
        orders.FAMILY,
        refunds.FAMILY,
        deliveries.FAMILY,
        anomalies.FAMILY,
        merchants.FAMILY,
        accounts.FAMILY,
        settings.FAMILY,
        operators.FAMILY,
        audit.FAMILY,
        account.FAMILY,
    )

    def credentials(self, token: str) -> tuple[tuple[str, bytes], ...]:
        """An operator's session."""
        return ((metadata.SESSION_TOKEN, token.encode("ascii")),)

    async def viewer(self, request: EdgeRequest, token: str) -> Viewer:
        """The operator of the session."""
        session = await self.core.ask(
            method_named("AccessService.GetSession"),
            access_service_pb2.GetSessionRequest(),
            request,
            self.credentials(token),
        )
        operator = session.operator
        return Viewer(
            name=operator.name or operator.email,
            email=operator.email,
            role=enum(operator, "role"),
            csrf_token=session.csrf_token,
            token=token,
            session=session,
        )

    def roles_of(self, method: Method) -> frozenset[str]:
        """As `roles` of the RPC says."""
        return method.roles
