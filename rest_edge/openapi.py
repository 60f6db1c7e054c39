"""The OpenAPI document: made from descriptors and proto comments, committed, and served as it is.

`python -m rest_edge.openapi` writes `rest_edge/openapi.json`, `--check` compares. So a route cannot exist undocumented,
and the document needs no compiler at run time. What is not an RPC (health, provider callbacks, sessions, pages) is
described by hand in `openapi_handwritten.py`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import falcon.asgi
from google.protobuf import descriptor_pb2

from core_service.schema import Method, Route, methods
from rest_edge.middleware import REQUEST_KEY
from rest_edge.openapi_errors import codes_of, error_table, groups_of
from rest_edge.openapi_examples import add_examples
from rest_edge.openapi_handwritten import (
    HANDWRITTEN_PATHS,
    error_response,
    header_parameter,
    path_parameter,
    worded,
)
from rest_edge.openapi_schemas import (
    Comments,
    Schema,
    Texts,
    field_texts,
    query_schema,
    request_schema,
    response_schema,
)

DOCUMENT = Path(__file__).with_name("openapi.json")
VERSION = "0.1.0"
OPENAPI_PATHS = ("/api/openapi", "/openapi.json")

_SIGNING_HEADERS = (
    "x-novapay-key",
    "x-novapay-timestamp",
    "x-novapay-nonce",
    "x-novapay-signature",
)


class OpenApi:
    """GET /api/openapi and /openapi.json."""

    def __init__(self, route: str) -> None:
        self._route = route
        self._document = files("rest_edge").joinpath("openapi.json").read_bytes()

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The committed bytes; any page may read them."""
        req.scope[REQUEST_KEY].route = self._route
        resp.content_type = "application/json"
        resp.set_header("access-control-allow-origin", "*")
        resp.data = self._document


def document(comments: Comments) -> Schema:
    """The whole document."""
    paths: dict[str, Any] = {}
    for method in methods():
        for route in method.routes:
            operations = paths.setdefault(_json_template(method, route), {})
            operations[route.verb.lower()] = _operation(method, route, comments)
    for path, operations in HANDWRITTEN_PATHS.items():
        paths.setdefault(path, {}).update(operations)
    add_examples(paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "NovaPay API",
            "version": VERSION,
            "description": "商户通过一套签名 API 使用自己的支付宝与微信支付账户收款。",
            "x-description-en": (
                "One signed API with which merchants take payments through their own Alipay and WeChat Pay accounts."
            ),
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "adminSession": {"type": "apiKey", "in": "cookie", "name": "novapay_admin_session"}
            }
        },
        "x-errors": dict(error_table()),
    }


def _operation(method: Method, route: Route, comments: Comments) -> Schema:
    texts = comments.get(f"{method.service_full_name}.{method.name}", Texts())
    principals = {principal.value for principal in method.principals}
    if "MERCHANT" in principals:
        # Over HTTP such a route is the merchant's alone; see rest_edge/transcoding.py.
        principals = {"MERCHANT"}
    operation: Schema = {
        "operationId": _operation_id(method, route),
        "tags": [method.service_full_name.rpartition(".")[2].removesuffix("Service")],
        "summary": texts.chinese or texts.english,
        "x-summary-en": texts.english,
    }
    if route.deprecated:
        operation["deprecated"] = True
    if "OPERATOR" in principals:
        operation["security"] = [{"adminSession": []}]
        operation["x-roles"] = sorted(method.roles)
    parameters = _parameters(
        method,
        route,
        comments,
        is_signed="MERCHANT" in principals,
        takes_reason="OPERATOR" in principals and route.verb != "GET",
    )
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        body = request_schema(
            method.request_type.DESCRIPTOR,
            comments,
            in_path=frozenset(_path_names(route)),
            is_legacy=route.deprecated,
        )
        if body["properties"]:
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": body}},
            }
    operation["responses"] = _responses(method, route, comments, principals)
    return operation


def _parameters(
    method: Method, route: Route, comments: Comments, *, is_signed: bool, takes_reason: bool
) -> list[Schema]:
    descriptor = method.request_type.DESCRIPTOR
    names = _path_names(route)
    parameters = [
        path_parameter(descriptor.fields_by_name[name].json_name, descriptor.name) for name in names
    ]
    if is_signed:
        parameters += [header_parameter(name) for name in _SIGNING_HEADERS]
    if method.idempotency_operation:
        parameters.append(header_parameter("Idempotency-Key"))
    if takes_reason:
        parameters.append(header_parameter("x-novapay-reason"))
    if not route.body:
        parameters += [
            {
                # Paging parameters are the only ones whose names the contract writes with an underscore.
                "name": field.name if field.name.startswith("page_") else field.json_name,
                "in": "query",
                "required": False,
                "schema": query_schema(field),
            }
            | _parameter_texts(field, comments)
            for field in descriptor.fields
            if field.name not in names
        ]
    return parameters


def _operation_id(method: Method, route: Route) -> str:
    name = method.name[0].lower() + method.name[1:]
    return name + ("Legacy" if route.deprecated else "")


def _parameter_texts(field: Any, comments: Comments) -> Schema:
    texts = field_texts(field, comments)
    examples = texts.pop("examples", None)
    return texts | ({"example": examples[0]} if examples else {})


def _responses(method: Method, route: Route, comments: Comments, principals: set[str]) -> Schema:
    response = method.response_type.DESCRIPTOR
    if route.response_body:
        schema = response_schema(
            response.fields_by_name[route.response_body].message_type, comments, is_top=False
        )
    else:
        schema = response_schema(response, comments)
    statuses = {500, 503, *method.error_statuses}
    if "MERCHANT" in principals:
        statuses |= {400, 401, 403, 404, 413, 429}
    if "OPERATOR" in principals:
        statuses |= {400, 401, 403} | ({413} if route.body else set())
    success: Schema = {
        "description": "成功",
        "x-description-en": "Done",
        "content": {"application/json": {"schema": schema}},
    }
    if method.idempotency_operation:
        kept: Schema = {"type": "string", "enum": ["created", "replayed"]}
        success["headers"] = {
            "Idempotency-Key": {"schema": {"type": "string"}} | worded("Idempotency-Key"),
            "X-NovaPay-Idempotency-Status": {"schema": kept}
            | worded("X-NovaPay-Idempotency-Status"),
        }
    operation_id = _operation_id(method, route)
    groups = groups_of(
        principals,
        takes_key=bool(method.idempotency_operation),
        has_body=bool(route.body),
        has_path_variable=bool(_path_names(route)),
    )
    return {str(method.success_status): success} | {
        str(status): error_response(status, codes_of(operation_id, groups, status))
        for status in sorted(statuses)
    }


def _path_names(route: Route) -> list[str]:
    return re.findall(r"{(\w+)}", route.template)


def _json_template(method: Method, route: Route) -> str:
    fields = method.request_type.DESCRIPTOR.fields_by_name
    return re.sub(r"{(\w+)}", lambda found: f"{{{fields[found[1]].json_name}}}", route.template)


# --- comments ---------------------------------------------------------------------------------------------------------


def comments_of(image: bytes) -> dict[str, Texts]:
    """The leading comments in a descriptor set made with source info."""
    comments: dict[str, Texts] = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(image).file:
        if file.package.startswith("novapay."):
            for location in file.source_code_info.location:
                name = _name_at(file, location.path)
                if name and location.leading_comments.strip():
                    comments[name] = _texts(location.leading_comments)
    return comments


_METHOD_PATH = re.compile(r"6,(\d+),2,(\d+)")
_FIELD_PATH = re.compile(r"4,(\d+),2,(\d+)")


def _name_at(file: descriptor_pb2.FileDescriptorProto, path: Sequence[int]) -> str | None:
    """Full name of the method or field that a source location is about."""
    text = ",".join(map(str, path))
    if found := _METHOD_PATH.fullmatch(text):
        service = file.service[int(found[1])]
        return f"{file.package}.{service.name}.{service.method[int(found[2])].name}"
    if found := _FIELD_PATH.fullmatch(text):
        message = file.message_type[int(found[1])]
        return f"{file.package}.{message.name}.{message.field[int(found[2])].name}"
    return None


def _texts(comment: str) -> Texts:
    english, chinese = [], []
    for line in comment.strip().splitlines():
        if line.strip().startswith("zh:"):
            chinese.append(line.strip().removeprefix("zh:").strip())
        else:
            english.append(line.strip())
    return Texts(" ".join(english).strip(), " ".join(chinese))


# --- command ----------------------------------------------------------------------------------------------------------


def render(image: bytes) -> str:
    """The file's text."""
    return json.dumps(document(comments_of(image)), ensure_ascii=False, indent=1) + "\n"


def proto_image() -> bytes:
    """A descriptor set with comments, from the generator that also makes `generated/`."""
    generator = Path(__file__).parents[1] / "protos" / "generate.py"
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "protos.binpb"
        subprocess.run([sys.executable, str(generator), "--image", str(image)], check=True)
        return image.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the document; the exit status says whether `--check` found a difference."""
    parser = argparse.ArgumentParser(
        description="Make rest_edge/openapi.json from the proto files."
    )
    parser.add_argument("--check", action="store_true", help="only compare with the committed file")
    chosen = parser.parse_args(arguments)
    fresh = render(proto_image())
    if chosen.check:
        if DOCUMENT.read_text(encoding="utf-8") == fresh:
            return 0
        sys.stderr.write("rest_edge/openapi.json is out of date; run make generate\n")
        return 1
    DOCUMENT.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
