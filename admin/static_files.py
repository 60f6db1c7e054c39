"""Stylesheets and scripts: read once, served by a name that holds their hash, so that browsers keep them for ever.

A name is looked up among the files that were found at start; no path ever reaches the file system.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import falcon.asgi

from admin.edge import REQUEST_KEY

STATIC_PATH = "/admin/static/{name}"

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """One file as it is served."""

    content: bytes
    content_type: str
    served_as: str


@cache
def static_files() -> dict[str, StaticFile]:
    """By plain name, such as `console.css`."""
    root = files("admin").joinpath("static")
    return {
        item.name: _static_file(item)
        for folder in (root, root.joinpath("vendored"))
        for item in folder.iterdir()
        if _suffix(item.name) in _TYPES
    }


def static_url(name: str) -> str:
    """The address of a file; a new one when its content changes."""
    return STATIC_PATH.format(name=static_files()[name].served_as)


class StaticFiles:
    """GET /admin/static/{name}."""

    def __init__(self) -> None:
        self._by_served_name = {item.served_as: item for item in static_files().values()}

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """The file, or 404."""
        req.scope[REQUEST_KEY].route = STATIC_PATH
        found = self._by_served_name.get(name)
        if found is None:
            raise falcon.HTTPNotFound
        resp.content_type = found.content_type
        resp.set_header("cache-control", "public, max-age=31536000, immutable")
        resp.data = found.content


def _static_file(item: Traversable) -> StaticFile:
    content = item.read_bytes()
    stem, suffix = item.name.removesuffix(_suffix(item.name)), _suffix(item.name)
    digest = hashlib.sha256(content).hexdigest()[:12]
    return StaticFile(content, _TYPES[suffix], f"{stem}.{digest}{suffix}")


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]
