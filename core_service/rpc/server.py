"""The gRPC server of one core process: threads, port, health, reflection, and how it ends."""

import fcntl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from core_service.metadata import MAX_METADATA_BYTES
from core_service.rpc.interceptors import Interceptors
from core_service.rpc.stored_answers import bytes_of
from core_service.schema import SchemaIncomplete, methods, service_names
from core_service.turns import Turns

THREADS = 32
AT_WORK = 2
"""Of those threads; the others wait for the database or a provider. More would only hand Python's lock around."""
MAX_CALLS = THREADS
"""More are refused by gRPC at once. An edge has at most so many under way, wherever they go, and each has a thread:
merchants that wait for providers leave notifications and consoles theirs."""
STOP_SECONDS = 12.0
HEALTH_INTERVAL_SECONDS = 0.25

_log = structlog.get_logger("core_service.rpc")


class PortTaken(Exception):
    """Another server has the address."""


@dataclass(frozen=True)
class ServerTls:
    """PEM bytes; with `client_ca` a caller must show a certificate that it signed."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes | None

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC takes."""
        return grpc.ssl_server_credentials(
            [(self.private_key, self.certificate)],
            root_certificates=self.client_ca,
            require_client_auth=self.client_ca is not None,
        )


class CoreServer:
    """Serves until told to stop."""

    def __init__(
        self,
        servicers: Mapping[str, Any],
        interceptors: Interceptors,
        *,
        bind: str,
        tls: ServerTls | None,
        is_port_shared: bool,
        with_reflection: bool,
        is_healthy: Callable[[], bool],
    ) -> None:
        """`servicers`: by full service name, all of them. `bind`: host:port or unix:PATH.

        Raises PortTaken and SchemaIncomplete.
        """
        self._is_healthy = is_healthy
        self._stopping = threading.Event()
        self._socket_lock = _lock_socket(bind)
        self._server = grpc.server(
            Turns(THREADS, AT_WORK, "rpc"),  # type: ignore[arg-type]  # gRPC takes any executor
            interceptors=[interceptors],
            maximum_concurrent_rpcs=MAX_CALLS,
            options=_options(is_port_shared=is_port_shared),
        )
        _register(self._server, servicers)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            reflection.enable_server_reflection(
                (*service_names(), health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
            )
        self.port = self._bind(bind, tls)
        self._announcer = threading.Thread(target=self._announce, name="health", daemon=True)

    def start(self) -> None:
        """Accept calls; returns at once."""
        self._set_health(serving=self._is_healthy())
        self._server.start()
        self._announcer.start()

    def stop(self, grace_seconds: float = STOP_SECONDS) -> None:
        """Say that it is over, take no more calls, let the running ones end, and return."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_seconds).wait()
        if self._socket_lock is not None:
            self._socket_lock.close()

    def _bind(self, bind: str, tls: ServerTls | None) -> int:
        try:
            if tls is None:
                return self._server.add_insecure_port(bind)
            return self._server.add_secure_port(bind, tls.credentials())
        except RuntimeError as failure:
            raise PortTaken(f"cannot listen on {bind}") from failure

    def _announce(self) -> None:
        was_healthy = self._is_healthy()
        self._set_health(serving=was_healthy)
        while not self._stopping.wait(HEALTH_INTERVAL_SECONDS):
            is_healthy = self._is_healthy()
            if is_healthy != was_healthy:
                self._set_health(serving=is_healthy)
            was_healthy = is_healthy

    def _set_health(self, *, serving: bool) -> None:
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in ("", *service_names()):
            self._health.set(name, status)


def _options(*, is_port_shared: bool) -> Sequence[tuple[str, int]]:
    return (
        # Without this a second server on the port starts without an error and takes half the calls.
        ("grpc.so_reuseport", int(is_port_shared)),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        # Callers ask once a second whether the connection still lives.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.keepalive_permit_without_calls", 1),
        # Drops callers that vanished without closing.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),
    )


def _register(server: grpc.Server, servicers: Mapping[str, Any]) -> None:
    """Add every handler of the schema; the generated base classes are no implementation."""
    for name in service_names():
        servicer = servicers.get(name)
        handlers = {}
        for method in methods():
            if method.service_full_name != name:
                continue
            handler = getattr(type(servicer), method.name, None)
            if handler is None or handler.__module__.startswith("novapay."):
                raise SchemaIncomplete(f"nothing handles {method.path}")
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                getattr(servicer, method.name),
                request_deserializer=method.request_type.FromString,
                response_serializer=bytes_of,
            )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def _lock_socket(bind: str) -> IO[bytes] | None:
    """Two servers on one Unix socket both start without an error, so a lock beside it decides."""
    if not bind.startswith("unix:"):
        return None
    path = Path(f"{bind.removeprefix('unix:')}.lock")
    lock = path.open("wb")  # held while serving
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise PortTaken(f"another server has {bind}") from None
    path.chmod(0o600)
    return lock
