"""A real edge (gunicorn in its own process) before a recording core (a gRPC server in the test process)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

from core_service.errors import CoreError, Family
from core_service.metadata import MAX_METADATA_BYTES
from core_service.schema import methods

REPOSITORY = Path(__file__).parents[2]

_CODES = {
    Family.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Family.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Family.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Family.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Family.CONFLICT: grpc.StatusCode.ABORTED,
    Family.UNPROCESSABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Family.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Family.PROVIDER_FAILURE: grpc.StatusCode.INTERNAL,
    Family.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Family.INTERNAL: grpc.StatusCode.INTERNAL,
}


@dataclass
class Call:
    """One call that arrived at the core."""

    method: str
    request: Any
    metadata: dict[str, str | bytes]
    seconds_left: float

    @property
    def violations(self) -> list[tuple[str, str]]:
        packed = error_details_pb2.BadRequest.FromString(
            self.metadata.get("x-novapay-violations-bin", b"")
        )
        return [(item.field, item.description) for item in packed.field_violations]


Answer = Callable[[Call, grpc.ServicerContext], Message]


@dataclass
class RecordingCore(grpc.GenericRpcHandler):
    """Answers every RPC of ours with what the test asks for, and keeps what came."""

    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    serving: bool = True
    address: str = ""

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        if path == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(
                self._health,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            )
        method = next((item for item in methods() if item.path == path), None)
        if method is None:
            return None

        def handle(request: Message, context: grpc.ServicerContext) -> Message:
            call = Call(
                method.name, request, dict(context.invocation_metadata()), context.time_remaining()
            )
            self.calls.append(call)
            answer = self.answers.get(method.name)
            return answer(call, context) if answer else method.response_type()

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=method.request_type.FromString,
            response_serializer=method.response_type.SerializeToString,
        )

    def answer(
        self,
        method: str,
        answer: Message | CoreError | Answer,
        *,
        trailing: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Script the answer of one RPC."""

        def reply(call: Call, context: grpc.ServicerContext) -> Message:
            context.set_trailing_metadata(trailing)
            if isinstance(answer, CoreError):
                _abort(context, answer, trailing)
            if isinstance(answer, Message):
                return answer
            return answer(call, context)

        self.answers[method] = reply

    @property
    def only_call(self) -> Call:
        assert 1 == len(self.calls)
        return self.calls[0]

    def _health(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if self.serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        return health_pb2.HealthCheckResponse(status=status)


def _abort(
    context: grpc.ServicerContext, error: CoreError, trailing: tuple[tuple[str, str], ...]
) -> NoReturn:
    """Packs a CoreError as the core does."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain="novapay", metadata={"family": error.family}
    )
    if error.details is not None:
        info.metadata["details"] = json.dumps(error.details)
    details = [info]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for item in error.violations:
            bad_request.field_violations.add(field=item.field, description=item.reason)
        details.append(bad_request)
    if error.retry_after_seconds:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = error.retry_after_seconds
        details.append(retry)
    status = status_pb2.Status(code=_CODES[error.family].value[0], message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata(
        (*trailing, ("grpc-status-details-bin", status.SerializeToString()))
    )
    context.abort(_CODES[error.family], error.message)


@dataclass
class Answered:
    """An HTTP answer, read whole."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Edge:
    """A running edge."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def request(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Answered:
        """One request on its own connection; a dict is sent as JSON."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body=raw, headers=dict(headers or {}))
            return _answered(connection.getresponse())
        finally:
            connection.close()

    def raw(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Everything the server sends back for these bytes until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            try:
                while chunk := connection.recv(65536):
                    received += chunk
            except ConnectionResetError:
                pass
            return received


def _answered(response: HTTPResponse) -> Answered:
    return Answered(response.status, response.headers, response.read())


@contextmanager
def running_edge(directory: Path, **environment: str) -> Iterator[Edge]:
    """Start gunicorn on a free port and wait until it listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        log = directory / "edge.log"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    "-c",
                    "rest_edge/gunicorn.conf.py",
                    "-b",
                    f"fd://{listener.fileno()}",
                ],
                cwd=REPOSITORY,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'generated'}",
                    "NOVAPAY_EDGE_PROCESSES": "1",
                    "NOVAPAY_CORE_PROCESSES": "1",
                    "NOVAPAY_ENV": "test",
                    **environment,
                },
                stderr=stderr,
                pass_fds=(listener.fileno(),),
            )
    edge = Edge(port, process, log)
    try:
        # The socket listens already: the first answer comes as soon as the worker is up.
        edge.request("GET", "/nothing-here")
        yield edge
    finally:
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(20)


@contextmanager
def running_core(port: int = 0) -> Iterator[RecordingCore]:
    """A recording core on loopback."""
    core = RecordingCore()
    server = grpc.server(
        ThreadPoolExecutor(8),
        handlers=[core],
        options=(
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
            ("grpc.so_reuseport", 0),
        ),
    )
    core.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield core
    finally:
        server.stop(None).wait()


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Look again until it holds."""
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at, "it never became true"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def recording_core() -> Iterator[RecordingCore]:
    with running_core() as core:
        yield core


@pytest.fixture
def core(recording_core: RecordingCore) -> RecordingCore:
    """The recording core, with nothing recorded or scripted yet."""
    recording_core.calls.clear()
    recording_core.answers.clear()
    recording_core.serving = True
    return recording_core


@pytest.fixture(scope="session")
def edge(recording_core: RecordingCore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(
        tmp_path_factory.mktemp("edge"),
        NOVAPAY_GRPC_BIND=recording_core.address,
        NOVAPAY_PUBLIC_BASE_URL="http://pay.example.test",
        NOVAPAY_TRUSTED_PROXIES="127.0.0.1",
    ) as running:
        yield running
