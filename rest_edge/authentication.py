"""Who is calling, as call metadata. The edge checks nothing here: the core authenticates, with the bytes it gets.

A signing header that comes twice counts as absent, so that no two readers of one request can take different values.
Names with underscores never arrive: the server drops them.
"""

from core_service import metadata
from rest_edge.middleware import EdgeRequest

IDEMPOTENCY_KEY_HEADER = b"idempotency-key"

_SIGNING_HEADERS = {
    b"x-novapay-key": metadata.API_KEY,
    b"x-novapay-timestamp": metadata.TIMESTAMP,
    b"x-novapay-nonce": metadata.NONCE,
    b"x-novapay-signature": metadata.SIGNATURE,
}

Metadata = list[tuple[str, str | bytes]]


def signature_metadata(request: EdgeRequest) -> Metadata:
    """The merchant's signing headers and the raw bytes that they sign."""
    found: dict[str, bytes | None] = {}
    for name, value in request.headers:
        key = _SIGNING_HEADERS.get(name)
        if key is not None:
            found[key] = None if key in found else value.strip()
    credentials: Metadata = [(key, value) for key, value in found.items() if value]
    credentials.append((metadata.SIGNED_BODY, request.body))
    return credentials


def idempotency_key(request: EdgeRequest) -> bytes | None:
    """The raw value, also when empty; None without the header. Several headers make one value that is refused."""
    values = [value.strip() for name, value in request.headers if name == IDEMPOTENCY_KEY_HEADER]
    return b", ".join(values) if values else None


def session_metadata(token: str) -> Metadata:
    """An operator's session."""
    return [(metadata.SESSION_TOKEN, token.encode("ascii"))]
