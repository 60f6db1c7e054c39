"""A merchant's people: who, with which role; first passwords are shown once. Both consoles have the page."""

from collections.abc import Mapping
from typing import Any

from admin.layout.formats import enum
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.access.v1 import access_service_pb2 as access

ROLES = ("OWNER", "OPERATIONS", "DEVELOPER", "VIEWER")


class TeamPage(Page):
    """Everybody on one page. `code` in the path names the merchant; without it the session does."""

    rpc = "AccessService.ListStaff"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """The table."""
        return await self._show(visit, params)

    async def do_add(self, visit: Visit, **params: str) -> Reply:
        """Somebody new."""
        answer = await visit.call(
            "AccessService.CreateStaff",
            access.CreateStaffRequest(
                merchant_code=params.get("code", ""),
                email=visit.form.trimmed("email"),
                name=visit.form.trimmed("name"),
                role=_role(visit),
            ),
        )
        return await self._show(visit, params, member=answer.staff, password=answer.first_password)

    async def do_change(self, visit: Visit, **params: str) -> Reply:
        """Name and role."""
        await self._update(visit, params, name=visit.form.trimmed("name"), role=_role(visit))
        return visit.redirect(visit.here(), "team.changed")

    async def do_switch(self, visit: Visit, **params: str) -> Reply:
        """Disable, or enable again."""
        await self._update(visit, params, enabled=visit.form.get("enabled") == "true")
        return visit.redirect(visit.here(), "team.changed")

    async def do_reset(self, visit: Visit, **params: str) -> Reply:
        """A new first password."""
        answer = await self._update(visit, params, reset_password=True)
        return await self._show(visit, params, member=answer.staff, password=answer.first_password)

    async def page(self, visit: Visit, _params: Mapping[str, str], **values: Any) -> Reply:
        """The page with the values of `layout/team.html`."""
        raise NotImplementedError

    async def _update(self, visit: Visit, params: Mapping[str, str], **changes: Any) -> Any:
        return await visit.call(
            "AccessService.UpdateStaff",
            access.UpdateStaffRequest(
                merchant_code=params.get("code", ""), id=visit.form.get("id", ""), **changes
            ),
        )

    async def _show(
        self, visit: Visit, params: Mapping[str, str], *, member: Any = None, password: str = ""
    ) -> Reply:
        answer = await visit.call(
            self.rpc, access.ListStaffRequest(merchant_code=params.get("code", ""))
        )
        return await self.page(
            visit,
            params,
            team=[(one, enum(one, "role")) for one in answer.staff],
            roles=[(role, visit.t(f"role.{role}")) for role in ROLES],
            made=member,
            password=password,
        )


def _role(visit: Visit) -> access.StaffRole.ValueType:
    name = visit.form.get("role", "")
    return access.StaffRole.Value(f"STAFF_ROLE_{name if name in ROLES else 'UNSPECIFIED'}")
