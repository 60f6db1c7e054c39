"""Those parts of the OpenAPI document that no proto file declares: shared pieces, and routes that are not RPCs."""

from collections.abc import Iterable
from typing import Any

from rest_edge.openapi_errors import WECHAT_FAIL, codes_of, error_example, error_schema
from rest_edge.openapi_words import Word, word_for

Schema = dict[str, Any]

_ERROR_TEXTS = {
    400: ("请求不合法", "The request is not valid"),
    401: ("未通过身份校验", "Authentication failed"),
    403: ("没有权限", "Not allowed"),
    404: ("不存在", "Not found"),
    409: ("与现有数据或正在处理的请求冲突", "Conflict with what exists or is being done"),
    413: ("请求体过大", "The body is too large"),
    422: ("当前无法处理", "Cannot be done as things are"),
    429: ("请求过于频繁", "Too many requests"),
    500: ("上游通道或服务端发生异常", "The provider or the service failed"),
    503: ("服务暂时不可用", "Temporarily unavailable"),
}


def error_response(status: int, codes: Iterable[str]) -> Schema:
    """An error answer; all have one shape."""
    chinese, english = _ERROR_TEXTS[status]
    known = list(codes)
    response: Schema = {"description": chinese, "x-description-en": english, "x-codes": known}
    if status in (429, 503):
        response["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}} | worded("Retry-After")
        }
    content = {"schema": error_schema(), "example": error_example(known[0])}
    return response | {"content": {"application/json": content}}


def path_parameter(name: str, message: str = "") -> Schema:
    """A path variable; `message` is the request message that has it as a field."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
    } | worded(name, message)


def header_parameter(name: str) -> Schema:
    """A header. Never required in the document: what is missing is answered by the operation itself."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
    } | worded(name)


def worded(name: str, message: str = "") -> Schema:
    """Descriptions and example of a parameter or header."""
    word = word_for(message, name) or Word("", "")
    texts = {"description": word.chinese, "x-description-en": word.english}
    return texts if word.example is None else texts | {"example": word.example}


def _operation(
    operation_id: str, tag: str, chinese: str, english: str, responses: Schema, **more: Any
) -> Schema:
    return {
        "operationId": operation_id,
        "tags": [tag],
        "summary": chinese,
        "x-summary-en": english,
        **more,
        "responses": responses,
    }


def _errors(operation_id: str, *statuses: int) -> Schema:
    return {
        str(status): error_response(status, codes_of(operation_id, frozenset(), status))
        for status in statuses
    }


def _wxpay_refusal(status: int) -> Schema:
    """WeChat Pay reads `code` and `message`; what never reaches the core has our own codes."""
    own = {404: ["NOT_FOUND"], 500: ["INTERNAL"], 503: ["OVERLOADED", "DATABASE_UNAVAILABLE"]}
    response = error_response(status, [WECHAT_FAIL, *own.get(status, ())])
    media = response["content"]["application/json"]
    word = word_for("Error", "message") or Word("", "")
    media["schema"]["properties"]["message"] = {
        "type": "string",
        "description": word.chinese,
        "x-description-en": word.english,
    }
    media["example"] |= {"message": media["example"]["error"]}
    return response


def _success(
    status: int, chinese: str, english: str, media_type: str = "", schema: Schema | None = None
) -> Schema:
    response: Schema = {"description": chinese, "x-description-en": english}
    if media_type:
        response["content"] = {media_type: {"schema": schema or {"type": "string"}}}
    return {str(status): response}


def _object(message: str, **fields: Schema) -> Schema:
    """An object whose fields are explained by the common words."""
    for name, schema in fields.items():
        word = word_for(message, name) or Word("", "")
        schema.setdefault("description", word.chinese)
        schema.setdefault("x-description-en", word.english)
        if word.example is not None:
            schema["examples"] = [word.example]
    return {"type": "object", "properties": fields}


def _text(**more: Any) -> Schema:
    return {"type": "string", **more}


_HEALTH = _object("Health", ok={"type": "boolean"}, database=_text(enum=["ok", "unavailable"]))

_UNHEALTHY = _HEALTH | {"examples": [{"ok": False, "database": "unavailable"}]}

_SESSION = _object(
    "Session",
    operator=_object(
        "Operator",
        id=_text(),
        email=_text(),
        name=_text(),
        role=_text(enum=["SUPER_ADMIN", "OPS_ADMIN", "FINANCE_ADMIN", "VIEWER"]),
        createdAt=_text(format="date-time"),
    ),
    csrfToken=_text(),
    expiresAt=_text(format="date-time"),
)

_SIGN_IN = {"required": ["email", "password"]} | _object(
    "SignInRequest",
    email=_text(),
    password=_text(),
    otp={
        "type": ["string", "null"],
        "description": "启用 TOTP 后的六位动态码",
        "x-description-en": "Six digits, once TOTP is on",
    },
)

_CALLBACK_PARAMETERS = [path_parameter("accountId"), path_parameter("token")]
_SESSION_COOKIE = [{"adminSession": list[str]()}]


def _alipay(operation_id: str, chinese: str, english: str) -> Schema:
    success = _success(
        200,
        "回调处理成功后返回纯文本 success",
        "Plain text success, once the result is committed",
        "text/plain",
        {"type": "string", "const": "success"},
    )
    return _operation(
        operation_id,
        "ProviderCallback",
        chinese,
        english,
        success | _errors(operation_id, 400, 404, 413, 500, 503),
        parameters=_CALLBACK_PARAMETERS,
    )


def _page(operation_id: str, chinese: str, english: str) -> Schema:
    page = _success(200, "HTML 页面", "A web page", "text/html")
    missing = {
        "404": {
            "description": "订单不存在",
            "x-description-en": "There is no such order",
            "x-codes": ["ORDER_NOT_FOUND"],
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
    }
    return _operation(
        operation_id,
        "Checkout",
        chinese,
        english,
        page | missing,
        parameters=[path_parameter("orderId")],
    )


def _document(operation_id: str) -> Schema:
    schema: Schema = {"type": "object", "additionalProperties": True}
    return _operation(
        operation_id,
        "Document",
        "本 API 文档",
        "This document",
        _success(200, "OpenAPI 3.1", "OpenAPI 3.1", "application/json", schema),
    )


HANDWRITTEN_PATHS: dict[str, Schema] = {
    "/api/health": {
        "get": _operation(
            "health",
            "Health",
            "健康检查",
            "Health of the service and its database",
            _success(
                200,
                "服务与数据库状态",
                "State of service and database",
                "application/json",
                _HEALTH,
            )
            | _success(
                503,
                "数据库不可用",
                "The database cannot be reached",
                "application/json",
                _UNHEALTHY,
            ),
        )
    },
    "/api/payments/callback/alipay/{accountId}/{token}": {
        "post": _alipay("alipayCallback", "支付宝商户实例回调接口", "Notification from Alipay"),
        "get": _alipay(
            "alipayCallbackQuery",
            "支付宝商户实例回调调试接口(Query String)",
            "Notification from Alipay as a query string, for debugging",
        ),
    },
    "/api/payments/callback/wxpay/{accountId}/{token}": {
        "post": _operation(
            "wxpayCallback",
            "ProviderCallback",
            "微信支付商户实例回调接口",
            "Notification from WeChat Pay, of payments and of refunds",
            _success(204, "回调已受理", "Taken, once the result is committed")
            | _errors("wxpayCallback", 413)
            | {str(status): _wxpay_refusal(status) for status in (400, 404, 500, 503)},
            parameters=_CALLBACK_PARAMETERS,
        )
    },
    "/api/admin/session": {
        "post": _operation(
            "signIn",
            "Session",
            "后台登录",
            "Sign in; the session comes back as a cookie",
            _success(200, "已登录", "Signed in", "application/json", _SESSION)
            | _errors("signIn", 400, 401, 403, 413, 429, 500, 503),
            requestBody={"required": True, "content": {"application/json": {"schema": _SIGN_IN}}},
        ),
        "get": _operation(
            "getSession",
            "Session",
            "当前登录的操作员",
            "Who is signed in",
            _success(200, "当前会话", "The session", "application/json", _SESSION)
            | _errors("getSession", 401, 500, 503),
            security=_SESSION_COOKIE,
        ),
        "delete": _operation(
            "signOut",
            "Session",
            "退出登录",
            "Sign out; the session ends on the server",
            _success(204, "已退出", "Signed out") | _errors("signOut", 401, 403, 500, 503),
            security=_SESSION_COOKIE,
        ),
    },
    "/pay/{orderId}": {"get": _page("cashier", "托管收银台", "Hosted cashier")},
    "/pay/{orderId}/return": {"get": _page("cashierResult", "托管结果页", "Hosted result page")},
    "/api/openapi": {"get": _document("openapi")},
    "/openapi.json": {"get": _document("openapiJson")},
    "/docs": {
        "get": _operation(
            "docs",
            "Document",
            "文档页面",
            "Documentation page",
            _success(200, "HTML 页面", "A web page", "text/html"),
        )
    },
}
