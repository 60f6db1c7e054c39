"""Puts the edge together: `create_app` for tests and other hosts, `get_app` for gunicorn."""

from typing import Any

import falcon
import falcon.asgi

from core_service.errors import CoreError
from rest_edge.admission import Admission
from rest_edge.checkout_watch import EVENTS_PATH, CheckoutEvents, CheckoutWatches
from rest_edge.console_session import SESSION_PATH, ConsoleGuard, ConsoleSession
from rest_edge.core_connection import CoreConnection
from rest_edge.documentation import DOCS_PATH, Documentation
from rest_edge.errors import EdgeRefusal, error_body, method_not_allowed, retry_after_seconds
from rest_edge.health import HEALTH_PATH, Health
from rest_edge.hosted_checkout import (
    LOGO_PATH,
    PAY_PATH,
    RETURN_PATH,
    CheckoutLogo,
    CheckoutPage,
)
from rest_edge.logs import edge_log
from rest_edge.middleware import REQUEST_KEY, EdgeMiddleware
from rest_edge.openapi import OPENAPI_PATHS, OpenApi
from rest_edge.provider_callbacks import ALIPAY_PATH, WXPAY_PATH, AlipayCallback, WxpayCallback
from rest_edge.settings import Settings, load_settings
from rest_edge.static_files import STATIC_PATH, StaticFiles
from rest_edge.transcoding import add_rpc_routes


def create_app(settings: Settings) -> EdgeMiddleware:
    """The whole edge as one ASGI application; its lifespan opens and closes the connection to the core."""
    core = CoreConnection(settings)
    guard = ConsoleGuard(settings)
    watches = CheckoutWatches(core)
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
    app.add_route(DOCS_PATH, Documentation())
    app.add_route(STATIC_PATH, StaticFiles())
    for path in OPENAPI_PATHS:
        app.add_route(path, OpenApi(path))
    return EdgeMiddleware(
        app,
        admission=Admission(settings.calls_at_once),
        trusted_proxies=settings.trusted_proxies,
        is_https=settings.is_https,
        on_drain=watches.drain,
    )


def get_app() -> EdgeMiddleware:
    """For gunicorn: settings from the environment."""
    return create_app(load_settings())


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
    request_id = req.scope[REQUEST_KEY].request_id
    status, resp.data = error_body(error, request_id)
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = "application/json"
    wait = retry_after_seconds(error)
    if wait is not None:
        resp.set_header("retry-after", str(wait))
    if isinstance(error, CoreError) and error.reason == "INTERNAL":
        edge_log.error(
            "core call failed", request_id=request_id, route=req.scope[REQUEST_KEY].route
        )


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
    edge_log.error("request failed", request_id=req.scope[REQUEST_KEY].request_id, exc_info=error)
    await _answer_refusal(req, resp, CoreError("INTERNAL"), params)
