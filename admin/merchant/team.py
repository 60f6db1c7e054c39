"""The merchant's team: who, with which role; first passwords are shown once."""

from typing import Any

from admin.console import Family
from admin.layout.formats import enum
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.access.v1 import access_service_pb2 as access

ROLES = ("OWNER", "OPERATIONS", "DEVELOPER", "VIEWER")


class Team(Page):
    """Everybody on one page."""

    path = "/merchant/team"
    rpc = "AccessService.ListStaff"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """The table."""
        return await self._show(visit)

    async def do_add(self, visit: Visit, **_params: str) -> Reply:
        """Somebody new."""
        answer = await visit.call(
            "AccessService.CreateStaff",
            access.CreateStaffRequest(
                email=visit.form.trimmed("email"),
                name=visit.form.trimmed("name"),
                role=_role(visit),
            ),
        )
        return await self._show(visit, member=answer.staff, password=answer.first_password)

    async def do_change(self, visit: Visit, **_params: str) -> Reply:
        """Name and role."""
        await visit.call(
            "AccessService.UpdateStaff",
            access.UpdateStaffRequest(
                id=visit.form.get("id", ""), name=visit.form.trimmed("name"), role=_role(visit)
            ),
        )
        return visit.redirect(self.path, "team.changed")

    async def do_switch(self, visit: Visit, **_params: str) -> Reply:
        """Disable, or enable again."""
        await visit.call(
            "AccessService.UpdateStaff",
            access.UpdateStaffRequest(
                id=visit.form.get("id", ""), enabled=visit.form.get("enabled") == "true"
            ),
        )
        return visit.redirect(self.path, "team.changed")

    async def do_reset(self, visit: Visit, **_params: str) -> Reply:
        """A new first password."""
        answer = await visit.call(
            "AccessService.UpdateStaff",
            access.UpdateStaffRequest(id=visit.form.get("id", ""), reset_password=True),
        )
        return await self._show(visit, member=answer.staff, password=answer.first_password)

    async def _show(self, visit: Visit, *, member: Any = None, password: str = "") -> Reply:
        answer = await visit.call(self.rpc, access.ListStaffRequest())
        team = [(one, enum(one, "role")) for one in answer.staff]
        return render(
            visit,
            "merchant/team.html",
            team=team,
            roles=[(role, visit.t(f"role.{role}")) for role in ROLES],
            made=member,
            password=password,
        )


def _role(visit: Visit) -> access.StaffRole.ValueType:
    name = visit.form.get("role", "")
    return access.StaffRole.Value(f"STAFF_ROLE_{name if name in ROLES else 'UNSPECIFIED'}")


FAMILY = Family("team", "business", (Team,))
