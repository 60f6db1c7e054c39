"""Who is calling: by service token or client certificate, a merchant's signature, or a session.

A peer is trusted to speak for others when it is on this host or shows a client certificate. Only
from such a peer the core takes a forwarded client address, and the bytes that a merchant signed: a
stranger could sign one body and send another message.
"""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any
from urllib.parse import unquote

import grpc

from core_service import metadata
from core_service.application import access, sessions, staff_sessions
from core_service.application.access import SignedRequest
from core_service.calls import Call, OperatorIdentity, Principal
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.schema import Method

Values = Mapping[str, bytes]


@dataclass(frozen=True)
class Peer:
    """The other end of the connection."""

    address: str | None
    """Textual IP address; None on a Unix socket."""
    has_certificate: bool
    """Shown, and checked by TLS."""

    @cached_property
    def is_trusted(self) -> bool:
        """Whether the peer may speak for others."""
        if self.has_certificate or self.address is None:
            return True
        return ipaddress.ip_address(self.address).is_loopback


def peer_of(context: grpc.ServicerContext) -> Peer:
    """Read the transport, which no caller can forge."""
    certificate = context.auth_context().get("x509_pem_cert")
    return _peer(context.peer(), has_certificate=bool(certificate))


@lru_cache(maxsize=1024)
def _peer(transport: str, *, has_certificate: bool) -> Peer:
    kind, _, rest = transport.partition(":")
    if kind == "unix":
        return Peer(None, has_certificate=has_certificate)
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    return Peer(_unmapped(host), has_certificate=has_certificate)


def metadata_values(entries: Iterable[tuple[str, str | bytes]]) -> Values:
    """By name. A name that comes twice counts as absent: no two readers shall pick different ones."""
    values: dict[str, bytes] = {}
    repeated = set()
    for name, value in entries:
        if name in values:
            repeated.add(name)
        values[name] = value.encode("utf-8") if isinstance(value, str) else value
    return {name: value for name, value in values.items() if name not in repeated}


def client_address(peer: Peer, values: Values) -> str | None:
    """Find the address of whoever stands behind the call."""
    forwarded = values.get(metadata.CLIENT_ADDRESS)
    if not forwarded or not peer.is_trusted:
        return peer.address
    try:
        return _unmapped(forwarded.decode("ascii"))
    except ValueError:
        return None


class Callers:
    """Decides what kind of caller this is and whether it may call the method."""

    def __init__(self, service_token: str) -> None:
        self._bearer = f"Bearer {service_token}".encode()

    def identify(
        self, call: Call, method: Method, peer: Peer, values: Values, request: Any
    ) -> None:
        """Fill in who is calling. Raises CoreError of the families UNAUTHENTICATED and onwards."""
        call.principal = self.principal_of(method, peer, values)
        match call.principal:
            case Principal.MERCHANT:
                _identify_merchant(call, peer, values, request)
            case Principal.OPERATOR:
                _identify_operator(call, method, values)
            case Principal.STAFF:
                _identify_staff(call, method, values, request)

    def principal_of(self, method: Method, peer: Peer, values: Values) -> Principal:
        """What kind of caller this says to be; costs nothing.

        A credential that is sent must be right, whatever else would do for the method.
        """
        allowed = method.principals
        if metadata.SERVICE_TOKEN in values:
            if not hmac.compare_digest(values[metadata.SERVICE_TOKEN], self._bearer):
                raise CoreError("UNAUTHENTICATED")
            return Principal.SERVICE
        if Principal.MERCHANT in allowed and not values.keys().isdisjoint(_MERCHANT_VALUES):
            return Principal.MERCHANT
        if Principal.OPERATOR in allowed and metadata.SESSION_TOKEN in values:
            return Principal.OPERATOR
        if Principal.STAFF in allowed and metadata.STAFF_SESSION_TOKEN in values:
            return Principal.STAFF
        if Principal.PUBLIC in allowed:
            return Principal.PUBLIC
        # Whoever calls for somebody else says whom: then the certificate is not that one's.
        if peer.has_certificate and metadata.CLIENT_ADDRESS not in values:
            return Principal.SERVICE
        raise CoreError(_MISSING[next(kind for kind in _MISSING if kind in allowed)])


_MERCHANT_VALUES = frozenset(
    {
        metadata.API_KEY,
        metadata.TIMESTAMP,
        metadata.NONCE,
        metadata.SIGNATURE,
        metadata.SIGNED_BODY,
    }
)

_MISSING: Mapping[Principal, str] = {
    Principal.MERCHANT: "API_KEY_REQUIRED",
    Principal.OPERATOR: "ADMIN_UNAUTHENTICATED",
    Principal.STAFF: "STAFF_UNAUTHENTICATED",
    Principal.SERVICE: "UNAUTHENTICATED",
}


def _identify_merchant(call: Call, peer: Peer, values: Values, request: Any) -> None:
    if not peer.is_trusted:
        raise CoreError("PERMISSION_DENIED", "Merchants call over HTTP.")
    if not request.merchant_code:
        raise invalid_request(FieldViolation("merchantCode", "is required"))
    call.merchant, call.unspent_nonce = access.authenticate_signed_request(
        SignedRequest(
            key_id=values.get(metadata.API_KEY, b""),
            timestamp=values.get(metadata.TIMESTAMP, b""),
            nonce=values.get(metadata.NONCE, b""),
            signature=values.get(metadata.SIGNATURE, b""),
            body=values.get(metadata.SIGNED_BODY, b""),
            merchant_code=request.merchant_code,
            client_address=call.client_address,
        ),
        now=datetime.now(UTC),
    )


_WITHOUT_OWN_PASSWORD = frozenset({"GetSession", "SignOut", "ChangePassword"})
"""What somebody may call whose password was made by somebody else."""


def _identify_operator(call: Call, method: Method, values: Values) -> None:
    token = values[metadata.SESSION_TOKEN]
    operator = sessions.session_of(token, now=datetime.now(UTC)).operator
    call.session_token = token
    call.operator = OperatorIdentity(operator.id, operator.email, operator.role)
    if operator.role not in method.roles:
        raise CoreError("PERMISSION_DENIED")
    if operator.must_change_password and method.name not in _WITHOUT_OWN_PASSWORD:
        raise CoreError("PASSWORD_CHANGE_REQUIRED")


def _identify_staff(call: Call, method: Method, values: Values, request: Any) -> None:
    """The session says which merchant it is about, whatever the request says."""
    token = values[metadata.STAFF_SESSION_TOKEN]
    member = staff_sessions.session_of(token, now=datetime.now(UTC)).member
    call.session_token = token
    call.staff = staff_sessions.identity(member)
    if member.row.role not in method.staff_roles:
        raise CoreError("PERMISSION_DENIED")
    if member.row.must_change_password and method.name not in _WITHOUT_OWN_PASSWORD:
        raise CoreError("PASSWORD_CHANGE_REQUIRED")
    if "merchant_code" not in request.DESCRIPTOR.fields_by_name:
        return
    if not request.merchant_code:
        request.merchant_code = member.merchant_code
    elif request.merchant_code != member.merchant_code:
        raise CoreError("MERCHANT_NOT_FOUND")


@lru_cache(maxsize=4096)
def _unmapped(text: str) -> str:
    """Canonical text of an address, ::ffff:1.2.3.4 as IPv4. Raises ValueError."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
