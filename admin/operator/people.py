"""A merchant's people, as operators help them: a first owner, a reset password."""

from collections.abc import Mapping
from typing import Any

from admin.operator.merchant_tabs import merchant_of, render_merchant
from admin.team_page import TeamPage
from admin.visit import Reply, Visit


class People(TeamPage):
    """A tab of the merchant's page."""

    path = "/admin/merchants/{code}/people"

    async def page(self, visit: Visit, _params: Mapping[str, str], **values: Any) -> Reply:
        """Below the merchant's tabs."""
        merchant = await merchant_of(visit, _params["code"])
        return render_merchant(visit, merchant, "merchant_people", **values)


MERCHANT_PAGES = (People,)
