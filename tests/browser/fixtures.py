"""Fixtures for tests in a browser, wherever they are: `open_page`, `page`, `phone`.

Playwright leaves its event loop running in the thread, where a test of another module may need one of its
own: therefore the browser lives as long as a module (half a second each).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Playwright,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.browser.chromium import ARGUMENTS, Chromium, find_chromium
from tests.browser.page_guard import PageGuard
from tests.stack import Stack

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}
PHONE_AGENT = "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36"
PATIENCE_MS = 30_000
"""How long a condition may take to come true on a busy machine; nothing waits longer than it must."""

ColorScheme = Literal["light", "dark"]
Language = Literal["zh-CN", "en"]


@dataclass
class Windows:
    """Opens pages, each in a context of its own: no shared cookies, caches or settings."""

    browser: Browser
    origins: list[str]
    _open: list[tuple[BrowserContext, PageGuard]] = field(default_factory=list)

    def __call__(
        self,
        url: str | None = None,
        *,
        language: Language = "zh-CN",
        viewport: ViewportSize = DESKTOP,
        color_scheme: ColorScheme = "light",
        javascript: bool = True,
        user_agent: str | None = None,
        cookies: dict[str, str] | None = None,
        **options: Any,
    ) -> Page:
        """A new page, at `url` if given. `cookies` are for our own site; `options` go to the context."""
        context = self.browser.new_context(
            base_url=self.origins[0],
            locale=language,
            timezone_id="Asia/Shanghai",
            viewport=viewport,
            color_scheme=color_scheme,
            java_script_enabled=javascript,
            user_agent=user_agent or (PHONE_AGENT if viewport == PHONE else None),
            reduced_motion="reduce",
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        for name, value in (cookies or {}).items():
            context.add_cookies([{"name": name, "value": value, "url": self.origins[0]}])
        self._open.append((context, PageGuard(context, self.origins)))
        page = context.new_page()
        if url is not None:
            page.goto(url)
        return page

    def guard(self, page: Page) -> PageGuard:
        """The guard of a page that was opened here; `expect` on it what a test does on purpose."""
        return next(guard for context, guard in self._open if context == page.context)

    def close(self) -> list[str]:
        """Close every page; what the guards found."""
        for context, _ in self._open:
            context.close()
        findings = [finding for _, guard in self._open for finding in guard.findings]
        self._open.clear()
        return findings


def launch(driver: Playwright, program: Chromium) -> Browser:
    """Start the browser."""
    return driver.chromium.launch(
        executable_path=program.path,
        args=ARGUMENTS,
        env={**os.environ, **program.environment},
        timeout=PATIENCE_MS,
    )


@pytest.fixture(scope="session")
def chromium() -> Chromium:
    """The browser program; fetched if the machine has none. Fails, never skips, when there is none to be had."""
    return find_chromium()


@pytest.fixture(scope="module")
def browser(chromium: Chromium) -> Iterator[Browser]:
    """One running browser."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as driver:
        running = launch(driver, chromium)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def open_page(browser: Browser, stack: Stack) -> Iterator[Windows]:
    """Opens pages of the running stack; after the test none of them may have misbehaved."""
    windows = Windows(browser, [stack.base])
    yield windows
    findings = windows.close()
    assert not findings, "\n".join(findings)


@pytest.fixture
def page(open_page: Windows) -> Page:
    """A desktop page in Chinese."""
    return open_page()


@pytest.fixture
def phone(open_page: Windows) -> Page:
    """A narrow page in Chinese."""
    return open_page(viewport=PHONE, is_mobile=True, has_touch=True)
