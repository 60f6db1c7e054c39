"""Every page: silent console, own host only, accessible, in both languages, on a phone too."""

import pytest
from playwright.sync_api import ViewportSize

from tests.browser.accessibility import check_accessibility, check_fits
from tests.browser.fixtures import DESKTOP, PHONE, Language, Windows


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_a_page_is_sound(open_page: Windows, language: Language, viewport: ViewportSize) -> None:
    page = open_page("/docs", language=language, viewport=viewport)
    check_accessibility(page)
    check_fits(page)
