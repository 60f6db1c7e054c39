"""What the consoles need of the edge that serves them; the edge's own classes have these shapes.

Written as protocols because the two deployables never import each other.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import falcon.asgi
from google.protobuf.message import Message

from core_service.schema import Method

REQUEST_KEY = "novapay.request"
"""Where the edge leaves its request in the ASGI scope."""


class EdgeRequest(Protocol):
    """One request as the edge read it."""

    request_id: str
    body: bytes
    client_address: str
    route: str
    """Set by whoever serves the request; the access log shows it."""

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that is there exactly once."""


class Core(Protocol):
    """The connection to the core."""

    async def ask(
        self,
        method: Method,
        message: Message,
        request: Any,
        metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> Any:
        """The answer of an RPC. Raises CoreError."""


class Guard(Protocol):
    """Session cookies of one console, and where its requests may come from."""

    def session_token(self, req: falcon.asgi.Request) -> str:
        """The token in the cookie. Raises ADMIN_UNAUTHENTICATED."""

    def comes_from_here(self, request: Any) -> bool:
        """Whether Origin, or Referer without it, is this site."""

    def cookie(self, token: str) -> str:
        """A `Set-Cookie` value that keeps the token; with an empty token one that drops it."""
