"""How others call the core: asyncio channels for the edge, one for internal services, the errors.

Needs nothing of the core but `errors` and `metadata`.
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from core_service import metadata
from core_service.errors import REASONS, CoreError, FieldViolation

Response = TypeVar("Response", bound=Message)
Metadata = Sequence[tuple[str, str | bytes]]

STATUS_DETAILS = "grpc-status-details-bin"

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_metadata_size", metadata.MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", metadata.MAX_METADATA_BYTES),
    # A core that comes back is found at once; connecting to a black hole ends after a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A peer that stopped answering without closing is noticed within two seconds. How long a ping may take is the
    # third, whatever the second says.
    ("grpc.keepalive_time_ms", 700),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),
    ("grpc.http2.max_pings_without_data", 0),
    # Channels with equal options share one connection otherwise.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

FEWEST_TRIES = 2
LONGEST_RETRIES_SECONDS = 1.0
"""A call that reached no handler is not sent a third time after this: nobody answers at all."""

_NEVER_LEFT = ("failed to connect to all addresses", "Server shutting down")
"""Texts of gRPC itself for calls that no handler saw."""
_LEFT_UNREAD = "CANCELLED"
"""What a server that is stopping says to calls which it has not begun; those it has begun end by their deadline,
before their time of grace does."""

_SILENT = "ping timeout"
"""Part of gRPC's text for a call to a core that no longer says anything."""
_OPEN_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)

_REASON_BY_CODE = {
    grpc.StatusCode.CANCELLED: "OVERLOADED",
    grpc.StatusCode.UNAVAILABLE: "OVERLOADED",
    grpc.StatusCode.DEADLINE_EXCEEDED: "OVERLOADED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "OVERLOADED",
    grpc.StatusCode.UNAUTHENTICATED: "UNAUTHENTICATED",
    grpc.StatusCode.PERMISSION_DENIED: "PERMISSION_DENIED",
}
"""What a failure without details of ours means: it comes from gRPC and not from the core."""


@dataclass(frozen=True)
class ClientTls:
    """PEM bytes. Without a certificate of its own the caller is not known to the core by TLS."""

    server_ca: bytes
    certificate: bytes | None = None
    private_key: bytes | None = None
    server_name: str | None = None
    """What the core's certificate must name; None: the host that is called."""

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.server_ca, self.private_key, self.certificate)

    def options(self) -> tuple[tuple[str, int | str], ...]:
        """Of a channel with these credentials."""
        if self.server_name is None:
            return CHANNEL_OPTIONS
        return (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", self.server_name))


class EdgeChannels:
    """Several channels to the core, the least busy process first: one connection is served by one core process.

    The kernel deals connections to processes at random, so turns would not be fair, and a process that is slower has
    more calls under way. Which process a channel leads to is known from its last answer.

    To be made inside the running event loop, after any fork, and closed there.
    """

    def __init__(self, address: str, *, count: int, tls: ClientTls | None = None) -> None:
        self._channels = [_aio_channel(address, tls) for _ in range(count)]
        self._under_way = [0] * count
        self._process: list[object] = list(range(count))
        """Each its own until it has said so."""
        self._busy: Counter[object] = Counter()
        """Calls under way by process."""
        self._turn = itertools.cycle(range(count))
        self._calls: dict[tuple[int, str], Any] = {}

    async def call(
        self,
        path: str,
        request: Message,
        response_type: type[Response],
        *,
        client_address: str,
        call_metadata: Metadata,
        timeout_seconds: float,
    ) -> tuple[Response, Metadata]:
        """The answer and its trailing metadata. Raises grpc.aio.AioRpcError; see `core_error_from`.

        `client_address` always goes along: it says that the call is made for somebody else, so that
        the core never takes it for the edge's own. A call that provably reached no handler is sent
        again on the other channels: several may lead to the process that is just being replaced.
        """
        outgoing = (*call_metadata, (metadata.CLIENT_ADDRESS, client_address))
        started, tried = time.monotonic(), list[int]()
        while True:
            tried.append(self._least_busy(tried))
            seconds = max(0.0, timeout_seconds - (time.monotonic() - started))
            try:
                return await self._send(tried[-1], path, request, response_type, outgoing, seconds)
            except grpc.aio.AioRpcError as failure:
                took_long = time.monotonic() - started > LONGEST_RETRIES_SECONDS
                if not never_left(failure) or (len(tried) > 1 and took_long):
                    raise
                if len(tried) >= max(FEWEST_TRIES, len(self._channels)):
                    raise

    async def close(self, grace_seconds: float = 0) -> None:
        """Lets running calls end for `grace_seconds`."""
        for channel in self._channels:
            await channel.close(grace_seconds)

    async def _send(
        self,
        index: int,
        path: str,
        request: Message,
        response_type: type[Response],
        outgoing: Metadata,
        timeout_seconds: float,
    ) -> tuple[Response, Metadata]:
        process = self._process[index]
        self._under_way[index] += 1
        self._busy[process] += 1
        try:
            running = self._multicallable(index, path, response_type)(
                request, timeout=timeout_seconds, metadata=grpc.aio.Metadata(*outgoing)
            )
            response: Response = await running
            trailing = tuple(await running.trailing_metadata() or ())
        except grpc.aio.AioRpcError as failure:
            self._learn(index, failure.trailing_metadata() or ())
            raise
        else:
            self._learn(index, trailing)
            return response, trailing
        finally:
            self._under_way[index] -= 1
            self._busy[process] -= 1
            if not self._busy[process]:
                del self._busy[process]

    def _learn(self, index: int, trailing: Iterable[tuple[str, Any]]) -> None:
        """Which process the channel leads to."""
        for name, value in trailing:
            if name == metadata.PROCESS:
                self._process[index] = value

    def _least_busy(self, tried: Sequence[int]) -> int:
        """Among equals the next in turn; one that was tried already, or is not connected, only when there is no other.

        A channel on which calls fail at once is never busy, so it would be taken again and again. One that is
        connecting may have been dealt to a process that listens already and does not accept yet.
        """
        under_way, first = self._under_way, next(self._turn)
        order = (*range(first, len(under_way)), *range(first))

        def load(index: int) -> tuple[int, int]:
            return self._busy[self._process[index]], under_way[index]

        least: int = min(order, key=lambda index: (tried.count(index), load(index)))
        if self._is_connected(least):
            return least
        connected = [i for i in order if i not in tried and self._is_connected(i)]
        return min(connected, key=load, default=least)

    def _is_connected(self, index: int) -> bool:
        """Begins to connect if need be."""
        state = self._channels[index].get_state(try_to_connect=True)
        return state is grpc.ChannelConnectivity.READY

    def _multicallable(self, index: int, path: str, response_type: type[Response]) -> Any:
        call = self._calls.get((index, path))
        if call is None:
            call = self._channels[index].unary_unary(
                path,
                request_serializer=_serialize,
                response_deserializer=response_type.FromString,
            )
            self._calls[index, path] = call
        return call


def service_channel(
    address: str, token: str | None, *, tls: ClientTls | None = None
) -> grpc.Channel:
    """A channel for an internal service, to be used with the generated stubs.

    Every call carries the service token; without one calls bring credentials of their own.
    """
    if tls is None:
        channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
    else:
        channel = grpc.secure_channel(address, tls.credentials(), options=tls.options())
    return channel if token is None else grpc.intercept_channel(channel, _AsService(token))


def core_error_from(failure: grpc.RpcError) -> CoreError:
    """What a failed call means.

    A failure of gRPC itself (no core, no time) is OVERLOADED, and INTERNAL at worst.
    """
    trailing: Any = failure.trailing_metadata() or ()
    for key, value in trailing:
        if key == STATUS_DETAILS:
            try:
                return core_error_of(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    reason = _REASON_BY_CODE.get(failure.code(), "INTERNAL")
    return CoreError(reason, retry_after_seconds=1 if reason == "OVERLOADED" else None)


def is_from_core(failure: grpc.RpcError) -> bool:
    """Whether the core itself refused, and not gRPC on the way."""
    trailing: Any = failure.trailing_metadata() or ()
    return any(key == STATUS_DETAILS for key, _ in trailing)


def core_error_of(status: status_pb2.Status) -> CoreError:
    """The error that `rpc/error_details.status_of` packed.

    A reason that this version does not know is INTERNAL.
    """
    reason, details, retry_after_seconds = "INTERNAL", None, None
    violations: tuple[FieldViolation, ...] = ()
    for packed in status.details:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            reason = info.reason if info.reason in REASONS else "INTERNAL"
            details = json.loads(info.metadata["details"]) if "details" in info.metadata else None
        elif packed.Unpack(bad_request):
            violations = tuple(
                FieldViolation(item.field, item.description)
                for item in bad_request.field_violations
            )
        elif packed.Unpack(retry):
            retry_after_seconds = retry.retry_delay.seconds
    return CoreError(
        reason,
        status.message or None,
        details=details,
        violations=violations,
        retry_after_seconds=retry_after_seconds,
    )


def never_left(failure: grpc.RpcError) -> bool:
    """Whether no handler can have seen the call, so that sending it again is no repetition."""
    details = failure.details() or ""
    if failure.code() is grpc.StatusCode.CANCELLED:
        return details == _LEFT_UNREAD
    return failure.code() is grpc.StatusCode.UNAVAILABLE and details.startswith(_NEVER_LEFT)


def is_outcome_open(failure: grpc.RpcError) -> bool:
    """Whether a handler may have done what was asked although its answer never came.

    Not of a core that fell silent: it gets no work done, and what it begins when it wakes up it leaves, because the
    caller has gone.
    """
    if is_from_core(failure) or never_left(failure):
        return False
    return failure.code() in _OPEN_CODES and _SILENT not in (failure.details() or "")


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _aio_channel(address: str, tls: ClientTls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=tls.options())


class _AsService(grpc.UnaryUnaryClientInterceptor):
    """Adds the service token."""

    def __init__(self, token: str) -> None:
        self._entry = (metadata.SERVICE_TOKEN, f"Bearer {token}")

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Any], Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        sent: Iterable[tuple[str, str | bytes]] = client_call_details.metadata or ()
        details = _CallDetails(
            client_call_details.method,
            client_call_details.timeout,
            (*sent, self._entry),
            client_call_details.credentials,
            client_call_details.wait_for_ready,
            client_call_details.compression,
        )
        return continuation(details, request)


@dataclass(frozen=True)
class _CallDetails(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any
