"""HTML pages: templates, language, and the headers that every page gets. No inline scripts or styles."""

from typing import Any

import falcon.asgi
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from rest_edge.static_files import static_url

LANGUAGES = ("zh-CN", "en")
DEFAULT_LANGUAGE = "zh-CN"
LANGUAGE_COOKIE = "novapay_language"
"""The same as the consoles': whoever chose once has chosen, also when a wallet sends the payer back."""

_YEAR_SECONDS = 365 * 24 * 3600

_templates = Environment(
    loader=PackageLoader("rest_edge"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["static_url"] = static_url


def chosen_language(req: falcon.asgi.Request, resp: falcon.asgi.Response) -> str:
    """`?lang=`, which is kept in a cookie, else that cookie, else Accept-Language, else Chinese."""
    asked = req.get_param("lang")
    if asked in LANGUAGES:
        scope = f"Path=/; HttpOnly; SameSite=Lax; Max-Age={_YEAR_SECONDS}"
        resp.append_header("set-cookie", f"{LANGUAGE_COOKIE}={asked}; {scope}")
    kept = req.cookies.get(LANGUAGE_COOKIE)
    return first_known_language(asked, kept, *(req.get_header("accept-language") or "").split(","))


def first_known_language(*wanted: str | None) -> str:
    """The first that we have, by its first two letters, else Chinese."""
    for item in wanted[:16]:
        prefix = (item or "").strip().lower()[:2]
        for language in LANGUAGES:
            if language.lower().startswith(prefix) and len(prefix) == 2:
                return language
    return DEFAULT_LANGUAGE


def render(template: str, language: str, **values: Any) -> bytes:
    """A page as bytes."""
    text = _templates.get_template(template).render(language=language, **values)
    return text.encode("utf-8")


def show(
    resp: falcon.asgi.Response,
    page: bytes,
    language: str,
    status: int = 200,
    *,
    policy: str,
) -> None:
    """Answer with a page under a content security policy."""
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = "text/html; charset=utf-8"
    resp.set_header("content-language", language)
    resp.set_header("content-security-policy", policy)
    resp.set_header("vary", "accept-language, cookie")
    resp.data = page
