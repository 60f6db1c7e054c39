"""Session cookies of the consoles, and the proof that a change comes from a page of this site.

The session token lives in a cookie that scripts cannot read; the core stores only its hash. The CSRF token is
`sha256("csrf:" + session token)`: the core hands it out, and the edge can check it without a store.
"""

import hashlib
import hmac
import re
from urllib.parse import urlsplit

import falcon.asgi

from core_service.errors import CoreError
from rest_edge.errors import invalid_field
from rest_edge.middleware import EdgeRequest
from rest_edge.settings import Settings

ADMIN_COOKIE = "novapay_admin_session"
MERCHANT_COOKIE = "novapay_merchant_session"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,128}")


def csrf_token(session_token: str) -> str:
    """The token that pages send back in `x-csrf-token`."""
    return hashlib.sha256(f"csrf:{session_token}".encode("ascii")).hexdigest()


class ConsoleGuard:
    """Reads and writes the session cookie of one console and refuses changes that may come from another site."""

    def __init__(self, settings: Settings, cookie_name: str = ADMIN_COOKIE) -> None:
        base = urlsplit(settings.public_base_url)
        self._origin = f"{base.scheme}://{base.netloc}".lower()
        self.is_https = settings.is_https
        self.cookie_name = f"__Host-{cookie_name}" if self.is_https else cookie_name

    def session_token(self, req: falcon.asgi.Request) -> str:
        """The token in the cookie; raises ADMIN_UNAUTHENTICATED."""
        values = req.get_cookie_values(self.cookie_name) or []
        if len(values) != 1 or not _TOKEN.fullmatch(values[0]):
            raise CoreError("ADMIN_UNAUTHENTICATED")
        return values[0]

    def cookie(self, token: str) -> str:
        """A `Set-Cookie` value that keeps the token; with an empty token one that drops it."""
        secure = "; Secure" if self.is_https else ""
        ended = "" if token else "; Max-Age=0"
        return f"{self.cookie_name}={token}; Path=/; HttpOnly; SameSite=Lax{secure}{ended}"

    def check_change(self, req: falcon.asgi.Request, request: EdgeRequest, token: str) -> None:
        """A change needs proof that a page of this site sent it, and a body that a plain HTML form cannot send."""
        given = request.header(b"x-csrf-token")
        has_token = given is not None and hmac.compare_digest(
            given.strip(), csrf_token(token).encode("ascii")
        )
        if not has_token and not self.comes_from_here(request):
            raise CoreError("CSRF_REJECTED")
        if request.body:
            require_json(req)

    def check_sign_in(self, req: falcon.asgi.Request, request: EdgeRequest) -> None:
        """Programs send no Origin and may sign in; a page of another site may not."""
        if request.header(b"origin") is not None and not self.comes_from_here(request):
            raise CoreError("CSRF_REJECTED")
        require_json(req)

    def comes_from_here(self, request: EdgeRequest) -> bool:
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
