"""How the edge itself refuses: JSON for programs, a small page in both languages for a browser.

Only requests outside of `/api` whose Accept has `text/html` get the page. The reader's language stands first.
"""

import re
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple

from core_service.errors import CoreError
from rest_edge.errors import EdgeRefusal, error_body, in_wechat_words, retry_after_seconds
from rest_edge.middleware import REQUEST_KEY, EdgeRequest, Scope
from rest_edge.pages import LANGUAGE_COOKIE, LANGUAGES, first_known_language, render

WXPAY_CALLBACKS = "/api/payments/callback/wxpay/"
_POLICY = (
    b"default-src 'none'; style-src 'self'; img-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_TEXTS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "zh-CN": {
        "missing": ("没有这个页面", "请检查地址是否完整。"),
        "large": ("提交的内容过大", "请缩短内容或换小一些的文件，再提交一次。"),
        "busy": ("系统繁忙", "请等几秒再试。如果您刚刚付过款，请不要重复付款。"),
        "failed": (
            "这个请求无法处理",
            "请返回上一页重试；仍然不行时，请把下面的请求编号告诉我们。",
        ),
    },
    "en": {
        "missing": ("There is no such page", "Check that the address is complete."),
        "large": (
            "What was sent is too large",
            "Shorten it or take a smaller file, and send again.",
        ),
        "busy": (
            "Too busy right now",
            "Wait a few seconds and try again. If you have just paid, do not pay again.",
        ),
        "failed": (
            "This request could not be handled",
            "Go back and try again; if it happens again, tell us the request id below.",
        ),
    },
}
_LINKS: Mapping[str, Mapping[str, str]] = {
    "zh-CN": {
        "/admin": "运营控制台",
        "/merchant": "商户控制台",
        "/docs": "开发文档",
        "/pay": "回到收银台",
        "": "再试一次",
    },
    "en": {
        "/admin": "Operators' console",
        "/merchant": "Merchant console",
        "/docs": "Documentation",
        "/pay": "Back to the checkout",
        "": "Try again",
    },
}
_KINDS: Mapping[int, str] = {404: "missing", 413: "large", 429: "busy", 503: "busy"}


class Answer(NamedTuple):
    """A refusal, ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def refuse(scope: Scope, error: CoreError | EdgeRefusal) -> Answer:
    """The answer to the request of this ASGI scope."""
    request: EdgeRequest = scope[REQUEST_KEY]
    status, body = error_body(error, request.request_id)
    if scope["path"].startswith(WXPAY_CALLBACKS):
        body = in_wechat_words(body)
    headers = [(b"content-type", b"application/json")]
    if _wants_page(scope["path"], request):
        first = _language(request)
        body = _page(first, status, scope["path"], request.request_id)
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-language", first.encode("ascii")),
            (b"content-security-policy", _POLICY),
            (b"vary", b"accept, accept-language, cookie"),
        ]
    wait = retry_after_seconds(error)
    if wait is not None:
        headers.append((b"retry-after", str(wait).encode("ascii")))
    return Answer(status, headers, body)


def _wants_page(path: str, request: EdgeRequest) -> bool:
    is_for_programs = path == "/api" or path.startswith("/api/")
    return not is_for_programs and b"text/html" in (request.header(b"accept") or b"").lower()


def _language(request: EdgeRequest) -> str:
    try:
        cookies = SimpleCookie((request.header(b"cookie") or b"").decode("latin-1"))
    except CookieError:
        cookies = SimpleCookie()
    kept = cookies[LANGUAGE_COOKIE].value if LANGUAGE_COOKIE in cookies else None
    accepted = (request.header(b"accept-language") or b"").decode("latin-1")
    return first_known_language(kept, *accepted.split(","))


def _page(first: str, status: int, path: str, request_id: str) -> bytes:
    kind = _KINDS.get(status, "failed")
    home, address = ("", "") if kind == "busy" else _home_of(path)
    sayings = [
        _saying(language, kind, home)
        for language in sorted(LANGUAGES, key=lambda language: language != first)
    ]
    return render("refusal.html", first, sayings=sayings, address=address, request_id=request_id)


def _home_of(path: str) -> tuple[str, str]:
    """Where to go on, and its address: the console or the order that was meant, else the documentation."""
    if order := _ORDER.match(path):
        return "/pay", order[0]
    first = "/" + path.removeprefix("/").partition("/")[0]
    home = first if first in ("/admin", "/merchant") else "/docs"
    return home, home


_ORDER = re.compile(r"/pay/\w{1,64}(?=/|$)", re.ASCII)


def _saying(language: str, kind: str, home: str) -> dict[str, Any]:
    title, next_step = _TEXTS[language][kind]
    return {
        "language": language,
        "title": title,
        "next_step": next_step,
        "link": _LINKS[language][home],
    }
