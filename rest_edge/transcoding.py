"""HTTP routes made from the `google.api.http` annotations; one pipeline for every route that is an RPC.

A request becomes exactly one call. What the body lacks or has in the wrong type is not answered here: it travels as a
serialized `google.rpc.BadRequest` in the metadata and the core answers it after authentication, so that the order of
checks of the contract holds. The only things a merchant is told before authentication are that the body is no JSON
object and that it names no merchant.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import falcon.asgi
from google.protobuf.descriptor import FieldDescriptor
from google.rpc import error_details_pb2

from core_service import metadata as metadata_names
from core_service.errors import CoreError
from core_service.schema import Method, Route, methods
from rest_edge.authentication import (
    Metadata,
    idempotency_key,
    session_metadata,
    signature_metadata,
)
from rest_edge.console_guard import ConsoleGuard
from rest_edge.core_connection import CallFailed, CoreConnection
from rest_edge.errors import invalid_field
from rest_edge.json_codec import Violations, decoder_for, encoder_for, field_options
from rest_edge.middleware import REQUEST_KEY, EdgeRequest
from rest_edge.strict_json import InvalidJson, JsonNumber, has_forbidden_character, load_object

Responder = Callable[..., Any]

_FORBIDDEN_CHARACTERS = "has a character that is not allowed"

ORDER_NAMES = ("orderReference", "orderId", "externalOrderId")
REFUND_NAMES = ("refundReference", "refundId", "externalRefundId")
"""How a body may name an order or a refund; on the older routes the first that is not empty counts."""
_ORDER_FIELDS = ("order_reference", "order_id", "external_order_id")
_REFUND_FIELDS = ("refund_reference", "refund_id", "external_refund_id")
_OTHER_FIELDS = {ORDER_NAMES[0]: _ORDER_FIELDS[1:], REFUND_NAMES[0]: _REFUND_FIELDS[1:]}
_NOT_AN_AMOUNT = "?"


def add_rpc_routes(
    app: falcon.asgi.App[Any, Any], core: CoreConnection, guard: ConsoleGuard
) -> None:
    """Add every annotated route to the application."""
    responders: dict[str, dict[str, Responder]] = defaultdict(dict)
    for method in methods():
        if not method.routes:
            continue
        for route in method.routes:
            responders[route.template][route.verb] = RpcRoute(method, route, core, guard).respond
    for template, by_verb in responders.items():
        app.add_route(template, resource_for(by_verb))


def resource_for(responders: dict[str, Responder]) -> object:
    """A Falcon resource with these responders by verb."""
    return type(
        "Resource",
        (),
        {f"on_{verb.lower()}": staticmethod(call) for verb, call in responders.items()},
    )()


class RpcRoute:
    """One verb and path that is answered by one RPC."""

    def __init__(
        self, method: Method, route: Route, core: CoreConnection, guard: ConsoleGuard
    ) -> None:
        self._method = method
        self._template = route.template
        self._core = core
        self._guard = guard
        principals = {principal.value for principal in method.principals}
        self._is_merchant = "MERCHANT" in principals
        # What merchants and operators may both call is a merchant's route over HTTP: consoles call the core themselves.
        self._is_operator = "OPERATOR" in principals and not self._is_merchant
        self._is_change = route.verb not in ("GET", "HEAD")
        self._takes_body = bool(route.body)
        self._takes_key = bool(method.idempotency_operation)
        self._status = falcon.code_to_http_status(method.success_status)
        descriptor: Any = method.request_type.DESCRIPTOR
        self._decoder = decoder_for(descriptor)
        self._path_names = frozenset(re.findall(r"{(\w+)}", route.template))
        self._path_json_names = {
            name: descriptor.fields_by_name[name].json_name for name in self._path_names
        }
        # On an older route, which has no reference in its path: of these only the first that is not empty counts.
        self._alternatives = [
            names
            for names in (_ORDER_FIELDS, _REFUND_FIELDS)
            if not self._path_names and names[0] in descriptor.fields_by_name
        ]
        known = {field.json_name for field in descriptor.fields}
        self._strange_names = [name for name in ORDER_NAMES + REFUND_NAMES if name not in known]
        self._decimal_names = {
            field.json_name for field in descriptor.fields if field_options(field).decimal
        }
        # Query parameters may have either name: the contract has merchantCode, but also page_size.
        self._query_names = {
            name: field.json_name
            for field in descriptor.fields
            for name in (field.name, field.json_name)
        }
        self._query_kinds = {
            name: field.type
            for field in descriptor.fields
            for name in (field.name, field.json_name)
        }
        response = method.response_type.DESCRIPTOR
        self._response_field = route.response_body
        self._encode = encoder_for(
            response.fields_by_name[route.response_body].message_type
            if route.response_body
            else response
        )

    async def respond(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, **path_values: str
    ) -> None:
        """Falcon responder."""
        request: EdgeRequest = req.scope[REQUEST_KEY]
        request.route = self._template
        violations = Violations()
        call_metadata: Metadata = []
        if self._takes_key:
            _pass_idempotency_key(request, resp, call_metadata)
        if self._is_operator:
            token = self._guard.session_token(req)
            if self._is_change:
                self._guard.check_change(req, request, token)
                _pass_reason(request, call_metadata)
            call_metadata += session_metadata(token)
        values = self._values(req, request, violations)
        if self._is_merchant:
            _require_merchant_code(values)
            call_metadata += signature_metadata(request)
        message = self._message(values, path_values, violations)
        if violations.items:
            call_metadata.append((metadata_names.FIELD_VIOLATIONS, _packed(violations)))
        try:
            answer, trailing = await self._core.call(
                self._method.path, message, self._method.response_type, request, call_metadata
            )
        except CallFailed as failure:
            _show_idempotency_status(resp, failure.trailing)
            raise failure.error from None
        _show_idempotency_status(resp, trailing)
        if self._response_field:
            answer = getattr(answer, self._response_field)
        resp.status = self._status
        resp.content_type = "application/json"
        resp.data = self._encode(answer).encode()

    def _values(
        self, req: falcon.asgi.Request, request: EdgeRequest, violations: Violations
    ) -> dict[str, Any]:
        """The JSON object of the body, or the query parameters by JSON name."""
        if not self._takes_body:
            return self._query_values(req.params, violations)
        if not request.body and self._is_operator:
            return {}
        try:
            document = load_object(request.body)
        except InvalidJson:
            raise CoreError("INVALID_JSON") from None
        for name, path in document.forbidden.items():
            if name in self._decimal_names:
                document.value[name] = _NOT_AN_AMOUNT  # for which the core has a reason of its own
            else:
                violations.add(path, _FORBIDDEN_CHARACTERS)
        return document.value

    def _query_values(self, params: Mapping[str, Any], violations: Violations) -> dict[str, Any]:
        values = {}
        for name, value in params.items():
            json_name = self._query_names.get(name)
            if json_name is None:
                continue
            if isinstance(value, str) and has_forbidden_character(value):
                violations.add(json_name, _FORBIDDEN_CHARACTERS)
            else:
                values[json_name] = self._query_value(name, value)
        return values

    def _query_value(self, name: str, value: Any) -> Any:
        """A query parameter as the JSON value that its field takes; repeated ones stay a list and are refused."""
        if not isinstance(value, str):
            return value
        if self._query_kinds.get(name) == FieldDescriptor.TYPE_BOOL:
            return {"true": True, "false": False}.get(value, value)
        if self._query_kinds.get(name) in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64):
            return JsonNumber(value)
        return value

    def _message(
        self, values: dict[str, Any], path_values: dict[str, str], violations: Violations
    ) -> Any:
        message = self._method.request_type()
        self._decoder.fill(message, values, violations, except_names=self._path_names)
        self._decoder.note_missing(values, violations)
        for name, value in path_values.items():
            setattr(message, name, value)
            self._compare(message, self._path_json_names[name], values, value, violations)
        for names in self._alternatives:
            for name in [name for name in names if getattr(message, name)][1:]:
                message.ClearField(name)
        if path_values and self._is_merchant:
            for name in self._strange_names:
                if values.get(name):
                    violations.add(name, "names something else than the path does")
        return message

    def _compare(
        self,
        message: Any,
        json_name: str,
        values: Mapping[str, Any],
        value: str,
        violations: Violations,
    ) -> None:
        """What the body calls the thing of the path; the core knows whether another name of it is one."""
        in_body = values.get(json_name)
        if in_body in (None, "", value) and not isinstance(in_body, JsonNumber):
            return
        if not isinstance(in_body, str) or isinstance(in_body, JsonNumber):
            violations.add(json_name, "must be a string")
            return
        for other in _OTHER_FIELDS.get(json_name, ()):
            if not getattr(message, other):
                setattr(message, other, in_body)
                return
        violations.add(json_name, "must be the one in the path")


def _require_merchant_code(values: dict[str, Any]) -> None:
    code = values.get("merchantCode")
    if not isinstance(code, str) or isinstance(code, JsonNumber) or not code:
        raise invalid_field("merchantCode", "is required and must be a string")


def _packed(violations: Violations) -> bytes:
    packed = error_details_pb2.BadRequest()
    for field, reason in violations.items:
        packed.field_violations.add(field=field, description=reason)
    data: bytes = packed.SerializeToString()
    return data


_VISIBLE = re.compile(rb"[\x21-\x7e]{1,255}")


def _pass_idempotency_key(
    request: EdgeRequest, resp: falcon.asgi.Response, call_metadata: Metadata
) -> None:
    key = idempotency_key(request)
    if key is None:
        return
    call_metadata.append((metadata_names.IDEMPOTENCY_KEY, key))
    if _VISIBLE.fullmatch(key):
        resp.set_header("idempotency-key", key.decode("ascii"))


def _pass_reason(request: EdgeRequest, call_metadata: Metadata) -> None:
    reason = request.header(b"x-novapay-reason")
    if reason:
        call_metadata.append((metadata_names.REASON, reason))


def _show_idempotency_status(resp: falcon.asgi.Response, trailing: Any) -> None:
    status = trailing.get(metadata_names.IDEMPOTENCY_STATUS)
    if status:
        resp.set_header("x-novapay-idempotency-status", status)
