"""`make screenshots`: every page in both languages, light and dark, on a desktop and on a phone, into docs/screens.

WebP out of the browser itself, small enough to live in the repository, and an index to look through.

`python -m tests.browser.screenshots [--into FOLDER] [WORD …]` takes only the pages whose name has one of the words.
"""

import argparse
import base64
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser.chromium import find_chromium
from tests.browser.demo import Demo, build_demo
from tests.browser.fixtures import DESKTOP, PHONE, ColorScheme, Language, Windows, launch
from tests.browser.site_map import Place, cookies_for, places
from tests.journeys.database import connected
from tests.stack import ROOT, Receiver, Stack

FOLDER = ROOT / "docs/screens"
LARGEST_BYTES = 40_000
TALLEST_PIXELS = 1600
QUALITIES = (60, 35, 15, 5)

LANGUAGES: tuple[Language, ...] = ("zh-CN", "en")
SCHEMES: tuple[ColorScheme, ...] = ("light", "dark")
VIEWPORTS: dict[str, ViewportSize] = {"desktop": DESKTOP, "phone": PHONE}
SHOWN = (
    ("zh-CN", "light", "desktop"),
    ("en", "dark", "desktop"),
    ("zh-CN", "dark", "phone"),
    ("en", "light", "phone"),
)
"""The variants with a thumbnail; the others are linked."""


def main() -> None:
    """Start the product, make the demo, take the pictures, write the index."""
    parser = argparse.ArgumentParser(prog="screenshots", description=__doc__)
    parser.add_argument(
        "--into", type=Path, default=FOLDER, help="another folder than docs/screens"
    )
    parser.add_argument("words", nargs="*", help="only pages whose name has one of these words")
    options = parser.parse_args()
    folder: Path = options.into
    folder.mkdir(parents=True, exist_ok=True)
    program = find_chromium()  # which may ask Playwright too, so not inside it
    with demo_stack() as demo, sync_playwright() as driver:
        browser = launch(driver, program)
        if not options.words:
            for old in folder.glob("*.webp"):
                old.unlink()
        for place in places(demo):
            if not options.words or any(word in place.name for word in options.words):
                take_pictures(browser, demo, place, folder)
                sys.stderr.write(f"novapay: {place.name}\n")
        browser.close()
    write_index(folder)


def take_pictures(browser: Browser, demo: Demo, place: Place, folder: Path) -> None:
    """One page in every variant."""
    for language, scheme, kind in product(LANGUAGES, SCHEMES, VIEWPORTS):
        windows = Windows(browser, [demo.stack.base])
        page = windows(
            place.url,
            language=language,
            color_scheme=scheme,
            viewport=VIEWPORTS[kind],
            cookies=cookies_for(place, demo),
        )
        page.wait_for_load_state("load")
        if place.route == "/docs/try":
            page.locator(".opblock").first.wait_for()
        (folder / file_name(place.name, language, scheme, kind)).write_bytes(picture(page))
        windows.close()


@contextmanager
def demo_stack() -> Iterator[Demo]:
    """A product of its own with the demo in it."""
    with tempfile.TemporaryDirectory(prefix="novapay-screens-") as folder, Receiver() as receiver:
        Path(folder).chmod(0o711)
        stack = Stack(Path(folder), CALLBACK_RETRY_INTERVAL_SECONDS="1").start()
        try:
            demo = build_demo(stack, receiver)
            give_it_a_past(demo)
            yield demo
        finally:
            stack.stop()


def give_it_a_past(demo: Demo) -> None:
    """Nine days of hourly counts, so that the charts have something to draw: little by night, much in the evening."""
    with connected(demo.stack) as connection, connection.cursor() as cursor:
        for share, account in enumerate(demo.accounts.values(), start=2):
            cursor.execute(_PAST, {"account": account["id"], "share": share})
        connection.commit()


_PAST = """
INSERT INTO order_hours (merchant_id, account_id, hour, channel_code, created, paid, ended_unpaid, paid_fen,
    seen_by_notification, refunds, refund_fen)
SELECT merchant_id, id, hour, channel_code, n + 1, n, 1, n * 9300 + n * n * 70, n, n / 9, n / 9 * 8800
FROM channel_accounts,
    generate_series(date_trunc('hour', now()) - interval '9 days', date_trunc('hour', now()) - interval '1 hour',
        interval '1 hour') AS hour,
    LATERAL (SELECT (%(share)s * (6 - 5 * cos(2 * pi() * (extract(hour FROM hour) - 20) / 24 + 3.1))
        + extract(day FROM hour)::int %% 4)::bigint AS n) AS sold
WHERE id = %(account)s
ON CONFLICT DO NOTHING
"""


def picture(page: Page) -> bytes:
    """The page as WebP, whole but for the end of what is very long, in the best quality that is small enough."""
    size = page.evaluate(
        "[innerWidth, Math.max(innerHeight, document.documentElement.scrollHeight)]"
    )
    clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], TALLEST_PIXELS), "scale": 1}
    session = page.context.new_cdp_session(page)
    for quality in QUALITIES:
        answer = session.send(
            "Page.captureScreenshot",
            {"format": "webp", "quality": quality, "clip": clip, "captureBeyondViewport": True},
        )
        content = base64.b64decode(answer["data"])
        if len(content) <= LARGEST_BYTES:
            break
    return content


def file_name(name: str, language: str, scheme: str, kind: str) -> str:
    """Such as `pay-paid.en.dark.phone.webp`."""
    return f"{name}.{language[:2]}.{scheme}.{kind}.webp"


def write_index(folder: Path) -> None:
    """A table of thumbnails for whoever reads the repository."""
    names = sorted({path.name.split(".")[0] for path in folder.glob("*.webp")})
    lines = ["# Screens", "", "Made by `make screenshots` from the running product.", ""]
    for name in names:
        lines += [f"## {name}", ""]
        lines += ["".join(_thumbnail(name, *variant) for variant in SHOWN), ""]
        rest = [v for v in product(LANGUAGES, SCHEMES, VIEWPORTS) if v not in SHOWN]
        links = [f"[{' '.join(v)}]({file_name(name, *v)})" for v in rest]
        lines += ["More: " + " · ".join(links), ""]
    (folder / "README.md").write_text("\n".join(lines))


def _thumbnail(name: str, language: str, scheme: str, kind: str) -> str:
    file = file_name(name, language, scheme, kind)
    height = 'width="320"' if kind == "desktop" else 'width="120"'
    return f'<a href="{file}"><img src="{file}" {height} alt="{name}, {language}, {scheme}, {kind}"></a> '


if __name__ == "__main__":
    main()
