"""The edge's connection to the core: made when the worker starts (after the fork), closed when it stops."""

from collections.abc import Mapping
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from core_service.client import (
    EdgeChannels,
    Metadata,
    core_error_from,
    is_from_core,
    is_outcome_open,
)
from core_service.errors import CoreError, outcome_open
from core_service.schema import Method, methods_by_path
from rest_edge.logs import edge_log
from rest_edge.middleware import EdgeRequest
from rest_edge.settings import Settings

CALL_TIMEOUT_SECONDS = 10.0
"""Deadline of a call; the core takes its own share off it."""

SHUTDOWN_GRACE_SECONDS = 1.0


class CallFailed(Exception):
    """The core refused or could not be reached; `trailing` is the metadata that came with that."""

    def __init__(self, error: CoreError, trailing: Mapping[str, str]) -> None:
        self.error = error
        self.trailing = trailing
        super().__init__(str(error))


class CoreConnection:
    """Channels to the core. Falcon middleware only for its lifespan hooks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._channels: EdgeChannels | None = None

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """ASGI lifespan: open the channels."""
        self._channels = EdgeChannels(
            self._settings.core_address,
            count=self._settings.channels,
            tls=self._settings.core_tls,
        )

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """ASGI lifespan: let calls end and close."""
        if self._channels is not None:
            await self._channels.close(SHUTDOWN_GRACE_SECONDS)

    async def call(
        self,
        path: str,
        message: Message,
        response_type: type[Message],
        request: EdgeRequest,
        metadata: Metadata = (),
        *,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
    ) -> tuple[Any, Mapping[str, str]]:
        """The answer and its textual trailing metadata. Raises CallFailed."""
        assert self._channels is not None, "the application has not been started"
        try:
            answer, trailing = await self._channels.call(
                path,
                message,
                response_type,
                client_address=request.client_address,
                call_metadata=(*request.call_metadata(), *metadata),
                timeout_seconds=timeout_seconds,
            )
        except grpc.aio.AioRpcError as failure:
            error = _error_of(failure, methods_by_path().get(path))
            if not is_from_core(failure):
                edge_log.warning(
                    "core call failed",
                    method=path,
                    **request.log_names(),
                    grpc_code=failure.code().name,
                    # Of a handler that failed it would be the exception's own words.
                    grpc_details=failure.details() if error.reason == "OVERLOADED" else None,
                )
            raise CallFailed(error, _text(failure.trailing_metadata())) from None
        return answer, _text(trailing)

    async def ask(
        self, method: Method, message: Message, request: EdgeRequest, metadata: Metadata = ()
    ) -> Any:
        """The answer of an RPC of ours. Raises CoreError."""
        try:
            answer, _ = await self.call(
                method.path, message, method.response_type, request, metadata
            )
        except CallFailed as failure:
            raise failure.error from None
        return answer


def _error_of(failure: grpc.RpcError, method: Method | None) -> CoreError:
    """What a failed call means to whoever asked for it.

    A core that died may have created, closed or refunded: a 503 would say that nothing was done (decision 0012).
    """
    if method is not None and method.idempotency_operation and is_outcome_open(failure):
        return outcome_open()
    return core_error_from(failure)


def _text(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}
