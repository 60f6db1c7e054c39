"""The only door out: HTTP to providers and to merchants.

One total deadline covers name resolution, connect, TLS, sending and reading. Nothing is done on the
caller's behalf: no redirects, no repeats, no proxy or netrc from the environment, no cookies, no
decompression. `ProviderClient` calls the hosts that an account configuration names;
`CallbackClient` calls addresses that merchants chose and therefore connects to public addresses
only.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util import SKIP_HEADER
from urllib3.util.wait import wait_for_read

from core_service import metrics, tracing, turns

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]
"""Host name and port → addresses as text. Raises OSError."""

CONNECT_SECONDS = 2.0
PROVIDER_ANSWER_LIMIT = 1024 * 1024
CALLBACK_READ_LIMIT = 64 * 1024
CALLBACK_KEEP_LIMIT = 4 * 1024

_PIECE = 16 * 1024
_HEAD_LIMIT = 64 * 1024
_LONGEST_URL = 2048
_RESOLUTIONS_AT_ONCE = 64
_RESOLUTIONS_OF_ONE = 4


class OutboundKind(StrEnum):
    """Why there is no answer."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    """Refused, unreachable, or the name does not resolve."""
    RESET = "reset"
    TLS = "tls"
    FORBIDDEN = "forbidden"
    """An address that must not be called."""
    TOO_LARGE = "too_large"
    PROTOCOL = "protocol"
    """The other side does not speak HTTP properly."""


class OutboundError(Exception):
    """No answer. `request_sent`: the other side may have got the request and acted on it."""

    def __init__(self, kind: OutboundKind, message: str, *, request_sent: bool) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.request_sent = request_sent


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are lower-case; repeated headers are joined by ", "."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """As sent: never decompressed. At most what the client keeps."""
    duration_ms: int


@dataclass(frozen=True)
class Target:
    """A URL taken apart once; the same parts are vetted and called."""

    scheme: str
    host: str
    """Lower-case name, or an address without brackets."""
    port: int
    path: str
    """Path and query, percent-encoded, as they go on the wire."""

    @property
    def host_header(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII)
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_NOT_IN_A_URL = re.compile(r"[\x00-\x20\\\x7f]")
_PATH_CHARACTERS = "/?:@!$&'()*+,;=%-._~[]"


def parse_url(url: str) -> Target:
    """Raises ValueError with a sentence about what is wrong with the URL."""
    if len(url) > _LONGEST_URL:
        raise ValueError(f"longer than {_LONGEST_URL} characters")
    if _NOT_IN_A_URL.search(url):
        raise ValueError("holds white space, control characters or a backslash")
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password")
    host = _checked_host(parts.hostname or "")
    port = parts.port if parts.port is not None else _DEFAULT_PORTS[parts.scheme]
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("has no usable port")
    target = parts.path or "/"
    if parts.query:
        target += "?" + parts.query
    return Target(parts.scheme, host, port, quote(target, safe=_PATH_CHARACTERS))


def _checked_host(host: str) -> str:
    """The host of a URL as it is used from here on. Raises ValueError."""
    if not host:
        raise ValueError("has no host")
    if ":" in host:
        if "%" in host:
            raise ValueError("must not name a network interface")
        return str(ipaddress.IPv6Address(host))
    if len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError("host is not an ASCII host name (write others as xn--…)")
    return host


def literal_address(host: str) -> IPAddress | None:
    """The address that a host stands for without asking a name server.

    Any spelling counts that a resolver would accept: `127.1`, `0x7f000001`, `localhost`. Raises
    ValueError for a number that is no address.
    """
    if ":" in host:
        return ipaddress.ip_address(host)
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    if not _NUMBER_LABEL.fullmatch(name.rpartition(".")[2]):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except OSError as problem:
        raise ValueError("host ends in a number but is no IPv4 address") from problem


# From the IANA special-purpose registries. Spelt out because the lists behind `ipaddress` differ
# between Python releases.
_FORBIDDEN_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_FORBIDDEN_V6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to the public internet.

    IPv4 inside IPv6 counts as the IPv4 address.
    """
    address = _unmapped(address)
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _FORBIDDEN_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _FORBIDDEN_V6)


def _unmapped(address: IPAddress) -> IPAddress:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_allowed(address: IPAddress, allowed: Sequence[IPNetwork]) -> bool:
    address = _unmapped(address)
    return is_public(address) or any(address in network for network in allowed)


def vet_url(url: str, allowed: Sequence[IPNetwork] = ()) -> None:
    """Checks a merchant's URL without asking a name server.

    Raises ValueError (malformed, with the reason) or OutboundError(FORBIDDEN) for a literal address
    that is neither public nor in `allowed`. A name can still turn out to be internal when it is
    called.
    """
    target = parse_url(url)
    address = literal_address(target.host)
    if address is not None and not _is_allowed(address, allowed):
        raise _forbidden(target.host)


def _forbidden(host: str) -> OutboundError:
    return OutboundError(
        OutboundKind.FORBIDDEN, f"{host} is not a public address", request_sent=False
    )


class Deadline:
    """A moment on the monotonic clock after which nothing may go on."""

    def __init__(self, seconds: float) -> None:
        self.started = time.monotonic()
        self._end = self.started + seconds

    def left(self) -> float:
        """Seconds left. Raises TimeoutError when there are none."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("deadline passed")
        return seconds

    def elapsed_ms(self) -> int:
        """Milliseconds since the start."""
        return int((time.monotonic() - self.started) * 1000)


class AnswerTooLong(Exception):
    """The other side sent more than one answer may be long, whatever it called it."""


class Budget:
    """What one exchange may take: time, and bytes to read."""

    def __init__(self, deadline: Deadline, most_bytes: int) -> None:
        self.deadline = deadline
        self._bytes_left = most_bytes

    def received(self, count: int) -> int:
        """Passes on how many bytes came. Raises AnswerTooLong."""
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise AnswerTooLong
        return count


class _TimedSocket(socket.socket):
    """Gives every single read and write what is left of the budget.

    A peer that sends one byte at a time cannot stretch it.
    """

    budget: Budget | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.budget is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(self.budget.deadline.left())
        return self.budget.received(super().recv_into(*args, **kwargs))

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        if self.budget is not None:
            self.settimeout(self.budget.deadline.left())
        super().sendall(*args, **kwargs)


class _TimedTlsSocket(ssl.SSLSocket):
    """The same for TLS, where `sendall` is a loop of `send`."""

    budget: Budget | None = None

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        if self.budget is None:
            return super().recv_into(*args, **kwargs)
        self.settimeout(self.budget.deadline.left())
        return self.budget.received(super().recv_into(*args, **kwargs))

    def send(self, *args: Any, **kwargs: Any) -> int:
        if self.budget is not None:
            self.settimeout(self.budget.deadline.left())
        return super().send(*args, **kwargs)


def connect_socket(address: str, port: int, timeout_seconds: float) -> _TimedSocket:
    """Opens one TCP connection to an address, never to a name.

    Every connection of this module is made here, so a test that wants to see or forbid connections
    replaces this one function. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = _TimedSocket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def resolve_name(host: str, port: int) -> list[str]:
    """The system's resolver. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Resolutions:
    """Asks the system's resolver, which cannot be interrupted.

    Each question runs in a thread that is left behind when it takes too long. How many there may be is bounded, and of
    them how many for one share, so that a name server that is silent holds up nobody but those who use it.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._free = threading.Condition()
        self._running: Counter[str] = Counter()

    def resolve(self, share: str, host: str, port: int, deadline: Deadline) -> list[str]:
        """Addresses of a name, no later than at the deadline. Raises OSError (TimeoutError too)."""
        with self._free:
            if not self._free.wait_for(lambda: self._may_run(share), deadline.left()):
                raise TimeoutError("name resolution is busy")
            self._running[share] += 1
        outcome: list[Sequence[str] | OSError] = []

        def work() -> None:
            try:
                outcome.append(self._resolver(host, port))
            except OSError as problem:
                outcome.append(problem)
            except UnicodeError as problem:
                outcome.append(OSError(str(problem)))
            finally:
                self._ended(share)

        thread = threading.Thread(target=work, name="resolve", daemon=True)
        try:
            thread.start()
        except RuntimeError as problem:
            self._ended(share)
            raise OSError("no thread for name resolution") from problem
        thread.join(deadline.left())
        if not outcome:
            raise TimeoutError("name resolution took too long")
        if isinstance(outcome[0], OSError):
            raise outcome[0]
        return list(outcome[0])

    def _may_run(self, share: str) -> bool:
        is_room = self._running.total() < _RESOLUTIONS_AT_ONCE
        return is_room and self._running[share] < _RESOLUTIONS_OF_ONE

    def _ended(self, share: str) -> None:
        with self._free:
            self._running[share] -= 1
            if not self._running[share]:
                del self._running[share]
            self._free.notify_all()


class _FinalResponse(http.client.HTTPResponse):
    """Passes over every interim answer; the library only over `100 Continue`."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the type stubs
            if not 101 < status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


@dataclass
class _Idle:
    connection: HTTPConnection
    since: float


class _Client(ABC):
    """What both clients share: pool, deadline, limits, and the mapping of failures."""

    idle_seconds: float
    read_limit: int
    keep_limit: int
    refuse_larger: bool

    def __init__(
        self, resolver: Resolver, ssl_context: ssl.SSLContext | None, idle_limit: int = 8
    ) -> None:
        context = ssl_context or ssl.create_default_context()
        context.sslsocket_class = _TimedTlsSocket
        self._ssl_context = context
        self._resolutions = _Resolutions(resolver)
        self._idle_limit = idle_limit
        self._idle: dict[tuple[str, str, int], list[_Idle]] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_seconds: float,
        share: str = "",
    ) -> Answer:
        """Sends one request and reads one answer.

        `share`: on whose behalf; those of one do not hold up those of another. Empty: by host. Raises OutboundError;
        ValueError for a malformed URL.
        """
        deadline = Deadline(timeout_seconds)
        target = parse_url(url)
        sent = False
        connection: HTTPConnection | None = None
        try:
            with turns.elsewhere():
                connection = self._connection(target, share or target.host, deadline)
            _limit(connection, Budget(deadline, 2 * self.read_limit + _HEAD_LIMIT))
            sent = True
            with turns.elsewhere():
                answer, reusable = self._exchange(
                    connection, method, target, headers=headers, body=body, deadline=deadline
                )
        except BaseException as problem:
            if connection is not None:
                connection.close()
            if isinstance(problem, OutboundError) or not isinstance(problem, Exception):
                raise
            raise _translated(problem, request_sent=sent) from problem
        if reusable:
            self._put_back(target, connection)
        else:
            connection.close()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            idle = [entry for entries in self._idle.values() for entry in entries]
            self._idle.clear()
        for entry in idle:
            entry.connection.close()

    @abstractmethod
    def _vet(self, host: str, addresses: Sequence[IPAddress]) -> None:
        """Raises OutboundError(FORBIDDEN) if one of the addresses must not be called."""

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        target: Target,
        *,
        headers: Mapping[str, str],
        body: bytes,
        deadline: Deadline,
    ) -> tuple[Answer, bool]:
        own = {"Host": target.host_header, "Accept-Encoding": "identity"}
        names = {name.lower() for name in headers}
        if "user-agent" not in names:
            own["User-Agent"] = SKIP_HEADER
        connection.request(
            method,
            target.path,
            body=body or (b"" if method == "POST" else None),
            headers={**own, **headers},
            preload_content=False,
            decode_content=False,
        )
        response = connection.getresponse()
        content, complete = self._read(response)
        answer = Answer(
            status=response.status,
            headers=_joined_headers(response.headers.items()),
            body=content,
            duration_ms=deadline.elapsed_ms(),
        )
        keep = complete and response.headers.get("connection", "").lower() != "close"
        return answer, keep and response.version == 11

    def _read(self, response: urllib3.response.BaseHTTPResponse) -> tuple[bytes, bool]:
        """The kept part of the body, and whether the body was read to its end."""
        content = bytearray()
        seen = 0
        try:
            while piece := response.read(_PIECE, decode_content=False):
                seen += len(piece)
                if seen > self.read_limit:
                    break
                content += piece[: max(0, self.keep_limit - len(content))]
            else:
                return bytes(content), True
        except AnswerTooLong:
            pass
        if self.refuse_larger:
            raise OutboundError(
                OutboundKind.TOO_LARGE,
                f"answer is larger than {self.read_limit} bytes",
                request_sent=True,
            )
        return bytes(content), False

    def _connection(self, target: Target, share: str, deadline: Deadline) -> HTTPConnection:
        return self._take_idle(target) or self._open(target, share, deadline)

    def _open(self, target: Target, share: str, deadline: Deadline) -> HTTPConnection:
        sock = self._connect(target, share, Deadline(min(deadline.left(), CONNECT_SECONDS)))
        connection = HTTPConnection(target.host, target.port)
        connection.response_class = _FinalResponse
        connection.auto_open = 0  # never connect by itself, past the vetting
        connection.sock = sock
        if target.scheme == "https":
            try:
                sock.settimeout(deadline.left())
                connection.sock = self._ssl_context.wrap_socket(
                    sock, server_hostname=target.host.rstrip(".")
                )
            except BaseException:
                sock.close()
                raise
        return connection

    def _connect(self, target: Target, share: str, deadline: Deadline) -> _TimedSocket:
        literal = literal_address(target.host)
        if literal is not None:
            addresses: list[IPAddress] = [literal]
        else:
            texts = self._resolutions.resolve(share, target.host, target.port, deadline)
            addresses = [ipaddress.ip_address(text) for text in texts]
        if not addresses:
            raise OSError("the name has no address")
        self._vet(target.host, addresses)
        failure = OSError("no address was tried")
        for number, address in enumerate(addresses):
            seconds = deadline.left() / (len(addresses) - number)
            try:
                return connect_socket(str(address), target.port, seconds)
            except OSError as problem:
                failure = problem
        raise failure

    def _take_idle(self, target: Target) -> HTTPConnection | None:
        """An idle connection to the same scheme, name and port, if there is one.

        Same name means: it was vetted, and its certificate was checked for this very name. One that
        has something to read was closed by the other side.
        """
        while True:
            with self._lock:
                entries = self._idle.get((target.scheme, target.host, target.port))
                if not entries:
                    return None
                entry = entries.pop()
            sock = entry.connection.sock
            fresh = time.monotonic() - entry.since < self.idle_seconds
            if sock is not None and fresh and not wait_for_read(sock, 0.0):
                return entry.connection
            entry.connection.close()

    def _put_back(self, target: Target, connection: HTTPConnection) -> None:
        with self._lock:
            entries = self._idle.setdefault((target.scheme, target.host, target.port), [])
            entries.append(_Idle(connection, time.monotonic()))
            surplus = entries.pop(0) if len(entries) > self._idle_limit else None
        if surplus is not None:
            surplus.connection.close()


class ProviderClient(_Client):
    """Calls payment providers.

    The URL must come from an account configuration, never from a message.
    """

    idle_seconds = 15.0
    read_limit = PROVIDER_ANSWER_LIMIT
    keep_limit = PROVIDER_ANSWER_LIMIT
    refuse_larger = True

    def __init__(
        self, *, resolver: Resolver = resolve_name, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(resolver, ssl_context)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_seconds: float,
        share: str = "",
    ) -> Answer:
        """The same, counted and traced: providers are few, so each has figures of its own.

        The trace goes no further: it is no business of a provider.
        """
        started, outcome, status = time.monotonic(), "invalid", None
        with tracing.calling("provider call") as span:
            try:
                answer = super().request(
                    method,
                    url,
                    headers=headers,
                    body=body,
                    timeout_seconds=timeout_seconds,
                    share=share,
                )
                status = answer.status
                outcome = str(status)
            except OutboundError as failure:
                outcome = failure.kind.value
                raise
            finally:
                host = urlsplit(url).hostname or "-"
                metrics.provider_call(host, outcome, time.monotonic() - started)
                failed = status is None or status >= 500
                span.say(failed=failed, method=method, host=host, status=status, outcome=outcome)
        return answer

    def _vet(self, host: str, addresses: Sequence[IPAddress]) -> None:
        """Nothing to refuse: configurations are checked when they are entered."""


class CallbackClient(_Client):
    """Calls merchants: public addresses only, except those in `allowed` (for development).

    The name is resolved once; if any of its addresses is bad nothing is called, else the connection
    goes to a vetted address itself while Host, SNI and certificate keep the name.
    """

    idle_seconds = 1.5
    read_limit = CALLBACK_READ_LIMIT
    keep_limit = CALLBACK_KEEP_LIMIT
    refuse_larger = False

    def __init__(
        self,
        allowed: Sequence[IPNetwork] = (),
        *,
        resolver: Resolver = resolve_name,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(resolver, ssl_context)
        self._allowed = tuple(allowed)

    def vet_url(self, url: str) -> None:
        """`vet_url` of this module with this client's exceptions."""
        vet_url(url, self._allowed)

    def _vet(self, host: str, addresses: Sequence[IPAddress]) -> None:
        if not all(_is_allowed(address, self._allowed) for address in addresses):
            raise _forbidden(host)


def _limit(connection: HTTPConnection, budget: Budget) -> None:
    """Binds the connection's reads and writes to the budget. Raises ConnectionError."""
    sock = connection.sock
    if not isinstance(sock, _TimedSocket | _TimedTlsSocket):
        raise ConnectionError("connection is gone")
    sock.budget = budget


def _joined_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for given, value in pairs:
        name = given.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


_PROTOCOL_PROBLEMS = (http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError)


def _translated(problem: Exception, *, request_sent: bool) -> OutboundError:
    """Our error for what the library or the system raised."""
    kind = _kind_of(problem)
    if kind is None:
        kind = OutboundKind.RESET if request_sent else OutboundKind.CONNECT
    return OutboundError(kind, type(problem).__name__, request_sent=request_sent)


def _kind_of(problem: BaseException | None) -> OutboundKind | None:
    """Looks through the chain of wrappers for the cause that says most."""
    seen: set[int] = set()
    kind: OutboundKind | None = None
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        if isinstance(problem, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return OutboundKind.TIMEOUT
        if isinstance(problem, AnswerTooLong):
            return OutboundKind.TOO_LARGE
        if isinstance(problem, (ssl.SSLZeroReturnError, ssl.SSLEOFError)):
            kind = OutboundKind.RESET
        elif isinstance(problem, ssl.SSLError):
            return OutboundKind.TLS
        elif isinstance(problem, ConnectionRefusedError):
            return OutboundKind.CONNECT
        elif isinstance(problem, (ConnectionError, http.client.IncompleteRead)):
            kind = OutboundKind.RESET
        elif kind is None and isinstance(problem, _PROTOCOL_PROBLEMS):
            kind = OutboundKind.PROTOCOL
        problem = problem.__cause__ or problem.__context__
    return kind
