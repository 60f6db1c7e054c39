"""Every page: silent console, own host only, no policy violation, accessible, in both languages, on a phone too."""

from collections.abc import Iterator
from itertools import product

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser import site_map
from tests.browser.accessibility import accessibility_findings, fit_findings
from tests.browser.demo import Demo, build_demo
from tests.browser.fixtures import DESKTOP, PHONE, ColorScheme, Language, Windows
from tests.browser.screenshots import FOLDER, LANGUAGES, SCHEMES, VIEWPORTS, file_name
from tests.browser.site_map import cookies_for, page_routes, places
from tests.stack import Receiver, Stack


@pytest.fixture(scope="module")
def demo(stack: Stack) -> Iterator[Demo]:
    with Receiver() as receiver:
        yield build_demo(stack, receiver)


def test_every_route_is_known() -> None:
    routes = set(page_routes())
    unknown = {route for route in routes if "{" in route} - set(site_map.EXAMPLES)
    assert not unknown, f"say in site_map.EXAMPLES where to look at {sorted(unknown)}"
    assert {"/admin/settings", "/docs", "/pay/{order_id}"} <= routes


@pytest.mark.timeout(600)  # some sixty pages
@pytest.mark.parametrize(
    ("language", "viewport", "color_scheme"),
    [("zh-CN", DESKTOP, "light"), ("en", PHONE, "dark")],
    ids=["zh-desktop-light", "en-phone-dark"],
)
def test_every_page_is_sound(
    open_page: Windows,
    demo: Demo,
    language: Language,
    viewport: ViewportSize,
    color_scheme: ColorScheme,
) -> None:
    problems = []
    for place in places(demo):
        page = open_page(
            language=language,
            viewport=viewport,
            color_scheme=color_scheme,
            cookies=cookies_for(place, demo),
        )
        answer = page.goto(place.url)
        assert answer is not None
        assert (200, place.url) == (answer.status, page.url.removeprefix(demo.stack.base))
        expect(page.locator("h1").first).to_be_visible()
        problems += [f"{place.url}: {finding}" for finding in accessibility_findings(page)]
        problems += fit_findings(page)
        problems += [f"{place.url}: {finding}" for finding in open_page.close()]
    assert not problems, "\n".join(problems)


def test_every_page_has_its_pictures(demo: Demo) -> None:
    variants = list(product(LANGUAGES, SCHEMES, VIEWPORTS))
    wanted = {file_name(place.name, *variant) for place in places(demo) for variant in variants}
    shown = {path.name for path in FOLDER.glob("*.webp")}
    assert (set(), set()) == (wanted - shown, shown - wanted), "run `make screenshots`"
