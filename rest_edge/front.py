"""One port for everything: the HTTP contract and the consoles behind one middleware, told apart by path.

The only module that knows both; neither application imports the other.
"""

from collections.abc import Mapping

from admin.app import create_consoles
from admin.merchant import MerchantConsole
from admin.operator import OperatorConsole
from rest_edge.admission import Admission
from rest_edge.app import create_app
from rest_edge.checkout_watch import CheckoutWatches
from rest_edge.console_guard import MERCHANT_COOKIE, ConsoleGuard
from rest_edge.core_connection import CoreConnection
from rest_edge.middleware import Application, EdgeMiddleware, Receive, Scope, Send
from rest_edge.refusal_page import refuse
from rest_edge.settings import Settings, load_settings


def create_front(settings: Settings) -> EdgeMiddleware:
    """The whole edge as one ASGI application; its lifespan opens and closes the connection to the core."""
    core = CoreConnection(settings)
    watches = CheckoutWatches(core)
    consoles = create_consoles(
        [
            OperatorConsole(core, ConsoleGuard(settings)),
            MerchantConsole(core, ConsoleGuard(settings, MERCHANT_COOKIE)),
        ]
    )
    return EdgeMiddleware(
        ByPath(
            create_app(settings, core, watches),
            dict.fromkeys((OperatorConsole.prefix, MerchantConsole.prefix), consoles),
        ),
        admission=Admission(settings.calls_at_once),
        trusted_proxies=settings.trusted_proxies,
        is_https=settings.is_https,
        on_drain=watches.drain,
        refuse=refuse,
    )


def get_front() -> EdgeMiddleware:
    """For gunicorn: settings from the environment."""
    return create_front(load_settings())


class ByPath:
    """Hands a request to the application of its first path segment; everything else, lifespan too, to `rest`."""

    def __init__(self, rest: Application, by_prefix: Mapping[str, Application]) -> None:
        self._rest = rest
        self._by_prefix = by_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        application = self._rest
        if scope["type"] == "http":
            first = "/" + scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
            application = self._by_prefix.get(first, self._rest)
        await application(scope, receive, send)
