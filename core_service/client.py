"""For callers of the core: channels, one unary call, and gRPC status → `CoreError`.

The edge makes a `CoreClient` inside the worker process (never before a fork) and binds each RPC it serves once with
`unary()`. Nothing here knows HTTP.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from core_service.errors import REASONS, CoreError, Family, FieldViolation
from core_service.metadata import MAX_METADATA_BYTES

RECONNECT_WAIT_SECONDS = 0.7
"""How long a call that never left waits for a connection before it gives up."""

UNAVAILABLE_RETRY_AFTER_SECONDS = 1

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Also the time limit of one connection attempt: an address that swallows packets fails as fast as a closed port.
    ("grpc.min_reconnect_backoff_ms", 800),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Without this, channels to one address share one connection, and the kernel gives all of it to one core process.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True)
class Reply:
    """An answer and the ASCII trailing metadata that came with it."""

    message: Any
    trailing: Mapping[str, str]


class CallFailed(Exception):
    """The core refused or could not be reached; `trailing` is what it said beside the error."""

    def __init__(self, error: CoreError, trailing: Mapping[str, str]) -> None:
        self.error = error
        self.trailing = trailing
        super().__init__(str(error))


class CoreClient:
    """Channels to the core, used in turn.

    Several processes of the core share one TCP port and the kernel spreads connections, not calls: more channels than
    processes keep all of them busy. On a Unix socket one channel is enough.
    """

    def __init__(self, address: str, *, channels: int = 1) -> None:
        self._channels = tuple(
            grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) for _ in range(channels)
        )

    def unary(self, path: str, response_type: type[Message]) -> "UnaryCall":
        """Bind one RPC."""
        return UnaryCall(self._channels, path, response_type)

    async def close(self) -> None:
        """Let running calls end, then close every channel."""
        for channel in self._channels:
            await channel.close(grace=None)


class UnaryCall:
    """One RPC bound to every channel."""

    def __init__(
        self, channels: tuple[grpc.aio.Channel, ...], path: str, response_type: type[Message]
    ) -> None:
        self._next = cycle(
            tuple(
                (
                    channel,
                    channel.unary_unary(
                        path,
                        request_serializer=_serialize,
                        response_deserializer=response_type.FromString,
                    ),
                )
                for channel in channels
            )
        )

    async def __call__(self, request: Message, *, metadata: Metadata, timeout_seconds: float) -> Reply:
        """Call; raises `CallFailed`.

        A call that never left, because there was no connection, is tried once more when a connection stands again.
        Anything that may have reached the core is not repeated here.
        """
        try:
            return await self._attempt(request, metadata, timeout_seconds)
        except grpc.aio.AioRpcError as error:
            if not _never_left(error):
                raise _call_failed(error) from None
            first_error = error
        channel, _ = next(self._next)
        try:
            await asyncio.wait_for(channel.channel_ready(), RECONNECT_WAIT_SECONDS)
            return await self._attempt(request, metadata, timeout_seconds)
        except TimeoutError:
            raise _call_failed(first_error) from None
        except grpc.aio.AioRpcError as error:
            raise _call_failed(error) from None

    async def _attempt(self, request: Message, metadata: Metadata, timeout_seconds: float) -> Reply:
        _, multi_callable = next(self._next)
        call = multi_callable(request, metadata=metadata, timeout=timeout_seconds)
        message = await call
        return Reply(message, _ascii_metadata(await call.trailing_metadata()))


def core_error_from(rpc_error: grpc.aio.AioRpcError) -> CoreError:
    """The `CoreError` that the core packed into the status, or the nearest one when it packed none.

    Without `ErrorInfo` the status came from gRPC itself: no connection, no answer in time, or the core's own limit on
    calls at once are OVERLOADED; everything else is INTERNAL.
    """
    status = _packed_status(rpc_error)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad_request, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    if not info.reason:
        if rpc_error.code() in _OVERLOAD_CODES:
            return CoreError("OVERLOADED", retry_after_seconds=UNAVAILABLE_RETRY_AFTER_SECONDS)
        return CoreError("INTERNAL")
    known = info.reason in REASONS
    error = CoreError(
        info.reason if known else "INTERNAL",
        status.message or None,
        details=_json_details(info.metadata.get("details", "")),
        violations=tuple(
            FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations
        ),
        retry_after_seconds=retry.retry_delay.seconds or None,
    )
    if not known:  # a newer core: its reason passes through under the family that it names
        error.reason = info.reason
        error.family = Family(info.metadata.get("family", Family.INTERNAL))
    return error


_OVERLOAD_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)

_STATUS_DETAILS = "grpc-status-details-bin"


def _packed_status(rpc_error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in rpc_error.trailing_metadata() or ():
        if key == _STATUS_DETAILS:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _json_details(text: str) -> Any:
    return json.loads(text) if text else None


def _call_failed(error: grpc.aio.AioRpcError) -> CallFailed:
    return CallFailed(core_error_from(error), _ascii_metadata(error.trailing_metadata()))


def _never_left(error: grpc.aio.AioRpcError) -> bool:
    """Whether the call failed for want of a connection; gRPC says so only in its text."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and (
        "failed to connect to all addresses" in (error.details() or "")
    )


def _ascii_metadata(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
