"""Puts the consoles together as one ASGI application."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import falcon
import falcon.asgi

from admin.console import Console
from admin.page import answer_error
from admin.static_files import STATIC_PATH, StaticFiles
from core_service.errors import CoreError

_log = logging.getLogger("admin")


def create_consoles(consoles: Iterable[Console]) -> falcon.asgi.App[Any, Any]:
    """Every page of the consoles, and the static files that they share."""
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    app.req_options.auto_parse_qs_csv = False
    by_prefix = {console.prefix: console for console in consoles}
    for console in by_prefix.values():
        for family in console.families:
            for page in family.pages:
                app.add_route(page.path, page(console))
    app.add_route(STATIC_PATH, StaticFiles())
    _answer_errors_with_pages(app, by_prefix)
    return app


def _answer_errors_with_pages(
    app: falcon.asgi.App[Any, Any], by_prefix: Mapping[str, Console]
) -> None:
    def console_of(req: falcon.asgi.Request) -> Console:
        return by_prefix["/" + req.path.split("/", 2)[1]]

    async def answer_falcon_error(
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        error: falcon.HTTPError,
        _params: dict[str, Any],
    ) -> None:
        answer_error(req, resp, console_of(req), CoreError("NOT_FOUND"))
        resp.status = error.status
        resp.set_headers(error.headers or {})

    async def answer_bug(
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        error: Exception,
        _params: dict[str, Any],
    ) -> None:
        _log.error("page failed", exc_info=error)
        answer_error(req, resp, console_of(req), CoreError("INTERNAL"))

    app.add_error_handler(falcon.HTTPError, answer_falcon_error)
    app.add_error_handler(Exception, answer_bug)
