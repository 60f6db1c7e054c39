"""GET /docs: every operation of the OpenAPI document on one page, in both languages, without any outside resource."""

import json
from importlib.resources import files
from typing import Any

import falcon.asgi

from rest_edge.middleware import REQUEST_KEY
from rest_edge.pages import LANGUAGES, chosen_language, render, show

DOCS_PATH = "/docs"

_TEXTS = {
    "zh-CN": {
        "title": "API 文档",
        "other_language": "English",
        "other_language_code": "en",
        "parameters": "参数",
        "body": "请求体",
        "answers": "响应",
        "name": "名称",
        "type": "类型",
        "meaning": "说明",
        "required": "必填",
        "deprecated": "已弃用，但会一直可用",
        "machine": "机器可读文档",
    },
    "en": {
        "title": "API documentation",
        "other_language": "中文",
        "other_language_code": "zh-CN",
        "parameters": "Parameters",
        "body": "Body",
        "answers": "Answers",
        "name": "Name",
        "type": "Type",
        "meaning": "Meaning",
        "required": "required",
        "deprecated": "deprecated, but served for ever",
        "machine": "Machine-readable document",
    },
}


class Documentation:
    """The page; made once per language when the application starts."""

    def __init__(self) -> None:
        document = json.loads(files("rest_edge").joinpath("openapi.json").read_bytes())
        self._pages = {
            language: render(
                "docs.html",
                language,
                texts=_TEXTS[language],
                intro=_text(document["info"], "description", language),
                groups=_groups(document, language),
            )
            for language in LANGUAGES
        }

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The page in the reader's language."""
        req.scope[REQUEST_KEY].route = DOCS_PATH
        language = chosen_language(req)
        show(resp, self._pages[language], language)


def _groups(document: Any, language: str) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(
                _operation_view(verb, path, operation, language)
            )
    return groups


def _operation_view(verb: str, path: str, operation: Any, language: str) -> dict[str, Any]:
    body = (
        operation.get("requestBody", {})
        .get("content", {})
        .get("application/json", {})
        .get("schema")
    )
    return {
        "verb": verb.upper(),
        "path": path,
        "summary": _text(operation, "summary", language),
        "deprecated": operation.get("deprecated", False),
        "parameters": [
            {
                "name": f"{item['name']} ({item['in']})",
                "type": _type_name(item["schema"]),
                "required": item["required"],
                "text": _text(item, "description", language),
            }
            for item in operation.get("parameters", ())
        ],
        "body": _rows(body, language, "") if body else [],
        "answers": [
            {
                "status": status,
                "text": _text(response, "description", language),
                "rows": _rows(_answer_schema(response), language, "") if status < "400" else [],
            }
            for status, response in operation["responses"].items()
        ],
    }


def _answer_schema(response: Any) -> Any:
    return response.get("content", {}).get("application/json", {}).get("schema", {})


def _rows(schema: Any, language: str, prefix: str) -> list[dict[str, Any]]:
    """The fields of an object schema, inner ones below their parent with dotted names."""
    rows = []
    for name, field in schema.get("properties", {}).items():
        rows.append(
            {
                "name": prefix + name,
                "type": _type_name(field),
                "required": name in schema.get("required", ()),
                "text": _text(field, "description", language),
            }
        )
        inner = field.get("items", field)
        rows += _rows(inner, language, f"{prefix}{name}{'[]' if 'items' in field else ''}.")
    return rows


def _type_name(schema: Any) -> str:
    if "oneOf" in schema:
        return " | ".join(_type_name(item) for item in schema["oneOf"])
    kind = schema.get("type", "any")
    name = " | ".join(kind) if isinstance(kind, list) else str(kind)
    values = [str(value) for value in schema.get("enum", ()) if value is not None]
    return f"{name}: {', '.join(values)}" if values else name


def _text(item: Any, key: str, language: str) -> str:
    english = item.get(f"x-{key}-en", "")
    return str((english if language == "en" else "") or item.get(key, ""))
