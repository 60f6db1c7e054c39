"""axe-core over a page: what it calls serious or critical fails the test."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_FAILING = ("serious", "critical")

_NOT_OURS = (("nested-interactive", ".opblock-summary"),)
"""Rule and element: the deep link inside each bar of Swagger UI, which is its own."""


def accessibility_findings(page: Page) -> list[str]:
    """Rule, element and advice of each serious finding. The script arrives over the debugger, so no policy stops it."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']} at {', '.join(map(str, node['target']))}: {node['failureSummary']}"
        for violation in violations
        if violation["impact"] in _FAILING
        for node in violation["nodes"]
        if not any(
            violation["id"] == rule and element in str(node["target"])
            for rule, element in _NOT_OURS
        )
    ]


def check_accessibility(page: Page) -> None:
    """Fail with everything that axe found."""
    findings = accessibility_findings(page)
    assert not findings, f"{page.url}:\n" + "\n".join(findings)


def check_fits(page: Page) -> None:
    """Fail when the page is wider than its window, so that it must be scrolled sideways."""
    findings = fit_findings(page)
    assert not findings, findings[0]


def fit_findings(page: Page) -> list[str]:
    """That a page is wider than its window, if so."""
    width, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return [f"{page.url} is {width} px wide in a window of {window} px"] if width > window else []
