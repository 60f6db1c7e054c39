"""The edge's connection to the core: made when the worker starts (after the fork), closed when it stops."""

from google.protobuf.message import Message

from core_service.client import CoreClient, Metadata, Reply, UnaryCall
from core_service.schema import Method, methods

from rest_edge.settings import Settings

CALL_TIMEOUT_SECONDS = 10.0
"""Deadline of a call; the core takes its own share off it."""


class Rpc:
    """One RPC, declared when the application is built and bound when the connection is made."""

    def __init__(self, path: str, response_type: type[Message], timeout_seconds: float) -> None:
        self._path = path
        self._response_type = response_type
        self._timeout_seconds = timeout_seconds
        self._call: UnaryCall | None = None

    def bind(self, client: CoreClient) -> None:
        """Use this client from now on."""
        self._call = client.unary(self._path, self._response_type)

    async def __call__(self, request: Message, metadata: Metadata) -> Reply:
        """Call the core; raises `core_service.client.CallFailed`."""
        assert self._call is not None, "the application has not been started"
        return await self._call(request, metadata=metadata, timeout_seconds=self._timeout_seconds)


class CoreConnection:
    """Falcon middleware that only has lifespan hooks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rpcs: list[Rpc] = []
        self._client: CoreClient | None = None

    def rpc(self, name: str) -> Rpc:
        """The RPC `Service.Name` of ours, such as `PaymentService.GetCheckout`."""
        method = method_named(name)
        return self.foreign_rpc(method.path, method.response_type)

    def foreign_rpc(
        self, path: str, response_type: type[Message], *, timeout_seconds: float = CALL_TIMEOUT_SECONDS
    ) -> Rpc:
        """An RPC by its full path."""
        rpc = Rpc(path, response_type, timeout_seconds)
        self._rpcs.append(rpc)
        return rpc

    async def process_startup(self, scope: dict[str, object], event: dict[str, object]) -> None:
        """ASGI lifespan: connect."""
        self._client = CoreClient(self._settings.core_address, channels=self._settings.channels)
        for rpc in self._rpcs:
            rpc.bind(self._client)

    async def process_shutdown(self, scope: dict[str, object], event: dict[str, object]) -> None:
        """ASGI lifespan: let calls end and close."""
        if self._client is not None:
            await self._client.close()


def method_named(name: str) -> Method:
    """The `Method` of `Service.Name`."""
    return _METHODS[name]


_METHODS = {f"{method.service_full_name.rpartition('.')[2]}.{method.name}": method for method in methods()}
