"""Our annotations, read from the compiled descriptors once: one `Method` record per RPC.

The core reads them to decide who may call and what an idempotency key covers; the edge reads them to build its routes,
its codecs and the OpenAPI document. Nothing about an RPC is declared anywhere else.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from novapay.access.v1 import access_service_pb2
from novapay.config.v1 import config_service_pb2
from novapay.merchants.v1 import merchant_service_pb2
from novapay.options.v1 import options_pb2
from novapay.payments.v1 import payment_service_pb2
from novapay.refunds.v1 import refund_service_pb2

_FILES = (
    payment_service_pb2.DESCRIPTOR,
    refund_service_pb2.DESCRIPTOR,
    merchant_service_pb2.DESCRIPTOR,
    config_service_pb2.DESCRIPTOR,
    access_service_pb2.DESCRIPTOR,
)


class Principal(StrEnum):
    """Who may call; the names of the proto enum without their prefix."""

    PUBLIC = "PUBLIC"
    MERCHANT = "MERCHANT"
    OPERATOR = "OPERATOR"
    SERVICE = "SERVICE"


@dataclass(frozen=True)
class Route:
    """One HTTP binding of an RPC.

    `template` has proto field names in braces. `response_body` names the field of the answer that is the HTTP body;
    empty: the whole answer. `deprecated`: an additional binding, kept for old integrations.
    """

    verb: str
    template: str
    body: str
    response_body: str
    deprecated: bool


@dataclass(frozen=True)
class Method:
    """One RPC with everything that its options say."""

    service_full_name: str
    name: str
    path: str
    request_type: type[Message]
    response_type: type[Message]
    routes: tuple[Route, ...]
    principals: frozenset[Principal]
    roles: frozenset[str]
    idempotency_operation: str
    success_status: int
    error_statuses: tuple[int, ...]


@cache
def methods() -> tuple[Method, ...]:
    """Every RPC of every service, in the order of the proto files."""
    return tuple(
        _method(descriptor)
        for file in _FILES
        for service in file.services_by_name.values()
        for descriptor in service.methods
    )


def _method(descriptor: MethodDescriptor) -> Method:
    options = descriptor.GetOptions()
    rpc = options.Extensions[options_pb2.rpc]
    service = descriptor.containing_service.full_name
    return Method(
        service_full_name=service,
        name=descriptor.name,
        path=f"/{service}/{descriptor.name}",
        request_type=GetMessageClass(descriptor.input_type),
        response_type=GetMessageClass(descriptor.output_type),
        routes=_routes(descriptor),
        principals=frozenset(
            Principal(options_pb2.Principal.Name(number).removeprefix("PRINCIPAL_")) for number in rpc.principals
        ),
        roles=frozenset(rpc.roles),
        idempotency_operation=rpc.idempotency_operation,
        success_status=rpc.success_status or 200,
        error_statuses=tuple(rpc.error_statuses),
    )


def _routes(descriptor: MethodDescriptor) -> tuple[Route, ...]:
    options = descriptor.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return ()
    first = options.Extensions[annotations_pb2.http]
    routes = []
    for rule in (first, *first.additional_bindings):
        verb = rule.WhichOneof("pattern")
        routes.append(
            Route(
                verb=verb.upper(),
                template=getattr(rule, verb),
                body=rule.body,
                response_body=rule.response_body,
                deprecated=rule is not first,
            )
        )
    return tuple(routes)
