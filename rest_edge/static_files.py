"""Stylesheets, scripts and pictures of the edge's own pages.

Their addresses carry a checksum, so a browser may keep them for ever and never has an old one.
"""

import hashlib
from importlib.resources import files

import falcon.asgi

from core_service.errors import CoreError
from rest_edge.middleware import REQUEST_KEY

STATIC_PATH = "/static/{name}"

_CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def _read() -> dict[str, bytes]:
    folder = files("rest_edge").joinpath("static")
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}


_FILES = _read()


def static_url(name: str) -> str:
    """The address of a file, with a checksum of its content."""
    return f"/static/{name}?v={hashlib.sha256(_FILES[name]).hexdigest()[:12]}"


class StaticFiles:
    """GET /static/{name}."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """One of the files that were there when the process started."""
        req.scope[REQUEST_KEY].route = STATIC_PATH
        content = _FILES.get(name)
        if content is None:
            raise CoreError("NOT_FOUND")
        resp.content_type = _CONTENT_TYPES[name.rpartition(".")[2]]
        resp.set_header("cache-control", "public, max-age=31536000, immutable")
        resp.data = content
