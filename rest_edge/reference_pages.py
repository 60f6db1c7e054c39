"""The reference: the OpenAPI document's operations as plain values for the templates, in one language."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

SECTIONS = ("merchant", "provider", "admin", "public")


@dataclass(frozen=True)
class Operation:
    """One verb on one path. `legacy` are the old paths that do the same; `current` is set on those themselves."""

    id: str
    verb: str
    path: str
    section: str
    content: Mapping[str, Any]
    legacy: tuple[str, ...]
    current: str

    @property
    def is_deprecated(self) -> bool:
        return bool(self.content.get("deprecated"))

    def title(self, language: str) -> str:
        """The beginning of the summary, up to where it goes into particulars."""
        return re.split(r"[,;.:，；。：]", text(self.content, "summary", language), maxsplit=1)[0]


def operations_of(document: Mapping[str, Any]) -> dict[str, Operation]:
    """By operation id, in the order of the document."""
    found = [
        (content["operationId"], verb.upper(), path, content)
        for path, operations in document["paths"].items()
        for verb, content in operations.items()
    ]
    return {
        name: Operation(
            name,
            verb,
            path,
            _section(path, content),
            content,
            tuple(f"{item[1]} {item[2]}" for item in found if item[0] == name + "Legacy"),
            name.removesuffix("Legacy") if content.get("deprecated") else "",
        )
        for name, verb, path, content in found
    }


def _section(path: str, content: Mapping[str, Any]) -> str:
    if path.startswith("/api/payments/callback/"):
        return "provider"
    if path.startswith("/api/admin/"):
        return "admin"
    names = {item["name"] for item in content.get("parameters", ())}
    return "merchant" if "x-novapay-key" in names else "public"


def text(item: Mapping[str, Any], key: str, language: str) -> str:
    """A text in the reader's language."""
    return str(item.get(f"x-{key}-en" if language == "en" else key) or "")


def operation_view(
    operation: Operation, errors: Mapping[str, Any], language: str
) -> dict[str, Any]:
    """What the template shows of an operation."""
    content = operation.content
    body = _json_media(content.get("requestBody", {}))
    responses = content["responses"]
    return {
        "id": operation.id,
        "verb": operation.verb,
        "path": operation.path,
        "section": operation.section,
        "title": operation.title(language),
        "summary": text(content, "summary", language).removesuffix("."),
        "deprecated": operation.is_deprecated,
        "current": operation.current,
        "legacy": operation.legacy,
        "roles": content.get("x-roles", ()),
        "parameters": [_parameter(item, language) for item in content.get("parameters", ())],
        "fields": list(_rows(body.get("schema", {}), language)),
        "request": _request_sample(operation, body),
        "answers": [
            _answer(status, response, language)
            for status, response in responses.items()
            if not response.get("x-codes")
        ],
        "errors": [
            _error(status, response, code, errors[code], language)
            for status, response in responses.items()
            for code in response.get("x-codes", ())
        ],
    }


def search_words(operation: Operation) -> str:
    """What the filter box finds an operation by, in both languages."""
    content = operation.content
    body = _json_media(content.get("requestBody", {})).get("schema", {})
    words = [
        operation.id,
        operation.path,
        *operation.legacy,
        content["summary"],
        content["x-summary-en"],
    ]
    words += [row["name"] for row in _rows(body, "en")]
    for response in content["responses"].values():
        words += response.get("x-codes", ())
        if not response.get("x-codes"):
            words += [row["name"] for row in _rows(_json_media(response).get("schema", {}), "en")]
    return " ".join(dict.fromkeys(words)).lower()


def _json_media(part: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = part.get("content", {}).get("application/json", {})
    return found


def _parameter(item: Mapping[str, Any], language: str) -> dict[str, Any]:
    return _row(item["name"], item["schema"], 0, required=item.get("required", False)) | {
        "where": item["in"],
        "text": text(item, "description", language),
    }


def _rows(schema: Mapping[str, Any], language: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The fields of an object, inner ones below their parent."""
    for name, field in schema.get("properties", {}).items():
        row = _row(name, field, depth, required=name in schema.get("required", ()))
        yield row | {"text": text(field, "description", language)}
        yield from _rows(field.get("items", field), language, depth + 1)


def _row(name: str, schema: Mapping[str, Any], depth: int, *, required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "depth": depth,
        "type": type_name(schema),
        "values": [value for value in schema.get("enum", ()) if value is not None],
        "limits": {
            name: limits
            for name, limits in (
                ("length", _between(schema, "minLength", "maxLength")),
                ("range", _between(schema, "minimum", "maximum")),
            )
            if limits
        },
        "required": required,
    }


def _between(schema: Mapping[str, Any], least: str, most: str) -> str:
    """`1–64`, `≤ 64`, `≥ 1` or nothing."""
    if least in schema and most in schema:
        return f"{schema[least]}–{schema[most]}"
    if most in schema:
        return f"≤ {schema[most]}"
    return f"≥ {schema[least]}" if least in schema else ""


def type_name(schema: Mapping[str, Any]) -> str:
    """`string`, `string | null`, `array of object`, `date-time`."""
    if "oneOf" in schema:
        return " | ".join(type_name(item) for item in schema["oneOf"])
    kinds = schema.get("type", "any")
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    names[0] = schema.get("format", names[0])
    if "items" in schema:
        names[0] = f"array of {type_name(schema['items'])}"
    return " | ".join(names)


def _request_sample(operation: Operation, body: Mapping[str, Any]) -> str:
    path = operation.path
    lines = []
    for item in operation.content.get("parameters", ()):
        if item["in"] == "path":
            path = path.replace(f"{{{item['name']}}}", item.get("example", "…"))
        elif item["in"] == "header":
            lines.append(f"{item['name']}: {item.get('example', '…')}")
    if operation.section == "admin" and "security" in operation.content:
        lines.append("cookie: novapay_admin_session=…")
        if operation.verb != "GET":
            lines.append("x-csrf-token: …")
    if body:
        lines.append("content-type: application/json")
    sample = "\n".join([f"{operation.verb} {path}", *lines])
    return f"{sample}\n\n{pretty(body['example'])}" if body else sample


def _answer(status: str, response: Mapping[str, Any], language: str) -> dict[str, Any]:
    media = _json_media(response)
    return {
        "status": f"{status} {HTTPStatus(int(status)).phrase}",
        "text": text(response, "description", language),
        "headers": [
            {"name": name, "text": text(header, "description", language)}
            for name, header in response.get("headers", {}).items()
        ],
        "fields": list(_rows(media.get("schema", {}), language)),
        "sample": pretty(media["example"]) if "example" in media else "",
    }


def _error(
    status: str, response: Mapping[str, Any], code: str, words: Mapping[str, Any], language: str
) -> dict[str, str]:
    return {
        "status": status,
        "status_text": text(response, "description", language),
        "code": code,
        "text": text(words, "description", language),
        "action": text(words, "action", language),
    }


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, ensure_ascii=False, indent=2)
