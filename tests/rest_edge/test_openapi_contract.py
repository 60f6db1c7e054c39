"""The served document contains the user's document: nothing less, nothing otherwise."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from core_service.schema import methods
from rest_edge.openapi import DOCUMENT, proto_image, render
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


def test_document_and_page_are_served(edge: Edge) -> None:
    served = edge.request("GET", "/openapi.json")
    assert SERVED == served.json
    assert served.body == edge.request("GET", "/api/openapi").body
    chinese, english = edge.request("GET", "/docs"), edge.request("GET", "/docs?lang=en")
    assert "创建支付订单" in chinese.body.decode()
    assert "Create a payment order" in english.body.decode()
    assert "default-src 'none'" in english.headers["content-security-policy"]
    assert b"<script" not in english.body
    assert b"http://" not in english.body.replace(b"http://127", b"")
    assert b"https://" not in english.body
