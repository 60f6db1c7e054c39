"""The documentation: guides, reference and search, in both languages, without any outside resource.

    /docs                          what there is
    /docs/guides/{slug}            a guide
    /docs/reference/{operation}    an operation of the OpenAPI document
    /docs/try                      Swagger UI that signs; not in production
    /docs/search.json              what the filter box looks through
    /docs/static/…                 stylesheet, scripts, Swagger UI

A page is made when it is first asked for, and kept. `?lang=` chooses the language, else the browser's.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import falcon.asgi
from markupsafe import Markup

from core_service.errors import CoreError
from rest_edge.documentation_texts import TEXTS
from rest_edge.guide_pages import GUIDES, Guide, guide_html, load_guide
from rest_edge.middleware import REQUEST_KEY
from rest_edge.pages import chosen_language, render, show
from rest_edge.reference_pages import (
    SECTIONS,
    operation_view,
    operations_of,
    search_words,
    text,
)
from rest_edge.state_diagrams import order_states, refund_states

DOCS_PATH = "/docs"
GUIDE_PATH = "/docs/guides/{slug}"
REFERENCE_PATH = "/docs/reference/{operation}"
TRY_PATH = "/docs/try"
SEARCH_PATH = "/docs/search.json"
STATIC_PATH = "/docs/static"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TRY_POLICY = _POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""Swagger UI's stylesheet has its arrows in `data:` addresses."""


def add_documentation(app: falcon.asgi.App[Any, Any], *, is_production: bool) -> None:
    """Mount every page. Real keys are not to be typed into a page, so production has nothing to try them on."""
    site = Site(can_try=not is_production)
    app.add_route(DOCS_PATH, Home(site))
    app.add_route(GUIDE_PATH, GuidePage(site))
    app.add_route(REFERENCE_PATH, ReferencePage(site))
    app.add_route(SEARCH_PATH, Search(site))
    if site.can_try:
        app.add_route(TRY_PATH, TryPage(site))
    with_files = Path(str(files("rest_edge"))) / "static" / "docs"
    app.add_static_route(STATIC_PATH, with_files)


class Site:
    """What all pages share: the document, the guides, the navigation."""

    def __init__(self, *, can_try: bool) -> None:
        self.can_try = can_try
        self.document = json.loads(files("rest_edge").joinpath("openapi.json").read_bytes())
        self.operations = operations_of(self.document)
        self.guides = {
            language: {slug: load_guide(slug, language) for slug in GUIDES} for language in TEXTS
        }

    def page(self, template: str, language: str, here: str, **values: Any) -> bytes:
        """A page; `here` is its address."""
        return render(
            f"docs/{template}",
            language,
            texts=TEXTS[language],
            here=here,
            can_try=self.can_try,
            guides=self.guides[language].values(),
            sections=self._sections(language),
            **values,
        )

    def _sections(self, language: str) -> dict[str, list[Any]]:
        sections: dict[str, list[Any]] = {name: [] for name in SECTIONS}
        for operation in self.operations.values():
            if not operation.is_deprecated:
                sections[operation.section].append((operation, operation.title(language)))
        return sections

    def error_table(self, language: str) -> Markup:
        """Every code, what it means and what to do."""
        rows = [
            Markup(
                '<tr id="{0}"><td>{1}</td><td><code>{0}</code></td><td>{2}</td><td>{3}</td></tr>'
            ).format(
                code,
                words["status"],
                text(words, "description", language),
                text(words, "action", language),
            )
            for code, words in self.document["x-errors"].items()
        ]
        heads = [TEXTS[language][key] for key in ("status", "code", "what", "action")]
        return Markup(
            '<div class="scroll" tabindex="0"><table class="codes"><thead><tr>{}</tr></thead>'
            "<tbody>{}</tbody></table></div>"
        ).format(
            Markup().join(Markup("<th>{}</th>").format(head) for head in heads),
            Markup().join(rows),
        )


class _Page:
    """A page of the site; the subclass says what is on it."""

    policy = _POLICY

    def __init__(self, site: Site) -> None:
        self.site = site
        self._made = lru_cache(maxsize=512)(self.make)

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: str
    ) -> None:
        """The page in the reader's language."""
        req.scope[REQUEST_KEY].route = req.uri_template
        language = chosen_language(req, resp)
        show(resp, self._made(language, *params.values()), language, policy=self.policy)

    def make(self, language: str, *params: str) -> bytes:
        raise NotImplementedError


class Home(_Page):
    """GET /docs."""

    def make(self, language: str, *_params: str) -> bytes:
        return self.site.page("home.html", language, DOCS_PATH)


class GuidePage(_Page):
    """GET /docs/guides/{slug}."""

    def make(self, language: str, *params: str) -> bytes:
        guides = self.site.guides[language]
        guide = guides.get(params[0])
        if guide is None:
            raise CoreError("NOT_FOUND")
        position = GUIDES.index(guide.slug)
        inserts = {
            "error table": self.site.error_table,
            "order states": lambda chosen: order_states(TEXTS[chosen]["order_states"]),
            "refund states": lambda chosen: refund_states(TEXTS[chosen]["refund_states"]),
        }
        return self.site.page(
            "guide.html",
            language,
            f"/docs/guides/{guide.slug}",
            guide=guide,
            content=guide_html(guide, inserts),
            before=_at(guides, position - 1),
            after=_at(guides, position + 1),
        )


def _at(guides: Mapping[str, Guide], position: int) -> Guide | None:
    return guides[GUIDES[position]] if 0 <= position < len(GUIDES) else None


class ReferencePage(_Page):
    """GET /docs/reference/{operation}."""

    def make(self, language: str, *params: str) -> bytes:
        operation = self.site.operations.get(params[0])
        if operation is None:
            raise CoreError("NOT_FOUND")
        view = operation_view(operation, self.site.document["x-errors"], language)
        here = f"/docs/reference/{operation.id}"
        return self.site.page("operation.html", language, here, operation=view)


class TryPage(_Page):
    """GET /docs/try."""

    policy = _TRY_POLICY

    def make(self, language: str, *_params: str) -> bytes:
        return self.site.page("try.html", language, TRY_PATH)


class Search:
    """GET /docs/search.json: address → words, for the filter box."""

    def __init__(self, site: Site) -> None:
        words = {
            f"/docs/reference/{name}": search_words(operation)
            for name, operation in site.operations.items()
            if not operation.is_deprecated
        }
        for slug in GUIDES:
            sources = [guides[slug].source for guides in site.guides.values()]
            words[f"/docs/guides/{slug}"] = " ".join("\n".join(sources).lower().split())
        words["/docs/guides/errors"] += " " + " ".join(site.document["x-errors"]).lower()
        self._index = json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The same for everybody."""
        req.scope[REQUEST_KEY].route = SEARCH_PATH
        resp.content_type = "application/json"
        resp.data = self._index
