"""The documentation pages: complete in both languages, true to the code, and closed in themselves."""

import hashlib
import hmac
import html
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import rest_edge
from core_service.domain.payment_order import TRANSITIONS as ORDER_TRANSITIONS
from core_service.domain.refund import TRANSITIONS as REFUND_TRANSITIONS
from rest_edge.documentation_texts import TEXTS
from rest_edge.guide_pages import GUIDES, load_guide
from rest_edge.openapi_errors import ERRORS
from rest_edge.state_diagrams import LATE_MOVES, ORDER_MOVES, REFUND_MOVES
from sandbox.scenarios import AMOUNT_TABLE
from tests.journeys.signatures import callback_is_genuine
from tests.rest_edge.conftest import Edge, running_edge

PACKAGE = Path(rest_edge.__file__).parent
LANGUAGES = ("zh-CN", "en")
ADDRESS = re.compile(r'\s(?:href|src)="([^"]*)"')


def visited_pages(edge: Edge, language: str) -> dict[str, str]:
    """Every page that can be reached from /docs, by address; each must exist."""
    pages: dict[str, str] = {}
    waiting = [f"/docs?lang={language}"]
    while waiting:
        address = waiting.pop()
        if address in pages:
            continue
        answer = edge.request("GET", address)
        assert answer.status == 200, address
        pages[address] = answer.body.decode()
        if answer.headers["content-type"].startswith("text/html"):
            found = {
                html.unescape(item).partition("#")[0] for item in ADDRESS.findall(pages[address])
            }
            waiting += sorted(
                item for item in found if item and f"lang={other(language)}" not in item
            )
    return pages


def other(language: str) -> str:
    return LANGUAGES[1 - LANGUAGES.index(language)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(
    edge: Edge, language: str
) -> None:
    pages = visited_pages(edge, language)
    documented = json.loads(pages["/openapi.json"])["paths"].values()
    operations = [item["operationId"] for operations in documented for item in operations.values()]
    for name in operations:
        assert f"/docs/reference/{name}?lang={language}" in pages
    for slug in GUIDES:
        assert f"/docs/guides/{slug}?lang={language}" in pages
    for address, page in pages.items():
        if not address.startswith("/docs") or "/static/" in address or address.endswith(".json"):
            continue
        assert f'<html lang="{language}">' in page, address
        assert not re.search(r'\s(?:href|src)="(?:https?:)?//', page), address
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|<script>", page), address
        assert "<built-in" not in page, address
        anchors = set(re.findall(r'\sid="([^"]+)"', page))
        here = {item for item in ADDRESS.findall(page) if item.startswith("#")}
        assert {item[1:] for item in here} <= anchors, address


def test_pages_allow_no_inline_code(edge: Edge) -> None:
    for address in ("/docs", "/docs/try", "/docs/guides/signing", "/docs/reference/createRefund"):
        policy = edge.request("GET", address).headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert "unsafe" not in policy


def test_language_follows_the_browser_and_the_address(edge: Edge) -> None:
    english = {"accept-language": "en-GB,en;q=0.9"}
    assert b"NovaPay documentation" in edge.request("GET", "/docs", headers=english).body
    assert "NovaPay 文档".encode() in edge.request("GET", "/docs?lang=zh-CN", headers=english).body


def test_unknown_pages_are_not_found(edge: Edge) -> None:
    for address in ("/docs/guides/none", "/docs/reference/none", "/docs/static/none.js"):
        answer = edge.request("GET", address)
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND"), address


def test_production_has_no_page_to_type_secrets_into(tmp_path: Path) -> None:
    with running_edge(
        tmp_path, NOVAPAY_ENV="production", NOVAPAY_PUBLIC_BASE_URL="https://pay.example.test"
    ) as production:
        assert production.request("GET", "/docs/try").status == 404
        page = production.request("GET", "/docs?lang=en").body
        assert b"/docs/try" not in page


def test_texts_are_complete_in_both_languages() -> None:
    assert set(TEXTS["zh-CN"]) == set(TEXTS["en"])
    templates = "".join(path.read_text() for path in (PACKAGE / "templates/docs").iterdir())
    for key in set(re.findall(r"texts\.(\w+)", templates)):
        assert key in TEXTS["en"], key


@pytest.mark.parametrize("slug", GUIDES)
def test_guides_say_the_same_in_both_languages(slug: str) -> None:
    """As many headings, tables, rows, list items; the same code, samples and inserts."""

    def shape(source: str) -> dict[str, object]:
        return {
            "marks": re.findall(r"^(#+ |\||- |[0-9]+\. |```)", source, re.MULTILINE),
            "code": re.findall(r"^```\w+\n(.*?)^```", source, re.MULTILINE | re.DOTALL),
            "inserts": re.findall(r"<!-- .* -->", source),
            "links": sorted(re.findall(r"\]\((.*?)\)", source)),
            "codes": sorted(set(re.findall(r"`([A-Z][A-Z_]{3,}|\.[0-9]{2})`", source))),
        }

    chinese, english = (load_guide(slug, language).source for language in LANGUAGES)
    assert shape(chinese) == shape(english)


def test_every_guide_file_is_shown() -> None:
    for language in LANGUAGES:
        names = {path.stem for path in (PACKAGE / "guides" / language).iterdir()}
        assert set(GUIDES) == names


def worked_example(slug: str) -> dict[str, str]:
    """The lines of the example: a name, spaces, a value."""
    source = load_guide(slug, "en").source
    block = re.findall(r"^```text\n(.*?)\n```", source, re.MULTILINE | re.DOTALL)[0]
    lines = [re.match(r"(to sign|\S+) +(.*)", line) for line in block.splitlines()]
    return {line[1]: line[2] for line in lines if line}


def test_numbers_of_the_signing_example_are_right() -> None:
    given = worked_example("signing")
    assert given["to sign"] == f"{given['timestamp']}.{given['nonce']}.{given['body']}"
    assert len(given["body"].encode()) == 134
    digest = hmac.new(given["secret"].encode(), given["to sign"].encode(), hashlib.sha256)
    assert digest.hexdigest() == given["signature"]


def test_numbers_of_the_callback_example_are_right() -> None:
    source = load_guide("callbacks", "en").source
    body = re.findall(r"^```json\n(.*?)\n```", source, re.MULTILINE | re.DOTALL)[0]
    given = worked_example("callbacks")
    headers = {"x-novapay-delivery-id": given["webhook-id"], **given}
    assert callback_is_genuine(given["secret"], headers, body.encode())
    assert not callback_is_genuine(given["secret"], headers, body.encode() + b" ")


def test_pages_show_exactly_the_samples_that_are_tested(edge: Edge) -> None:
    pages = "".join(
        html.unescape(edge.request("GET", f"/docs/guides/{slug}").body.decode())
        for slug in ("first-payment", "callbacks")
    )
    samples = [path for path in (PACKAGE / "samples").iterdir() if path.is_file()]
    assert len(samples) == 12
    for sample in samples:
        assert sample.read_text() in pages, sample.name


@pytest.mark.parametrize("language", LANGUAGES)
def test_error_guide_has_every_code(edge: Edge, language: str) -> None:
    page = edge.request("GET", f"/docs/guides/errors?lang={language}").body.decode()
    for code in ERRORS:
        assert f'<tr id="{code}">' in page


def moves(table: Mapping[Any, StrEnum]) -> set[tuple[str, str]]:
    return {(str(before), str(after)) for (before, _), after in table.items() if before != after}


def test_drawn_states_are_those_of_the_core() -> None:
    """A new order becomes PROCESSING by its checkout, which is no report of the provider."""
    assert moves(ORDER_TRANSITIONS) | {("PENDING", "PROCESSING")} == set(ORDER_MOVES)
    assert moves(REFUND_TRANSITIONS) == set(REFUND_MOVES)
    assert set(LATE_MOVES) < set(ORDER_MOVES)


def test_sandbox_guide_names_every_amount() -> None:
    source = load_guide("sandbox", "en").source
    assert {f"{fen:02d}" for fen in AMOUNT_TABLE} == set(
        re.findall(r"\.([0-9]{2})\b", source.partition("| amount ends in |")[2].partition("##")[0])
    )


def test_search_finds_fields_codes_and_old_paths(edge: Edge) -> None:
    index = edge.request("GET", "/docs/search.json").json
    create = index["/docs/reference/createPaymentOrder"]
    for word in (
        "externalorderid",
        "order_amount_conflict",
        "/api/payments/orders",
        "创建支付订单",
    ):
        assert word in create
    assert "refund_amount_exceeded" in index["/docs/guides/errors"]
