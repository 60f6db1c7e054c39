"""The served document contains the user's document: nothing less, nothing otherwise."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from core_service.errors import REASONS
from core_service.schema import methods
from rest_edge.openapi import DOCUMENT, proto_image, render
from rest_edge.openapi_errors import BODY_TOO_LARGE, ERRORS, WECHAT_FAIL
from tests.rest_edge.conftest import Edge

CONTRACT = json.loads((Path(__file__).parents[1] / "data" / "openapi-contract.json").read_text())
SERVED = json.loads(DOCUMENT.read_text(encoding="utf-8"))

PROSE = {"description"}
"""Texts for people; ours are our own."""


def missing(contract: Any, served: Any, path: str) -> Iterator[str]:
    """What the contract says and the served document does not, by path; prose aside."""
    if isinstance(contract, dict) and isinstance(served, dict):
        for key, value in contract.items():
            if key in PROSE and isinstance(value, str):
                continue
            if key in served:
                yield from missing(value, served[key], f"{path}/{key}")
            else:
                yield f"{path}/{key} is missing"
    elif path.endswith("/parameters"):
        by_name = {(item["in"], item["name"]): item for item in served}
        for item in contract:
            name = (item["in"], item["name"])
            yield from missing(item, by_name.get(name), f"{path}/{name}")
    elif in_any_order(contract, path) != in_any_order(served, path):
        yield f"{path}: {served!r} instead of {contract!r}"


def in_any_order(value: Any, path: str) -> Any:
    """The list of required names is a set."""
    return sorted(value) if path.endswith("/required") and isinstance(value, list) else value


@pytest.mark.parametrize("path", CONTRACT["paths"])
def test_contract_is_contained(path: str) -> None:
    assert [] == list(missing(CONTRACT["paths"][path], SERVED["paths"].get(path), path))


def test_contract_head_is_contained() -> None:
    assert [] == list(missing(CONTRACT["info"], SERVED["info"], "info"))
    assert CONTRACT["openapi"].rpartition(".")[0] == SERVED["openapi"].rpartition(".")[0]


def test_containment_notices_differences() -> None:
    changed = json.loads(json.dumps(SERVED["paths"]["/api/payment-orders"]))
    schema = changed["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema["required"].remove("subject")
    schema["properties"]["currency"]["type"] = "number"
    del changed["post"]["responses"]["422"]
    assert 3 == len(list(missing(CONTRACT["paths"]["/api/payment-orders"], changed, "")))


def test_document_is_what_the_proto_files_say() -> None:
    assert render(proto_image()) == DOCUMENT.read_text(encoding="utf-8"), "run make generate"


def test_document_is_valid_openapi() -> None:
    validate(SERVED)


def test_every_route_is_documented() -> None:
    documented = {
        operation["operationId"]
        for operations in SERVED["paths"].values()
        for operation in operations.values()
    }
    for method in methods():
        for route in method.routes:
            name = method.name[0].lower() + method.name[1:] + ("Legacy" if route.deprecated else "")
            assert name in documented


def test_moments_in_a_query_are_documented_as_such() -> None:
    parameters = SERVED["paths"]["/api/admin/payment-orders"]["get"]["parameters"]
    moment = next(item for item in parameters if item["name"] == "createdFrom")
    assert {"type": "string", "format": "date-time"} == moment["schema"]


def test_legacy_routes_are_deprecated() -> None:
    operation = SERVED["paths"]["/api/payments/refunds/query"]["post"]
    assert operation["deprecated"] is True
    fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert ["merchantCode", "refundReference", "refundId", "externalRefundId", "sync"] == list(
        fields
    )


def test_documented_summaries_are_in_both_languages() -> None:
    for path, operations in SERVED["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["x-summary-en"].isascii(), path


def test_document_is_served(edge: Edge) -> None:
    served = edge.request("GET", "/openapi.json")
    assert SERVED == served.json
    assert served.body == edge.request("GET", "/api/openapi").body


CHINESE = re.compile("[\u4e00-\u9fff]")


def unworded(node: Any, path: str) -> Iterator[str]:
    """Every field, parameter, header and answer of the document that lacks its text in one of the languages."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from (
                unworded(item, f"{path}[{item.get('name', index)}]")
                if isinstance(item, dict)
                else ()
            )
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        here = f"{path}/{name}"
        if name in ("properties", "headers", "responses"):
            for key, item in value.items():
                yield from lacking(item, f"{here}/{key}")
                yield from unworded(item, f"{here}/{key}")
        elif name == "parameters":
            for item in value:
                yield from lacking(item, f"{here}/{item['name']}")
        elif name not in ("example", "examples"):
            yield from unworded(value, here)


def lacking(item: dict[str, Any], path: str) -> Iterator[str]:
    if not CHINESE.search(item.get("description", "")) and item.get("description") != "OpenAPI 3.1":
        yield f"{path} has no Chinese text"
    english = item.get("x-description-en", "")
    if not english or CHINESE.search(english):
        yield f"{path} has no English text"


def test_every_field_parameter_and_answer_is_explained_in_both_languages() -> None:
    found = [problem for path, item in SERVED["paths"].items() for problem in unworded(item, path)]
    assert [] == found, (
        "give the field in its proto file an English comment and a line that begins with `zh:`, "
        "or its name a place in rest_edge/openapi_words.py"
    )


def test_missing_words_are_noticed() -> None:
    changed = json.loads(json.dumps(SERVED["paths"]["/api/payment-orders"]))
    fields = changed["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    del fields["amount"]["x-description-en"]
    fields["subject"]["description"] = "What is paid for"
    del changed["post"]["responses"]["409"]["description"]
    assert 3 == len(list(unworded(changed, "")))


def test_every_sample_fits_its_schema() -> None:
    checked = 0
    for path, operations in SERVED["paths"].items():
        for operation in operations.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in bodies:
                for media in body.get("content", {}).values():
                    if media["schema"].get("properties"):
                        assert "example" in media, path
                        jsonschema.validate(media["example"], media["schema"])
                        checked += 1
    assert checked > 100


def test_every_error_code_is_explained_and_every_error_answer_names_its_codes() -> None:
    assert {*REASONS, BODY_TOO_LARGE, WECHAT_FAIL} == set(ERRORS) == set(SERVED["x-errors"])
    for code, words in SERVED["x-errors"].items():
        assert CHINESE.search(words["description"]), code
        assert CHINESE.search(words["action"]), code
        for text in (words["x-description-en"], words["x-action-en"]):
            assert text, code
            assert not CHINESE.search(text), code
    for path, operations in SERVED["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status >= "400" and path != "/api/health":
                    assert response["x-codes"], (path, status)
                    for code in response["x-codes"]:
                        known = SERVED["x-errors"][code]["status"]
                        assert known == int(status) or code == WECHAT_FAIL, (path, code)


def test_operations_named_by_the_error_table_exist() -> None:
    ids = {
        operation["operationId"]
        for operations in SERVED["paths"].values()
        for operation in operations.values()
    }
    named = {where for words in ERRORS.values() for where in words.where if "(" not in where}
    assert set() == named - ids
