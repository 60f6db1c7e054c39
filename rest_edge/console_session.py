"""Operators' sessions over HTTP: sign in, show, sign out, and the guard of every other operator route.

The session token lives in a cookie that scripts cannot read; the core stores only its hash. The CSRF token is
`sha256("csrf:" + session token)`: the core hands it out, and the edge can check it without a store.
"""

import hashlib
import hmac
import re
from urllib.parse import urlsplit

import falcon.asgi

from core_service.errors import CoreError
from novapay.access.v1 import access_service_pb2
from rest_edge.authentication import session_metadata
from rest_edge.core_connection import CoreConnection, method_named
from rest_edge.errors import invalid_field
from rest_edge.json_codec import Violations, decoder_for, encoder_for
from rest_edge.middleware import REQUEST_KEY, EdgeRequest
from rest_edge.settings import Settings
from rest_edge.strict_json import InvalidJson, load_object

SESSION_PATH = "/api/admin/session"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,128}")


def csrf_token(session_token: str) -> str:
    """The token that pages send back in `x-csrf-token`."""
    return hashlib.sha256(f"csrf:{session_token}".encode("ascii")).hexdigest()


class ConsoleGuard:
    """Reads the session cookie and refuses changes that may come from another site."""

    def __init__(self, settings: Settings) -> None:
        base = urlsplit(settings.public_base_url)
        self._origin = f"{base.scheme}://{base.netloc}".lower()
        self.is_https = settings.is_https
        self.cookie_name = (
            "__Host-novapay_admin_session" if self.is_https else "novapay_admin_session"
        )

    def session_token(self, req: falcon.asgi.Request) -> str:
        """The token in the cookie; raises ADMIN_UNAUTHENTICATED."""
        values = req.get_cookie_values(self.cookie_name) or []
        if len(values) != 1 or not _TOKEN.fullmatch(values[0]):
            raise CoreError("ADMIN_UNAUTHENTICATED")
        return values[0]

    def check_change(self, req: falcon.asgi.Request, request: EdgeRequest, token: str) -> None:
        """A change needs proof that a page of this site sent it, and a body that a plain HTML form cannot send."""
        given = request.header(b"x-csrf-token")
        has_token = given is not None and hmac.compare_digest(
            given.strip(), csrf_token(token).encode("ascii")
        )
        if not has_token and not self._comes_from_here(request):
            raise CoreError("CSRF_REJECTED")
        if request.body:
            require_json(req)

    def check_sign_in(self, req: falcon.asgi.Request, request: EdgeRequest) -> None:
        """Programs send no Origin and may sign in; a page of another site may not."""
        if request.header(b"origin") is not None and not self._comes_from_here(request):
            raise CoreError("CSRF_REJECTED")
        require_json(req)

    def _comes_from_here(self, request: EdgeRequest) -> bool:
        """Whether Origin, or Referer without it, is the public address or the host that was asked."""
        source = request.header(b"origin") or request.header(b"referer")
        if source is None:
            return False
        try:
            parts = urlsplit(source.decode("ascii"))
        except ValueError:
            return False
        if not parts.scheme or not parts.netloc:
            return False
        if f"{parts.scheme}://{parts.netloc}".lower() == self._origin:
            return True
        host = request.header(b"host")
        scheme = "https" if self.is_https else "http"
        return (
            host is not None
            and parts.scheme == scheme
            and parts.netloc.lower() == host.decode("latin-1").lower()
        )


def require_json(req: falcon.asgi.Request) -> None:
    """400 unless the body is declared as JSON."""
    declared = (req.content_type or "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise invalid_field("content-type", "must be application/json")


class ConsoleSession:
    """POST, GET and DELETE on `/api/admin/session`."""

    def __init__(self, core: CoreConnection, guard: ConsoleGuard) -> None:
        self._guard = guard
        self._core = core
        self._decode_sign_in = decoder_for(access_service_pb2.SignInRequest.DESCRIPTOR)
        self._encode_session = encoder_for(access_service_pb2.GetSessionResponse.DESCRIPTOR)

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Sign in; the answer has no session token, only the cookie has."""
        request = _request(req)
        self._guard.check_sign_in(req, request)
        message = self._sign_in_request(request)
        answer = await self._core.ask(method_named("AccessService.SignIn"), message, request)
        resp.append_header("set-cookie", self._cookie(answer.session_token))
        self._show(
            resp,
            access_service_pb2.GetSessionResponse(
                operator=answer.operator, csrf_token=answer.csrf_token, expires_at=answer.expires_at
            ),
        )

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Who is signed in."""
        request = _request(req)
        token = self._guard.session_token(req)
        answer = await self._core.ask(
            method_named("AccessService.GetSession"),
            access_service_pb2.GetSessionRequest(),
            request,
            session_metadata(token),
        )
        self._show(resp, answer)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Sign out on the server and drop the cookie."""
        request = _request(req)
        token = self._guard.session_token(req)
        self._guard.check_change(req, request, token)
        await self._core.ask(
            method_named("AccessService.SignOut"),
            access_service_pb2.SignOutRequest(),
            request,
            session_metadata(token),
        )
        resp.append_header("set-cookie", self._cookie("") + "; Max-Age=0")
        resp.status = falcon.HTTP_204

    def _sign_in_request(self, request: EdgeRequest) -> access_service_pb2.SignInRequest:
        try:
            document = load_object(request.body)
        except InvalidJson:
            raise CoreError("INVALID_JSON") from None
        violations = Violations(
            [(path, "has a character that is not allowed") for path in document.forbidden.values()]
        )
        message = access_service_pb2.SignInRequest()
        self._decode_sign_in.fill(message, document.value, violations)
        if violations.items:
            raise invalid_field(*violations.items[0])
        return message

    def _cookie(self, token: str) -> str:
        secure = "; Secure" if self._guard.is_https else ""
        return f"{self._guard.cookie_name}={token}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def _show(
        self, resp: falcon.asgi.Response, session: access_service_pb2.GetSessionResponse
    ) -> None:
        resp.content_type = "application/json"
        resp.data = self._encode_session(session).encode()


def _request(req: falcon.asgi.Request) -> EdgeRequest:
    request: EdgeRequest = req.scope[REQUEST_KEY]
    request.route = SESSION_PATH
    return request
