"""A core server in this process, with handlers that do just what a test needs."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import Message

from core_service import metadata
from core_service.application import access
from core_service.application.merchants import Merchants
from core_service.client import core_error_from
from core_service.errors import CoreError
from core_service.rpc.access_servicer import AccessServicer
from core_service.rpc.callers import Callers
from core_service.rpc.interceptors import Interceptors, call_of
from core_service.rpc.server import THREADS, CoreServer, ServerTls
from core_service.schema import Method, methods, service_names
from core_service.storage.database import transact
from core_service.storage.secret_box import SecretBox
from novapay.payments.v1 import payment_service_pb2
from tests.core_service.merchant_rows import TEST_KEYS, KnownMerchant

TEST_BOX = SecretBox(TEST_KEYS)
TOKEN = "test-service-token"  # a test token
CREATE = "/novapay.payments.v1.PaymentService/CreatePaymentOrder"
QUERY = "/novapay.payments.v1.PaymentService/QueryPaymentOrder"
CHANNELS = "/novapay.payments.v1.PaymentService/ListChannels"
MERCHANTS = "/novapay.merchants.v1.MerchantService/ListMerchants"

Handler = Callable[[Any, grpc.ServicerContext], Message]
Metadata = list[tuple[str, str | bytes]]


def servicers(handlers: Mapping[str, Handler]) -> dict[str, Any]:
    """Servicers whose methods answer empty messages, but for `handlers` (by path)."""
    made: dict[str, Any] = {}
    for name in service_names():
        own = {m.name: _handler(m, handlers) for m in methods() if m.service_full_name == name}
        made[name] = type("Servicer", (), own)()
    made["novapay.access.v1.AccessService"] = AccessServicer(Merchants(TEST_BOX, []))
    return made


def _handler(method: Method, handlers: Mapping[str, Handler]) -> Any:
    chosen = handlers.get(method.path)

    def handle(_self: Any, request: Any, context: grpc.ServicerContext) -> Message:
        return method.response_type() if chosen is None else chosen(request, context)

    return handle


def spend_in_transaction(
    effect: Callable[[], None],
) -> Callable[[Any, grpc.ServicerContext], Message]:
    """A handler of an order's creation that spends the nonce together with its effect."""

    def create(request: Any, context: grpc.ServicerContext) -> Message:
        call = call_of(context)

        def work() -> None:
            access.spend_nonce(call)
            effect()

        transact(work)
        access.nonce_spent(call)
        return payment_service_pb2.CreatePaymentOrderResponse(created=True)

    return create


@contextmanager
def running_server(
    handlers: Mapping[str, Handler] | None = None,
    *,
    bind: str = "127.0.0.1:0",
    tls: ServerTls | None = None,
    with_reflection: bool = False,
    is_healthy: Callable[[], bool] = lambda: True,
    database_is_up: Callable[[], bool] = lambda: True,
) -> Iterator[CoreServer]:
    """Started, and stopped at the end."""
    server = CoreServer(
        servicers(handlers or {}),
        Interceptors(Callers(TOKEN), threads=THREADS, database_is_up=database_is_up),
        bind=bind,
        tls=tls,
        is_port_shared=False,
        with_reflection=with_reflection,
        is_healthy=is_healthy,
    )
    server.start()
    try:
        yield server
    finally:
        server.stop(1)


@contextmanager
def channel_to(server: CoreServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel


def invoke(
    channel: grpc.Channel,
    path: str,
    request: Message | None = None,
    sent: Metadata | None = None,
    timeout: float | None = 10,
) -> tuple[Any, dict[str, Any]]:
    """The answer, or the CoreError that it means; and the trailing metadata."""
    method = next(method for method in methods() if method.path == path)
    call: Any = channel.unary_unary(
        path,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=method.response_type.FromString,
    )
    try:
        answer, done = call.with_call(
            request or method.request_type(), timeout=timeout, metadata=tuple(sent or ())
        )
    except grpc.RpcError as failure:
        trailing: Any = failure.trailing_metadata() or ()
        return core_error_from(failure), dict(trailing)
    return answer, dict(done.trailing_metadata() or ())


def reason(answer: Any) -> str:
    """The code of a refusal, or OK."""
    return answer.reason if isinstance(answer, CoreError) else "OK"


def signed_metadata(
    merchant: KnownMerchant, *, nonce: str | None = None, body: bytes = b"{}"
) -> Metadata:
    """What the edge sends for a merchant's good request."""
    timestamp = str(int(time.time()))
    nonce = nonce or secrets.token_hex(8)
    message = f"{timestamp}.{nonce}.".encode() + body
    digest = hmac.new(merchant.key.secret.encode(), message, hashlib.sha256).hexdigest()
    return [
        (metadata.API_KEY, merchant.key.key_id.encode()),
        (metadata.TIMESTAMP, timestamp.encode()),
        (metadata.NONCE, nonce.encode()),
        (metadata.SIGNATURE, digest.encode()),
        (metadata.SIGNED_BODY, body),
        (metadata.CLIENT_ADDRESS, "192.0.2.7"),
    ]


def order_request(merchant: KnownMerchant) -> payment_service_pb2.CreatePaymentOrderRequest:
    """A request that keeps every field rule."""
    return payment_service_pb2.CreatePaymentOrderRequest(
        merchant_code=merchant.code,
        channel_code="alipay.page",
        external_order_id="order-1",
        amount="1.00",
        subject="Tea",
    )
