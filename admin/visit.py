"""One request for a page: who looks, what they sent, and the ways to answer."""

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from google.protobuf.message import Message

from admin import texts
from admin.console import Console, Viewer
from admin.edge import EdgeRequest
from admin.forms import Form
from core_service import metadata
from core_service.errors import CoreError
from core_service.schema import method_named

REASON_FIELD = "auditReason"
"""Form field of the confirmation dialogs: why somebody does something. It goes into the audit record."""

FLASH_COOKIE = "novapay_flash"
FLASH_SECONDS = 60


@dataclass
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: AsyncIterator[bytes] | None = None
    """Instead of `body`, for what is too large to hold."""


@dataclass
class Visit:
    """Everything that a page needs to know about one request."""

    console: Console
    request: EdgeRequest
    path: str
    """Without the query."""
    query: Mapping[str, str]
    form: Form
    language: str
    theme: str
    """light, dark, or empty: as the system has it."""
    viewer: Viewer | None = None
    flash: tuple[str, Mapping[str, str]] | None = None
    failure: CoreError | None = None
    """What the core refused when the form was sent; the page is shown again with it."""

    def t(self, key: str, /, **values: object) -> str:
        """A text in the viewer's language."""
        return texts.text(self.language, key, **values)

    def reason(self, english: str) -> str:
        """Why the core refuses a value, in the viewer's language."""
        return texts.reason(self.language, english)

    def may(self, rpc: str) -> bool:
        """Whether the viewer may call `Service.Name`."""
        return self.console.may(self.viewer, rpc)

    @property
    def errors(self) -> Mapping[str, str]:
        """What is wrong with each field of the form that was sent, by JSON name."""
        if self.failure is None:
            return {}
        return {item.field: self.reason(item.reason) for item in self.failure.violations}

    async def call(self, rpc: str, message: Message) -> Any:
        """The answer of `Service.Name`, asked as the viewer. Raises CoreError, which the page may leave alone.

        A reason that was given in a confirmation dialog goes along.
        """
        credentials: list[tuple[str, str | bytes]] = []
        if self.viewer is not None:
            credentials += self.console.credentials(self.viewer.token)
        reason = self.form.trimmed(REASON_FIELD)
        if reason:
            credentials.append((metadata.REASON, reason.encode("utf-8")))
        return await self.console.core.ask(method_named(rpc), message, self.request, credentials)

    def here(self, **changes: str | None) -> str:
        """The address of this page with parameters changed; None takes one away."""
        kept = {name: value for name, value in {**self.query, **changes}.items() if value}
        return f"{quote(self.path)}?{urlencode(kept)}" if kept else quote(self.path)

    def redirect(self, path: str, flash: str = "", /, **values: str) -> Reply:
        """See another page (303), which says `flash` (a text key) once at its top.

        Never for secrets: the message travels in a cookie. Show those in the answer itself.
        """
        reply = Reply(status=303, headers=[("location", path)])
        if self.request.header(
            b"hx-request"
        ):  # a redirect would be swapped into a part of the page
            reply = Reply(status=200, headers=[("hx-redirect", path)])
        if flash:
            packed = base64.urlsafe_b64encode(json.dumps([flash, values]).encode()).decode()
            reply.headers.append(
                ("set-cookie", f"{FLASH_COOKIE}={packed}; {_cookie_scope(FLASH_SECONDS)}")
            )
        return reply

    def download(self, filename: str, content_type: str, stream: AsyncIterator[bytes]) -> Reply:
        """A file to keep, such as CSV; sent as it is made."""
        return Reply(
            content_type=content_type,
            headers=[("content-disposition", f'attachment; filename="{filename}"')],
            stream=stream,
        )


def read_flash(packed: str | None) -> tuple[str, Mapping[str, str]] | None:
    """The message in the cookie. It is the viewer's own browser that keeps it: known keys only, and escaped."""
    try:
        key, values = json.loads(base64.urlsafe_b64decode(packed or ""))
        texts.text(texts.DEFAULT_LANGUAGE, key, **values)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None
    return key, values


def forget_flash() -> str:
    """A `Set-Cookie` value."""
    return f"{FLASH_COOKIE}=; {_cookie_scope(0)}"


def _cookie_scope(seconds: int) -> str:
    return f"Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}"


_SAFE_PATH = re.compile(r"/[A-Za-z0-9_~.%!$&'()*+,;=:@?/-]*")


def safe_return_path(wanted: str | None, console: Console) -> str:
    """`wanted` if it is a page of this console, else empty: nobody is sent to another site after signing in."""
    if not wanted or not _SAFE_PATH.fullmatch(wanted) or "//" in wanted or "/.." in wanted:
        return ""
    path = wanted.partition("?")[0]
    is_ours = path == console.prefix or path.startswith(f"{console.prefix}/")
    return wanted if is_ours and path != console.sign_in_path else ""
