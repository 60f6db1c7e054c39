"""Every RPC of NovaPay as one plain record, read from the proto descriptors once.

The core reads from it who may call, the edge reads its routes, both read it at start. So a method
that declares no principals stops the process instead of being open to everybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from types import ModuleType

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from core_service.calls import Principal
from novapay.access.v1 import access_service_pb2, access_service_pb2_grpc
from novapay.config.v1 import config_service_pb2, config_service_pb2_grpc
from novapay.merchants.v1 import merchant_service_pb2, merchant_service_pb2_grpc
from novapay.options.v1 import options_pb2
from novapay.payments.v1 import payment_service_pb2, payment_service_pb2_grpc
from novapay.refunds.v1 import refund_service_pb2, refund_service_pb2_grpc

_FILES: tuple[tuple[ModuleType, ModuleType], ...] = (
    (payment_service_pb2, payment_service_pb2_grpc),
    (refund_service_pb2, refund_service_pb2_grpc),
    (merchant_service_pb2, merchant_service_pb2_grpc),
    (access_service_pb2, access_service_pb2_grpc),
    (config_service_pb2, config_service_pb2_grpc),
)

_VERBS = ("get", "put", "post", "delete", "patch")


class SchemaIncomplete(Exception):
    """An RPC is declared in a way that leaves open who may call it."""


@dataclass(frozen=True)
class Route:
    """One HTTP route of an RPC."""

    verb: str
    """Upper case."""
    template: str
    """Path with `{field_name}` placeholders."""
    body: str
    """`*`, a field's name, or empty when the request has no body."""
    response_body: str
    """The response field that is the whole answer; empty: the response message itself."""
    deprecated: bool
    """An additional binding: an old path that is served for ever."""


@dataclass(frozen=True)
class Method:
    """One RPC."""

    service_full_name: str
    name: str
    path: str
    """As on the wire: /package.Service/Method."""
    request_type: type[Message]
    response_type: type[Message]
    routes: tuple[Route, ...]
    principals: frozenset[Principal]
    roles: frozenset[str]
    """Operator roles that may call."""
    staff_roles: frozenset[str]
    """Roles of a merchant's staff that may call."""
    idempotency_operation: str
    """Name inside an idempotency key's scope; empty: takes no key."""
    success_status: int
    error_statuses: tuple[int, ...]
    comment: str
    """The comment in the proto file: English, then a line that begins with `zh:`."""


@cache
def methods() -> tuple[Method, ...]:
    """All RPCs in the order of the proto files. Raises SchemaIncomplete."""
    return tuple(
        _method(descriptor, handlers)
        for messages, handlers in _FILES
        for service in messages.DESCRIPTOR.services_by_name.values()
        for descriptor in service.methods
    )


@cache
def methods_by_path() -> Mapping[str, Method]:
    """The same, by path on the wire."""
    return {method.path: method for method in methods()}


@cache
def method_named(name: str) -> Method:
    """The RPC `Service.Name`, such as `PaymentService.GetCheckout`. Raises KeyError."""
    return {
        f"{method.service_full_name.rpartition('.')[2]}.{method.name}": method
        for method in methods()
    }[name]


@cache
def service_names() -> tuple[str, ...]:
    """Full names of the services, without repeats."""
    return tuple(dict.fromkeys(method.service_full_name for method in methods()))


def _method(descriptor: MethodDescriptor, handlers: ModuleType) -> Method:
    service: ServiceDescriptor = descriptor.containing_service
    options = descriptor.GetOptions().Extensions[options_pb2.rpc]
    principals = frozenset(
        Principal(options_pb2.Principal.Name(number).removeprefix("PRINCIPAL_"))
        for number in options.principals
        if number != options_pb2.PRINCIPAL_UNSPECIFIED
    )
    path = f"/{service.full_name}/{descriptor.name}"
    if not principals:
        raise SchemaIncomplete(f"{path} does not declare who may call it")
    if (Principal.OPERATOR in principals) != bool(options.roles):
        raise SchemaIncomplete(f"{path} must name roles exactly when operators may call it")
    if (Principal.STAFF in principals) != bool(options.staff_roles):
        raise SchemaIncomplete(f"{path} must name staff_roles exactly when staff may call it")
    servicer = getattr(handlers, f"{service.name}Servicer")
    return Method(
        service_full_name=service.full_name,
        name=descriptor.name,
        path=path,
        request_type=GetMessageClass(descriptor.input_type),
        response_type=GetMessageClass(descriptor.output_type),
        routes=_routes(descriptor),
        principals=principals,
        roles=frozenset(options.roles),
        staff_roles=frozenset(options.staff_roles),
        idempotency_operation=options.idempotency_operation,
        success_status=options.success_status or 200,
        error_statuses=tuple(options.error_statuses),
        comment=cleandoc(getattr(servicer, descriptor.name).__doc__ or "").strip(),
    )


def _routes(descriptor: MethodDescriptor) -> tuple[Route, ...]:
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    if rule.WhichOneof("pattern") is None:
        return ()
    main = _route(rule, response_body=rule.response_body, deprecated=False)
    return (
        main,
        *(
            _route(
                binding,
                response_body=binding.response_body or rule.response_body,
                deprecated=True,
            )
            for binding in rule.additional_bindings
        ),
    )


def _route(rule: http_pb2.HttpRule, *, response_body: str, deprecated: bool) -> Route:
    verb = rule.WhichOneof("pattern")
    if verb not in _VERBS:
        raise SchemaIncomplete(f"http rule with pattern {verb!r} is not supported")
    return Route(
        verb=verb.upper(),
        template=getattr(rule, verb),
        body=rule.body,
        response_body=response_body,
        deprecated=deprecated,
    )
