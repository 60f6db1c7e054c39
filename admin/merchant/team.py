"""The merchant's own team."""

from collections.abc import Mapping
from typing import Any

from admin.console import Family
from admin.layout.view import render
from admin.team_page import TeamPage
from admin.visit import Reply, Visit


class Team(TeamPage):
    """Everybody on one page."""

    path = "/merchant/team"

    async def page(self, visit: Visit, _params: Mapping[str, str], **values: Any) -> Reply:
        """A page of its own."""
        return render(visit, "merchant/team.html", **values)


FAMILY = Family("team", "business", (Team,))
