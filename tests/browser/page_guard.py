"""Listens to a browser context and remembers what no page of ours may do."""

import re
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Request, WebError

_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", event => console.error(
    "content security policy: " + event.violatedDirective + " blocked "
    + event.blockedURI + " " + event.sample));
"""

_KINDS_WITHOUT_HOST = ("data", "blob", "about")


class PageGuard:
    """Collects console errors, page errors, policy violations and requests to hosts that are not ours.

    `origins` are ours, such as `http://127.0.0.1:8000`.
    """

    def __init__(self, context: BrowserContext, origins: list[str]) -> None:
        self._origins = set(origins)
        self._expected: list[str] = []
        self._found: list[str] = []
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", self._hear_console)
        context.on("weberror", self._hear_error)
        context.on("request", self._see_request)

    def expect(self, pattern: str) -> None:
        """From here on a finding that this regular expression matches is meant by the test."""
        self._expected.append(pattern)

    def own(self, origin: str) -> None:
        """From here on requests to this origin are meant by the test."""
        self._origins.add(origin)

    @property
    def findings(self) -> list[str]:
        """What was wrong so far."""
        return [
            finding
            for finding in self._found
            if not any(re.search(pattern, finding) for pattern in self._expected)
        ]

    def _hear_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._found.append(f"console {message.type}: {message.text} ({_place(message)})")

    def _hear_error(self, error: WebError) -> None:
        self._found.append(f"page error: {error.error}")

    def _see_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in _KINDS_WITHOUT_HOST:
            return
        if f"{parts.scheme}://{parts.netloc}" not in self._origins:
            self._found.append(f"request to another host: {request.url}")


def _place(message: ConsoleMessage) -> str:
    place = message.location
    return f"{place['url']}:{place['lineNumber']}"
