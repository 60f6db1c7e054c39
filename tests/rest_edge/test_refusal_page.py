"""A refusal by the edge itself is a page for a browser and JSON for everybody else."""

import json

import pytest

from tests.rest_edge.conftest import Answered, Edge

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LARGE = b"x" * (64 * 1024 + 1)


def ask(
    edge: Edge, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> Answered:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return edge.request(method, path, body, headers=sent)


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "title", "next_step"),
    [
        ("GET", "/admin//orders", None, 404, "没有这个页面", 'href="/admin"'),
        ("GET", "/merchant/%2e%2e/x", None, 404, "没有这个页面", 'href="/merchant"'),
        ("GET", "/pay/po_1/nothing", None, 404, "没有这个页面", 'href="/pay/po_1"'),
        ("GET", "/docs/nothing/at/all", None, 404, "没有这个页面", 'href="/docs"'),
        ("GET", "/", None, 404, "没有这个页面", 'href="/docs"'),
        ("POST", "/merchant/profile", LARGE, 413, "提交的内容过大", 'href="/merchant"'),
        ("POST", "/pay/po_1", b"", 405, "这个请求无法处理", 'href="/pay/po_1"'),
    ],
)
def test_a_browser_gets_a_page_in_both_languages_with_a_next_step(
    edge: Edge, method: str, path: str, body: bytes | None, status: int, title: str, next_step: str
) -> None:
    answer = ask(edge, path, method, body, accept=BROWSER, accept_language="zh-CN,en;q=0.5")
    page = answer.body.decode()
    assert (status, "text/html; charset=utf-8") == (answer.status, answer.headers["content-type"])
    assert "zh-CN" == answer.headers["content-language"]
    assert f"<title>{title}</title>" in page
    assert page.index('lang="zh-CN">') < page.index('<section lang="en">')
    assert next_step in page
    assert answer.headers["x-request-id"] in page
    assert 1 == len(answer.headers.get_all("content-security-policy"))


@pytest.mark.usefixtures("core")
@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_programs_keep_json(edge: Edge, accept: str) -> None:
    for path in ("/admin//orders", "/pay/po_1/nothing", "/"):
        answer = ask(edge, path, accept=accept)
        assert (404, "application/json") == (answer.status, answer.headers["content-type"])
        assert "NOT_FOUND" == json.loads(answer.body)["code"]


@pytest.mark.usefixtures("core")
def test_the_api_answers_browsers_too_with_json(edge: Edge) -> None:
    for path in ("/api/nothing", "/api//channels", "/api"):
        answer = ask(edge, path, accept=BROWSER)
        assert (404, "application/json") == (answer.status, answer.headers["content-type"])


@pytest.mark.usefixtures("core")
def test_the_language_chosen_before_stands_first(edge: Edge) -> None:
    answer = ask(
        edge, "/nothing", accept=BROWSER, cookie="a=b; novapay_language=en", accept_language="zh"
    )
    assert "en" == answer.headers["content-language"]
    assert "<title>There is no such page</title>" in answer.body.decode()
