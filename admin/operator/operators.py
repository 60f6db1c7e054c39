"""Operators and their roles."""

from typing import Any

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import CoreError
from novapay.access.v1 import access_service_pb2 as access

_PREFIX = "OPERATOR_ROLE_"


class Operators(Page):
    """Who there is, and adding somebody."""

    path = "/admin/operators"
    rpc = "AccessService.ListOperators"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The list."""
        answer = await visit.call(self.rpc, access.ListOperatorsRequest())
        return render(visit, "operator/operators.html", operators=answer.operators, roles=_ROLES)

    async def do_create(self, visit: Visit, **_params: str) -> Reply:
        """The first password is in the answer, and nowhere else."""
        answer = await visit.call(
            "AccessService.CreateOperator",
            access.CreateOperatorRequest(
                email=visit.form.trimmed("email"),
                name=visit.form.trimmed("name"),
                role=_role(visit.form.get("role", "")),
            ),
        )
        return _show_password(visit, answer)


class Operator(Page):
    """One operator: what there is to know and to change."""

    path = "/admin/operators/{operator_id}"
    rpc = "AccessService.ListOperators"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """The page."""
        answer = await visit.call(self.rpc, access.ListOperatorsRequest())
        found = [item for item in answer.operators if item.id == params["operator_id"]]
        if not found:
            raise CoreError("NOT_FOUND")
        return render(visit, "operator/operator.html", operator=found[0], roles=_ROLES)

    async def do_save(self, visit: Visit, **params: str) -> Reply:
        """Name and role."""
        return await self._update(
            visit,
            params,
            name=visit.form.trimmed("name"),
            role=_role(visit.form.get("role", "")),
        )

    async def do_enable(self, visit: Visit, **params: str) -> Reply:
        """Let somebody in again."""
        return await self._update(visit, params, enabled=True)

    async def do_disable(self, visit: Visit, **params: str) -> Reply:
        """Keep somebody out, at once."""
        return await self._update(visit, params, enabled=False)

    async def do_end_sessions(self, visit: Visit, **params: str) -> Reply:
        """Sign somebody out everywhere."""
        return await self._update(visit, params, end_sessions=True)

    async def do_reset_totp(self, visit: Visit, **params: str) -> Reply:
        """For somebody who lost the authenticator and the recovery codes."""
        return await self._update(visit, params, reset_totp=True)

    async def do_reset_password(self, visit: Visit, **params: str) -> Reply:
        """The new first password is in the answer, and nowhere else."""
        request = access.UpdateOperatorRequest(id=params["operator_id"], reset_password=True)
        return _show_password(visit, await visit.call("AccessService.UpdateOperator", request))

    async def _update(self, visit: Visit, params: dict[str, str], **changes: Any) -> Reply:
        request = access.UpdateOperatorRequest(id=params["operator_id"], **changes)
        await visit.call("AccessService.UpdateOperator", request)
        return visit.redirect(visit.here(), "operators.saved")


_ROLES = tuple(
    value.name.removeprefix(_PREFIX)
    for value in access.OperatorRole.DESCRIPTOR.values
    if value.number
)


def _role(name: str) -> access.OperatorRole.ValueType:
    """What is no role is the role that the core refuses by name."""
    known = access.OperatorRole.DESCRIPTOR.values_by_name.get(f"{_PREFIX}{name}")
    return access.OperatorRole.ValueType(known.number if known else 0)


def _show_password(visit: Visit, answer: Any) -> Reply:
    return render(
        visit,
        "operator/first_password.html",
        operator=answer.operator,
        password=answer.first_password,
    )


FAMILY = Family("operators", "system", (Operators, Operator))
