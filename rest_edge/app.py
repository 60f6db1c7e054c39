"""Puts the HTTP contract together as one Falcon application; `front.py` puts it on a port."""

from typing import Any

import falcon
import falcon.asgi

from core_service.errors import CoreError
from rest_edge.checkout_watch import EVENTS_PATH, CheckoutEvents, CheckoutWatches
from rest_edge.console_guard import ConsoleGuard
from rest_edge.console_session import SESSION_PATH, ConsoleSession
from rest_edge.core_connection import CoreConnection
from rest_edge.documentation import add_documentation
from rest_edge.errors import EdgeRefusal, method_not_allowed
from rest_edge.health import HEALTH_PATH, Health
from rest_edge.hosted_checkout import (
    LOGO_PATH,
    PAY_PATH,
    RETURN_PATH,
    CheckoutLogo,
    CheckoutPage,
)
from rest_edge.logs import edge_log
from rest_edge.middleware import REQUEST_KEY, EdgeRequest
from rest_edge.openapi import OPENAPI_PATHS, OpenApi
from rest_edge.provider_callbacks import ALIPAY_PATH, WXPAY_PATH, AlipayCallback, WxpayCallback
from rest_edge.refusal_page import refuse
from rest_edge.settings import Settings
from rest_edge.static_files import STATIC_PATH, StaticFiles
from rest_edge.transcoding import add_rpc_routes


def create_app(
    settings: Settings, core: CoreConnection, watches: CheckoutWatches
) -> falcon.asgi.App[Any, Any]:
    """Every route of the HTTP contract; its lifespan opens and closes the connection to the core."""
    guard = ConsoleGuard(settings)
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(middleware=core)
    app.req_options.auto_parse_qs_csv = False
    app.req_options.keep_blank_qs_values = True
    _answer_errors_as_json(app)
    add_rpc_routes(app, core, guard)
    app.add_route(SESSION_PATH, ConsoleSession(core, guard))
    app.add_route(ALIPAY_PATH, AlipayCallback(core))
    app.add_route(WXPAY_PATH, WxpayCallback(core))
    app.add_route(HEALTH_PATH, Health(core))
    for path in (PAY_PATH, RETURN_PATH):
        app.add_route(path, CheckoutPage(watches, path))
    app.add_route(EVENTS_PATH, CheckoutEvents(watches))
    app.add_route(LOGO_PATH, CheckoutLogo(core))
    add_documentation(app, is_production=settings.environment == "production")
    app.add_route(STATIC_PATH, StaticFiles())
    for path in OPENAPI_PATHS:
        app.add_route(path, OpenApi(path))
    return app


def _answer_errors_as_json(app: falcon.asgi.App[Any, Any]) -> None:
    app.add_error_handler(CoreError, _answer_refusal)
    app.add_error_handler(EdgeRefusal, _answer_refusal)
    app.add_error_handler(falcon.HTTPError, _answer_falcon_error)
    app.add_error_handler(Exception, _answer_bug)


async def _answer_refusal(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    error: CoreError | EdgeRefusal,
    _params: dict[str, Any],
) -> None:
    request: EdgeRequest = req.scope[REQUEST_KEY]
    status, headers, resp.data = refuse(req.scope, error)
    resp.status = falcon.code_to_http_status(status)
    resp.set_headers([(name.decode("ascii"), value.decode("ascii")) for name, value in headers])
    if isinstance(error, CoreError) and error.reason == "INTERNAL":
        edge_log.error("core call failed", route=request.route, **request.log_names())


async def _answer_falcon_error(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    error: falcon.HTTPError,
    params: dict[str, Any],
) -> None:
    """Only the router raises these: no such path, or no such method (also when it has never heard of the method)."""
    if error.headers:
        resp.set_headers(error.headers)
    refusal = (
        CoreError("NOT_FOUND") if isinstance(error, falcon.HTTPNotFound) else method_not_allowed()
    )
    await _answer_refusal(req, resp, refusal, params)


async def _answer_bug(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, error: Exception, params: dict[str, Any]
) -> None:
    edge_log.error("request failed", exc_info=error, **req.scope[REQUEST_KEY].log_names())
    await _answer_refusal(req, resp, CoreError("INTERNAL"), params)
