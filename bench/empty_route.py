"""A Falcon application with one empty route, under the settings of the edge: a floor piece of the bench."""

from typing import Any

import falcon.asgi

from rest_edge.settings import load_settings

wsgi_app = "bench.empty_route:get_app()"
worker_class = "asgi"
bind = load_settings().http_bind
workers = 1
http_parser = "python"
asgi_loop = "uvloop"
control_socket_disable = True
keepalive = 75


class _Empty:
    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.content_type = "application/json"
        resp.data = b"{}"


def get_app() -> falcon.asgi.App[Any, Any]:
    """For gunicorn."""
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App()
    app.add_route("/empty", _Empty())
    return app
