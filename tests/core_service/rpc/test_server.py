"""The server around the handlers: health, reflection, TLS, ports, its end, and the callers' side."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from core_service import metadata
from core_service.calls import Principal
from core_service.client import ClientTls, EdgeChannels, core_error_from, service_channel
from core_service.embedded_postgres import EmbeddedPostgres
from core_service.rpc.callers import Peer, client_address
from core_service.rpc.interceptors import call_of
from core_service.rpc.server import THREADS, CoreServer, PortTaken, ServerTls
from core_service.schema import SchemaIncomplete, methods, service_names
from core_service.storage import database
from core_service.storage.health import DatabaseProbe
from core_service.storage.secret_box import SecretBox
from novapay.payments.v1 import payment_service_pb2
from tests.core_service.merchant_rows import insert_merchant
from tests.core_service.rpc.certificates import Authority
from tests.core_service.rpc.running import (
    CHANNELS,
    CREATE,
    MERCHANTS,
    TOKEN,
    channel_to,
    invoke,
    order_request,
    reason,
    running_server,
    servicers,
    signed_metadata,
    spend_in_transaction,
)
from tests.stack import free_port, wait_until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health_of(channel: grpc.Channel, service: str = "") -> Any:
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status


def test_every_rpc_says_who_may_call_it() -> None:
    assert {service.rpartition(".")[2] for service in service_names()} == {
        "PaymentService",
        "RefundService",
        "MerchantService",
        "AccessService",
        "ConfigService",
    }
    for method in methods():
        assert method.principals, method.path
        assert (Principal.OPERATOR in method.principals) == bool(method.roles), method.path


def test_a_server_without_a_handler_does_not_start() -> None:
    incomplete = servicers({})
    del incomplete["novapay.refunds.v1.RefundService"]
    with pytest.raises(SchemaIncomplete, match="RefundService/CreateRefund"):
        CoreServer(
            incomplete,
            None,  # type: ignore[arg-type]
            bind="127.0.0.1:0",
            tls=None,
            is_port_shared=False,
            with_reflection=False,
            is_healthy=lambda: True,
        )


def test_health_of_the_server_and_of_each_service() -> None:
    is_up = threading.Event()
    with running_server(is_healthy=is_up.is_set) as server, channel_to(server) as channel:
        assert {health_of(channel, name) for name in ("", *service_names())} == {NOT_SERVING}
        is_up.set()
        for name in ("", *service_names()):
            wait_until(lambda: health_of(channel, name) == SERVING)  # noqa: B023
        with pytest.raises(grpc.RpcError) as unknown:
            health_of(channel, "nothing")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_k09_health_and_calls_while_the_database_goes_away_and_comes_back(data_dir: Path) -> None:
    """A server of its own is stopped and started again; nothing in the core is restarted."""
    postgres = EmbeddedPostgres(data_dir)
    url = postgres.ensure_running()
    database.configure(url, max_connections=8)
    probe = DatabaseProbe(url)
    probe.start()

    def use_database(_request: Any, _context: grpc.ServicerContext) -> Any:
        assert database.fetch_one("SELECT 1 AS one") == {"one": 1}
        return payment_service_pb2.ListChannelsResponse()

    try:
        with (
            running_server(
                {CHANNELS: use_database}, is_healthy=probe.is_up, database_is_up=probe.is_up
            ) as server,
            channel_to(server) as channel,
        ):
            for _ in range(8):
                assert reason(invoke(channel, CHANNELS)[0]) == "OK"
            assert health_of(channel) == SERVING
            postgres.stop()
            refusal = invoke(channel, CHANNELS)[0]
            assert (refusal.reason, refusal.retry_after_seconds) == ("DATABASE_UNAVAILABLE", 1)
            wait_until(lambda: health_of(channel) == NOT_SERVING)
            postgres.ensure_running()
            wait_until(lambda: health_of(channel) == SERVING)
            assert reason(invoke(channel, CHANNELS)[0]) == "OK"
    finally:
        probe.stop()
        database.database.close_all()
        postgres.stop()


def test_s05_reflection_only_where_it_is_wanted(core_database: str) -> None:
    with running_server(with_reflection=True) as server, channel_to(server) as channel:
        names = set(ProtoReflectionDescriptorDatabase(channel).get_services())
        assert names >= set(service_names())
    with running_server() as server, channel_to(server) as channel:
        with pytest.raises(grpc.RpcError) as refusal:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_second_server_on_the_same_address_is_refused(data_dir: Path) -> None:
    with (
        running_server() as server,
        pytest.raises(PortTaken),
        running_server(bind=f"127.0.0.1:{server.port}"),
    ):
        pass
    bind = f"unix:{data_dir}/core.sock"
    with running_server(bind=bind), pytest.raises(PortTaken), running_server(bind=bind):
        pass
    with running_server(bind=bind), grpc.insecure_channel(bind) as channel:
        assert health_of(channel) == SERVING


def test_k07_running_calls_end_before_the_server_does(core_database: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    def linger(_request: Any, _context: grpc.ServicerContext) -> Any:
        entered.set()
        assert leave.wait(10)
        return payment_service_pb2.ListChannelsResponse()

    with (
        running_server({CHANNELS: linger}) as server,
        channel_to(server) as channel,
        ThreadPoolExecutor(2) as pool,
    ):
        running = pool.submit(invoke, channel, CHANNELS)
        assert entered.wait(5)
        stopping = pool.submit(server.stop, 10)
        with channel_to(server) as later:
            wait_until(lambda: reason(invoke(later, CHANNELS, timeout=1)[0]) == "OVERLOADED")
        assert not stopping.done()
        leave.set()
        assert reason(running.result()[0]) == "OK"
        stopping.result()


def test_o01_more_calls_than_the_server_takes_are_refused_at_once(core_database: str) -> None:
    leave = threading.Event()

    def linger(_request: Any, _context: grpc.ServicerContext) -> Any:
        leave.wait(10)
        return payment_service_pb2.CreatePaymentOrderResponse()

    sent: Any = [(metadata.SERVICE_TOKEN, f"Bearer {TOKEN}")]
    request = payment_service_pb2.CreatePaymentOrderRequest(
        merchant_code="m", channel_code="c", external_order_id="e", amount="1", subject="s"
    )
    refused: list[str] = []

    def ask(channel: grpc.Channel) -> str:
        answer = reason(invoke(channel, CREATE, request, sent)[0])
        refused.append(answer)
        return answer

    with (
        running_server({CREATE: linger}) as server,
        channel_to(server) as channel,
        ThreadPoolExecutor(3 * THREADS) as pool,
    ):
        asked = [pool.submit(ask, channel) for _ in range(3 * THREADS)]
        wait_until(lambda: refused.count("OVERLOADED") >= THREADS)
        leave.set()
        answers = [each.result() for each in asked]
    assert set(answers) == {"OK", "OVERLOADED"}


# TLS -----------------------------------------------------------------------------------------------


def test_a_client_certificate_makes_a_service_unless_it_speaks_for_others(
    core_database: str, box: SecretBox
) -> None:
    authority = Authority()
    core, service = authority.issue("core"), authority.issue("service")
    merchant = insert_merchant(box, api_ip_whitelist="192.0.2.7")
    server_tls = ServerTls(core.certificate, core.private_key, authority.certificate)
    create = spend_in_transaction(lambda: None)
    with running_server({CREATE: create}, tls=server_tls) as server:
        tls = ClientTls(authority.certificate, service.certificate, service.private_key)
        credentials = tls.credentials()
        with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
            assert reason(invoke(channel, MERCHANTS)[0]) == "OK"
            for_somebody = [(metadata.CLIENT_ADDRESS, "192.0.2.7")]
            refusal = invoke(channel, MERCHANTS, sent=[*for_somebody])[0]
            assert reason(refusal) == "ADMIN_UNAUTHENTICATED"
            request = order_request(merchant)
            refusal = invoke(channel, CREATE, request, [*for_somebody])[0]
            assert reason(refusal) == "API_KEY_REQUIRED"
            assert reason(invoke(channel, CREATE, request, signed_metadata(merchant))[0]) == "OK"


def test_mutual_tls_refuses_callers_without_a_certificate(core_database: str) -> None:
    authority, stranger = Authority(), Authority()
    core, other = authority.issue("core"), stranger.issue("service")
    server_tls = ServerTls(core.certificate, core.private_key, authority.certificate)
    with running_server(tls=server_tls) as server:
        for tls in (
            ClientTls(authority.certificate),
            ClientTls(authority.certificate, other.certificate, other.private_key),
        ):
            address = f"127.0.0.1:{server.port}"
            with service_channel(address, TOKEN, tls=tls) as channel:
                assert reason(invoke(channel, CHANNELS)[0]) == "OVERLOADED"


def test_one_sided_tls_with_the_token(core_database: str) -> None:
    authority = Authority()
    core = authority.issue("core")
    with running_server(tls=ServerTls(core.certificate, core.private_key, None)) as server:
        tls = ClientTls(authority.certificate)
        with service_channel(f"127.0.0.1:{server.port}", TOKEN, tls=tls) as channel:
            assert reason(invoke(channel, MERCHANTS)[0]) == "OK"


# Peers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        (Peer("127.0.0.1", has_certificate=False), True),
        (Peer("::1", has_certificate=False), True),
        (Peer(None, has_certificate=False), True),
        (Peer("203.0.113.9", has_certificate=True), True),
        (Peer("203.0.113.9", has_certificate=False), False),
        (Peer("10.0.0.9", has_certificate=False), False),
    ],
)
def test_a11_whose_word_about_the_client_address_counts(peer: Peer, *, is_trusted: bool) -> None:
    values = {metadata.CLIENT_ADDRESS: b"::ffff:192.0.2.7"}
    assert peer.is_trusted is is_trusted
    assert client_address(peer, values) == ("192.0.2.7" if is_trusted else peer.address)


def test_a_forwarded_address_that_is_none_matches_nothing() -> None:
    peer = Peer("127.0.0.1", has_certificate=False)
    assert client_address(peer, {metadata.CLIENT_ADDRESS: b"localhost"}) is None
    assert client_address(peer, {}) == "127.0.0.1"


# The edge's channels ---------------------------------------------------------------------------------


async def _channels(address: str, count: int, ask: Callable[[Callable[[float], Any]], Any]) -> Any:
    channels = EdgeChannels(address, count=count)

    async def call(timeout_seconds: float) -> str:
        try:
            await channels.call(
                CHANNELS,
                payment_service_pb2.ListChannelsRequest(),
                payment_service_pb2.ListChannelsResponse,
                client_address="192.0.2.7",
                call_metadata=(),
                timeout_seconds=timeout_seconds,
            )
        except grpc.aio.AioRpcError as failure:
            return core_error_from(failure).reason
        return "OK"

    try:
        return await ask(call)
    finally:
        await channels.close()


def test_k08_a_process_that_listens_and_does_not_accept_yet_holds_up_no_call() -> None:
    """The kernel deals connections to it already; they are left for those of the processes that serve."""

    async def ask(call: Callable[[float], Any]) -> None:
        await call(5)  # connects
        assert [await call(5) for _ in range(32)] == ["OK"] * 32

    with listening_only() as port, served_beside(port):
        asyncio.run(_channels(f"127.0.0.1:{port}", 16, ask))


def test_calls_are_spread_over_processes_and_not_over_connections() -> None:
    """The kernel deals sixteen connections to two processes at random; each gets half of the calls."""
    gate, came = threading.Event(), Counter[str]()

    def handling(process: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(_request: Any, context: grpc.ServicerContext) -> Any:
            came[process] += 1
            assert gate.wait(10)
            context.set_trailing_metadata(((metadata.PROCESS, process),))
            return payment_service_pb2.ListChannelsResponse()

        return handle

    async def ask(call: Callable[[float], Any]) -> None:
        gate.set()
        assert [await call(5) for _ in range(64)] == ["OK"] * 64  # from now on they are known
        assert set(came) == {"one", "two"}
        gate.clear()
        came.clear()
        waiting = [asyncio.create_task(call(10)) for _ in range(16)]
        await asyncio.to_thread(wait_until, lambda: came.total() == 16, seconds=5, what="the calls")
        assert came == {"one": 8, "two": 8}
        gate.set()
        assert await asyncio.gather(*waiting) == ["OK"] * 16

    with served_by(handling("one"), 0) as port, served_by(handling("two"), port):
        asyncio.run(_channels(f"127.0.0.1:{port}", 16, ask))


@contextmanager
def served_by(
    handle: Callable[[Any, grpc.ServicerContext], Any], port: int, threads: int = 16
) -> Iterator[int]:
    """A process that shares a port, 0 for a new one, and handles one RPC."""
    service, _, name = CHANNELS.removeprefix("/").partition("/")
    handler: Any = grpc.unary_unary_rpc_method_handler(
        handle, response_serializer=payment_service_pb2.ListChannelsResponse.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(threads), options=[("grpc.so_reuseport", 1)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {name: handler}),)
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()


@contextmanager
def listening_only() -> Iterator[int]:
    """A process that is starting: its port is bound and nothing accepts."""
    with socket.socket(socket.AF_INET6) as starting:  # as gRPC does, or they would not share it
        starting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        starting.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        starting.bind(("::ffff:127.0.0.1", 0))
        starting.listen(64)
        yield int(starting.getsockname()[1])


@contextmanager
def served_beside(port: int) -> Iterator[None]:
    """Another process on the same port, which serves."""
    with served_by(lambda _request, _context: payment_service_pb2.ListChannelsResponse(), port):
        yield


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Server shutting down"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
    ],
)
def test_k08_a_call_goes_past_every_channel_whose_process_is_being_replaced(
    code: grpc.StatusCode, words: str
) -> None:
    ending: list[str] = []

    def handle(_request: Any, context: grpc.ServicerContext) -> Any:
        if context.peer() not in ending and len(ending) < 3:
            ending.append(context.peer())
        if context.peer() in ending:
            # In gRPC's own words, as from a process that takes no more calls.
            context.abort(code, words)
        return payment_service_pb2.ListChannelsResponse()

    async def ask(call: Callable[[float], Any]) -> None:
        assert [await call(5) for _ in range(8)] == ["OK"] * 8

    with served_by(handle, 0) as port:
        asyncio.run(_channels(f"127.0.0.1:{port}", 4, ask))
    assert len(ending) == 3


def test_n06_a_core_that_is_not_there_and_then_is(core_database: str) -> None:
    port = free_port()

    async def ask(call: Callable[[float], Any]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await call(10) == "OVERLOADED"
        assert loop.time() - started < 2
        with running_server(bind=f"127.0.0.1:{port}"):
            ends_at = loop.time() + 2
            while await call(10) != "OK":
                assert loop.time() < ends_at

    asyncio.run(_channels(f"127.0.0.1:{port}", 2, ask))


def test_n06_a_black_hole_is_given_up_within_two_seconds(core_database: str) -> None:
    """A listener that takes connections and never says a word."""

    async def ask(call: Callable[[float], Any]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await call(10) == "OVERLOADED"
        assert loop.time() - started < 2.5

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(_channels(f"127.0.0.1:{silent.getsockname()[1]}", 1, ask))


def test_the_handler_sees_the_forwarded_address(core_database: str) -> None:
    seen: list[str | None] = []

    def look(_request: Any, context: grpc.ServicerContext) -> Any:
        seen.append(call_of(context).client_address)
        return payment_service_pb2.ListChannelsResponse()

    async def ask(call: Callable[[float], Any]) -> None:
        assert [await call(5) for _ in range(4)] == ["OK"] * 4

    with running_server({CHANNELS: look}) as server:
        asyncio.run(_channels(f"127.0.0.1:{server.port}", 2, ask))
    assert seen == ["192.0.2.7"] * 4
