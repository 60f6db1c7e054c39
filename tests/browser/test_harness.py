"""The guard and the browser themselves: each finding that the other tests rely on not to be overlooked."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from tests.browser.accessibility import accessibility_findings, check_fits
from tests.browser.chromium import Chromium
from tests.browser.fixtures import PHONE, Windows
from tests.browser.npm_package import NpmPackage, PackageNotToBeHad

SITE = {
    "/favicon.ico": "",
    "/good": "<!doctype html><html lang=zh><title>好</title><main><h1>你好</h1></main>",
    "/throws": "<!doctype html><script src=/throws.js></script>",
    "/throws.js": "throw new Error('thrown on purpose')",
    "/complains": "<!doctype html><script src=/complains.js></script>",
    "/complains.js": "console.error('said on purpose')",
    "/inline": "<!doctype html><p style='color: red'>x<script>document.title = 'ran'</script>",
    "/elsewhere": "<!doctype html><title>x</title><img alt='' src=http://127.0.0.2:9/x.png>",
    "/poor": "<!doctype html><title>x</title><img src=/good><p style>x",
    "/wide": "<!doctype html><title>x</title><pre>" + "x" * 400,
}
POLICY = "default-src 'self'; img-src *"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Origin of a small site of bad pages."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = SITE.get(self.path)
            body = (text or "nothing here").encode()
            kind = "text/javascript" if self.path.endswith(".js") else "text/html; charset=utf-8"
            self.send_response(404 if text is None else 200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-security-policy", POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/good", []),
        ("/throws", ["page error: thrown on purpose"]),
        ("/complains", ["console error: said on purpose"]),
        ("/missing", ["console error: Failed to load resource"]),
        ("/elsewhere", ["request to another host: http://127.0.0.2:9/x.png"]),
        ("/inline", ["content security policy: style-src", "content security policy: script-src"]),
    ],
)
def test_the_guard_notices(browser: Browser, site: str, path: str, expected: list[str]) -> None:
    windows = Windows(browser, [site])
    page = windows(path)
    page.wait_for_load_state("networkidle")
    findings = windows.close()
    assert bool(expected) == bool(findings), findings
    for text in expected:
        assert any(text in finding for finding in findings), findings


def test_the_guard_lets_pass_what_a_test_expects(browser: Browser, site: str) -> None:
    windows = Windows(browser, [site])
    page = windows()
    windows.guard(page).expect("status of 404")
    page.goto("/missing")
    assert [] == windows.close()


def test_accessibility_and_width_are_judged_under_a_strict_policy(
    browser: Browser, site: str
) -> None:
    windows = Windows(browser, [site])
    page = windows("/poor", viewport=PHONE)
    assert any(finding.startswith("image-alt at img") for finding in accessibility_findings(page))
    page.goto("/good")
    assert [] == accessibility_findings(page)
    check_fits(page)
    page.goto("/wide")
    with pytest.raises(AssertionError, match="px wide"):
        check_fits(page)
    windows.close()


def test_settings_of_a_page_reach_it(browser: Browser, site: str) -> None:
    windows = Windows(browser, [site])
    page = windows("/good", language="en", viewport=PHONE, color_scheme="dark")
    seen = page.evaluate(
        "[navigator.language, innerWidth, matchMedia('(prefers-color-scheme: dark)').matches,"
        " Intl.DateTimeFormat().resolvedOptions().timeZone]"
    )
    assert ["en", 360, True, "Asia/Shanghai"] == seen
    assert [] == windows.close()


def test_chinese_text_has_glyphs(browser: Browser, site: str) -> None:
    windows = Windows(browser, [site])
    page = windows("/good")
    page.evaluate("document.querySelector('h1').textContent = '支付'")
    known = page.locator("h1").screenshot()
    page.evaluate("document.querySelector('h1').textContent = '微信'")
    assert known != page.locator("h1").screenshot(), "all Chinese characters look the same"
    windows.close()


def test_the_browser_is_a_program_of_this_machine(chromium: Chromium) -> None:
    assert chromium.path.is_file()


def test_another_archive_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tgz"
    archive.write_bytes(b"abc")
    digest = (
        "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw=="
    )
    NpmPackage("x", "1", digest, 0).refuse_another(archive)
    archive.write_bytes(b"abd")
    with pytest.raises(PackageNotToBeHad, match="not the pinned archive"):
        NpmPackage("x", "1", digest, 0).refuse_another(archive)
