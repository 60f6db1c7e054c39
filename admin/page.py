"""A page: `get` shows it, `do_<action>` is what its forms do. Everything around that is here.

In this order: language and theme, the session (else to the sign-in page), the role, and for a form where it comes from
and its CSRF token. A `CoreError` from `get` becomes an error page; one from an action shows the page again with it.
"""

import hmac
from typing import ClassVar
from urllib.parse import quote

import falcon
import falcon.asgi

from admin.console import Console
from admin.edge import REQUEST_KEY, EdgeRequest
from admin.forms import Form, read_form
from admin.layout.view import error_page
from admin.texts import LANGUAGES, language_of
from admin.visit import FLASH_COOKIE, Reply, Visit, forget_flash, read_flash
from core_service.errors import CoreError, Family

LANGUAGE_COOKIE = "novapay_language"
THEME_COOKIE = "novapay_theme"
THEMES = ("light", "dark")
CSRF_FIELD = "csrfToken"

_YEAR_SECONDS = 365 * 24 * 3600
_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


class Page:
    """A Falcon resource. Subclasses set `path` and `rpc` and define `get` and `do_<action>`."""

    path: ClassVar[str]
    """Falcon's URI template; its fields arrive as arguments of `get` and of the actions."""
    rpc: ClassVar[str] = ""
    """The RPC that the page is about, `Service.Name`: whoever may call it may see the page. Empty: everybody."""

    def __init__(self, console: Console) -> None:
        self.console = console

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """Show the page. May raise CoreError."""
        raise NotImplementedError

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: str
    ) -> None:
        """Falcon responder."""
        visit = self._visit(req)
        choice = _choice(req, visit)
        _apply(resp, visit, choice or await self._answer(req, visit, params))

    async def on_post(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **params: str
    ) -> None:
        """Falcon responder: the form field `action` says which `do_<action>`."""
        visit = self._visit(req)
        _apply(resp, visit, await self._answer(req, visit, params, is_post=True))

    async def _answer(
        self,
        req: falcon.asgi.Request,
        visit: Visit,
        params: dict[str, str],
        *,
        is_post: bool = False,
    ) -> Reply:
        try:
            if self.rpc:
                await self._identify(req, visit)
            if is_post:
                self._read_form(req, visit)
                return await self._act(visit, params)
            return await self.get(visit, **params)
        except CoreError as error:
            return self._refused(error, visit)

    async def _identify(self, req: falcon.asgi.Request, visit: Visit) -> None:
        token = self.console.guard.session_token(req)
        visit.viewer = await self.console.viewer(visit.request, token)
        if not visit.may(self.rpc):
            raise CoreError("PERMISSION_DENIED")

    async def _act(self, visit: Visit, params: dict[str, str]) -> Reply:
        action = getattr(self, f"do_{visit.form.get('action', '')}", None)
        if action is None:
            raise CoreError("NOT_FOUND")
        try:
            reply: Reply = await action(visit, **params)
        except CoreError as error:
            if error.family is Family.UNAUTHENTICATED and visit.viewer is not None:
                raise
            visit.failure = error
            reply = await self.get(visit, **params)
            reply.status = error_page(error, visit).status
        return reply

    def _refused(self, error: CoreError, visit: Visit) -> Reply:
        if error.family is Family.UNAUTHENTICATED and self.rpc:
            wanted = quote(visit.here(), safe="")
            return visit.redirect(f"{self.console.sign_in_path}?next={wanted}")
        if error.reason == "PASSWORD_CHANGE_REQUIRED" and self.path != self.console.password_path:
            return visit.redirect(self.console.password_path)
        return error_page(error, visit)

    def _read_form(self, req: falcon.asgi.Request, visit: Visit) -> None:
        if not self.console.guard.comes_from_here(visit.request):
            raise CoreError("CSRF_REJECTED")
        visit.form = read_form(req.content_type, visit.request.body)
        if visit.viewer is not None and not hmac.compare_digest(
            visit.form.get(CSRF_FIELD, "").encode(), visit.viewer.csrf_token.encode()
        ):
            raise CoreError("CSRF_REJECTED")

    def _visit(self, req: falcon.asgi.Request) -> Visit:
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = self.path
        return visit_of(req, self.console)


def visit_of(req: falcon.asgi.Request, console: Console) -> Visit:
    """A visit by somebody yet unknown."""
    theme = req.cookies.get(THEME_COOKIE, "")
    return Visit(
        console=console,
        request=req.scope[REQUEST_KEY],
        path=req.path,
        query={
            name: value if isinstance(value, str) else value[-1]
            for name, value in req.params.items()
        },
        form=Form(),
        language=language_of(req.cookies.get(LANGUAGE_COOKIE), req.get_header("accept-language")),
        theme=theme if theme in THEMES else "",
        flash=read_flash(req.cookies.get(FLASH_COOKIE)),
    )


def _choice(req: falcon.asgi.Request, visit: Visit) -> Reply | None:
    """`?lang=` and `?theme=` are kept in a cookie, and the page is shown without them."""
    for parameter, cookie, allowed in (
        ("lang", LANGUAGE_COOKIE, LANGUAGES),
        ("theme", THEME_COOKIE, (*THEMES, "auto")),
    ):
        wanted = req.get_param(parameter)
        if wanted in allowed:
            scope = f"Path=/; HttpOnly; SameSite=Lax; Max-Age={_YEAR_SECONDS}"
            return Reply(
                status=303,
                headers=[
                    ("location", visit.here(**{parameter: None})),
                    ("set-cookie", f"{cookie}={wanted}; {scope}"),
                ],
            )
    return None


def _apply(resp: falcon.asgi.Response, visit: Visit, reply: Reply) -> None:
    resp.status = falcon.code_to_http_status(reply.status)
    resp.content_type = reply.content_type
    resp.set_header("content-security-policy", _POLICY)
    # With no-referrer a browser would send `Origin: null` with our own forms.
    resp.set_header("referrer-policy", "same-origin")
    resp.set_header("vary", "accept-language, cookie")
    if reply.content_type.startswith("text/html"):
        resp.set_header("content-language", visit.language)
        if visit.flash is not None and reply.body:
            resp.append_header("set-cookie", forget_flash())
    for name, value in reply.headers:
        if name == "set-cookie":
            resp.append_header(name, value)
        else:
            resp.set_header(name, value)
    if reply.stream is not None:
        resp.stream = reply.stream
    else:
        resp.data = reply.body


def answer_error(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, console: Console, error: CoreError
) -> None:
    """An error page for what no page of ours answered, such as an unknown path."""
    visit = visit_of(req, console)
    _apply(resp, visit, error_page(error, visit))
