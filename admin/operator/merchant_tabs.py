"""What the pages about one merchant share: finding it, and the tabs."""

from typing import Any
from urllib.parse import quote, urlencode

from admin.layout.view import render
from admin.visit import Reply, Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants

TABS = (
    ("merchant_overview", ""),
    ("merchant_profile", "/profile"),
    ("merchant_accounts", "/accounts"),
    ("merchant_bindings", "/bindings"),
    ("merchant_credentials", "/credentials"),
    ("merchant_people", "/people"),
)


async def merchant_of(visit: Visit, code: str) -> merchants.Merchant:
    """The merchant that the address names. Raises CoreError."""
    request = merchants.GetMerchantRequest(id=code)
    answer = await visit.call("MerchantService.GetMerchant", request)
    merchant: merchants.Merchant = answer.merchant
    return merchant


def merchant_path(code: str, *more: str) -> str:
    """The address of a page about a merchant."""
    return "/".join(["/admin/merchants", *(quote(part, safe="") for part in (code, *more))])


def render_merchant(
    visit: Visit, merchant: merchants.Merchant, tab: str, template: str = "", **values: Any
) -> Reply:
    """A page below the tabs; `template` where it is not that of the tab itself."""
    base = merchant_path(merchant.code)
    return render(
        visit,
        f"operator/{template or tab}.html",
        merchant=merchant,
        base=base,
        tabs=[
            (visit.t(f"merchants.tab_{name.removeprefix('merchant_')}"), base + path, name == tab)
            for name, path in TABS
        ]
        + _elsewhere(visit, merchant),
        **values,
    )


def _elsewhere(visit: Visit, merchant: merchants.Merchant) -> list[tuple[str, str, bool]]:
    """Lists of other families that can be narrowed to this merchant, as far as the viewer may open them."""
    assert visit.viewer is not None
    filters = {
        "orders": {"merchant_code": merchant.code},
        "audit": {"target": f"merchant:{merchant.id}"},
    }
    return [
        (visit.t(f"nav.{family.name}"), f"{family.path}?{urlencode(filters[family.name])}", False)
        for _group, families in visit.console.navigation(visit.viewer)
        for family in families
        if family.name in filters
    ]
