"""Every page there is, read from the routes that are served, and where a test can look at it.

A new page without parameters is covered by itself. One with parameters needs a line in `EXAMPLES`;
a route that is no page needs one in `NOT_PAGES`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from falcon.inspect import inspect_routes

from rest_edge.front import create_front
from rest_edge.settings import load_settings
from tests.browser.demo import Demo

PAGE_PREFIXES = ("/admin", "/merchant", "/docs", "/pay")

NOT_PAGES = {
    "/admin": "leads to the first page",
    "/admin/sign-out": "leads to the sign-in page",
    "/admin/static/{name}": "stylesheets and scripts",
    "/admin/orders.csv": "a download",
    "/admin/refunds.csv": "a download",
    "/admin/deliveries.csv": "a download",
    "/admin/audit-log.csv": "a download",
    "/admin/merchants/{code}/logo": "a picture",
    "/docs/search.json": "words for the filter box",
    "/merchant": "leads to the first page",
    "/merchant/orders.csv": "a download",
    "/merchant/refunds.csv": "a download",
    "/merchant/deliveries.csv": "a download",
    "/merchant/sign-out": "leads to the sign-in page",
    "/merchant/profile/logo": "a picture",
    "/pay/{order_id}/events": "a stream",
    "/pay/{order_id}/logo": "a picture",
}

_ORDER_STATES = (
    "waiting_wxpay", "waiting_alipay", "paid", "partly_refunded", "refunded", "closed", "expired",
)  # fmt: skip


def _merchant(rest: str) -> Callable[[Demo], dict[str, str]]:
    return lambda demo: {"": f"/admin/merchants/{demo.merchant.code}{rest}"}


EXAMPLES: dict[str, Callable[[Demo], dict[str, str]]] = {
    "/pay/{order_id}": lambda demo: {
        name: f"/pay/{demo.orders[name]['id']}" for name in _ORDER_STATES
    },
    "/pay/{order_id}/return": lambda demo: {
        name: f"/pay/{demo.orders[name]['id']}/return" for name in ("waiting_alipay", "paid")
    },
    "/docs/guides/{slug}": lambda _: {"": "/docs/guides/first-payment"},
    "/docs/reference/{operation}": lambda _: {"": "/docs/reference/createPaymentOrder"},
    "/admin/orders/{order_id}": lambda demo: {
        name: f"/admin/orders/{demo.orders[name]['id']}"
        for name in ("partly_refunded", "waiting_wxpay", "late")
    },
    "/admin/deliveries/{delivery_id}": lambda demo: {"": f"/admin/deliveries/{demo.delivery_id}"},
    "/admin/operators/{operator_id}": lambda demo: {
        "": f"/admin/operators/{demo.stack.sign_in().get('/api/admin/operators').json['operators'][0]['id']}"
    },
    "/admin/merchants/{code}": _merchant(""),
    "/admin/merchants/{code}/profile": _merchant("/profile"),
    "/admin/merchants/{code}/accounts": _merchant("/accounts"),
    "/admin/merchants/{code}/accounts/{account_id}": lambda demo: {
        "": f"/admin/merchants/{demo.merchant.code}/accounts/{demo.accounts['wxpay.native']['id']}"
    },
    "/admin/merchants/{code}/new-account/{channel}": _merchant("/new-account/wxpay.native"),
    "/admin/merchants/{code}/bindings": _merchant("/bindings"),
    "/admin/merchants/{code}/bindings/{channel}": _merchant("/bindings/alipay.page"),
    "/admin/merchants/{code}/credentials": _merchant("/credentials"),
    "/admin/merchants/{code}/people": _merchant("/people"),
    "/merchant/orders/{order_id}": lambda demo: {
        name: f"/merchant/orders/{demo.orders[name]['id']}"
        for name in ("partly_refunded", "waiting_wxpay")
    },
    "/merchant/deliveries/{delivery_id}": lambda demo: {
        "": f"/merchant/deliveries/{demo.delivery_id}"
    },
    "/merchant/accounts/new/{channel}": lambda _: {"": "/merchant/accounts/new/wxpay.native"},
    "/merchant/accounts/{account_id}": lambda demo: {
        "": f"/merchant/accounts/{demo.accounts['wxpay.native']['id']}"
    },
}


@dataclass(frozen=True)
class Place:
    """One page in one state. `name` is fit for a file name."""

    name: str
    url: str
    route: str


def page_routes() -> list[str]:
    """Falcon's templates of all pages."""
    front: Any = create_front(load_settings({"NOVAPAY_ENV": "test"}))
    by_path = front._application
    applications = {id(item): item for item in (by_path._rest, *by_path._by_prefix.values())}
    return sorted(
        route.path
        for application in applications.values()
        for route in inspect_routes(application)
        if route.path.startswith(PAGE_PREFIXES)
        and route.path not in NOT_PAGES
        and any(method.method == "GET" and not method.internal for method in route.methods)
    )


def places(demo: Demo) -> Iterator[Place]:
    """Where every page can be looked at; a KeyError names a page that needs an example."""
    for route in page_routes():
        found = EXAMPLES[route](demo) if "{" in route else {"": route}
        for state, url in found.items():
            yield Place(_name_of(route, state), url, route)


def _name_of(route: str, state: str) -> str:
    """`/admin/orders/{order_id}` in state `late` is `admin-orders-late`; without a state `admin-orders-one`."""
    filler = [] if state else ["one"]
    words = [[word] if "{" not in word else filler for word in route.strip("/").split("/")]
    return "-".join([word for part in words for word in part] + ([state] if state else []))


def cookies_for(place: Place, demo: Demo) -> dict[str, str]:
    """The session of who looks at the page; sign-in and registration are seen by strangers."""
    if place.url.endswith(("/sign-in", "/register")):
        return {}
    if place.url.startswith("/admin"):
        return demo.operator_cookies
    return demo.staff_cookies if place.url.startswith("/merchant") else {}
