"""Whatever the doctor may say has words in both languages, and whatever is wrong says what to do."""

import pytest

from admin.texts import LANGUAGES, has_text, reason, text
from core_service.domain.account_check import Code, Finding, Severity

FACTS = dict.fromkeys(
    ("field", "from", "message", "providerCode", "reason", "seconds", "until", "url", "value"), "X"
)


@pytest.mark.parametrize("code", list(Code))
def test_every_finding_has_words(code: Code) -> None:
    for language in LANGUAGES:
        assert text(language, f"check.{code}", **FACTS)
    is_wrong = Finding(code).severity is not Severity.OK
    assert has_text(f"check.{code}_do") == is_wrong


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("shorter than 2048 bits", "密钥短于 2048 位"),
        ("must have 16 to 1024 pixels on each side", "每边须为 16 到 1024 像素"),
        ("does not match regex pattern `^[a-z]{2,64}$`", "格式不对"),
        ("nobody has translated this", "nobody has translated this"),
    ],
)
def test_why_a_value_is_refused_is_said_in_the_viewers_language(english: str, chinese: str) -> None:
    assert reason("zh-CN", english) == chinese
    assert reason("en", english) == english
