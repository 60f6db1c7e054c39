"""Whatever the doctor may say has words in both languages, and whatever is wrong says what to do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from admin.texts import LANGUAGES, has_text, reason, text
from core_service.domain.account_check import Code, Finding, Severity
from core_service.outbound_http import OutboundError, OutboundKind

ROOT = Path(__file__).parents[2]
ATTEMPTS = (ROOT / "core_service/application/callback_attempts.py").read_text("utf-8")
NOT_FOR_PEOPLE = {"cli", "settings.py", "master_keys.py", "workers"}
SHOWN_AS_THEY_ARE = {"outbound_http.py", "account.py", "keys.py", "merchant.py", "picture.py"}
"""Modules whose ValueErrors become the reasons of fields."""
PROGRAMMERS = {
    "unknown field 9",
    "unknown key 9",
    "9 is given twice",
    "must be WARNING or ERROR",
}
"""No form of ours can cause these: they are about names in the request itself."""
WITH_WORDS = {
    "holds a 9 where a public key belongs": "holds a private key where a public key belongs",
    "must begin with 9": "must begin with PUB_KEY_ID_",
}
"""Where words are put in instead of numbers: an example each."""

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


def test_the_particulars_of_a_refusal_stand_behind_it() -> None:
    said = "neither an address nor a CIDR range: 'a/33'"
    assert reason("zh-CN", said) == "不是 IP 地址或网段 ('a/33')"
    assert reason("en", said) == "neither an address nor a CIDR range ('a/33')"


def refusals() -> Iterator[str]:
    """Every sentence with which the core's own code refuses a value, numbers put in where they would stand."""
    for path in sorted((ROOT / "core_service").rglob("*.py")):
        if path.relative_to(ROOT / "core_service").parts[0] in NOT_FOR_PEOPLE:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) < 1:
                continue
            name = getattr(node.func, "id", "")
            if name == "FieldViolation" and len(node.args) > 1:
                yield words(node.args[1])
            elif name == "ValueError" and path.name in SHOWN_AS_THEY_ARE:
                yield words(node.args[0])


def words(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "9" if isinstance(node, ast.FormattedValue) else ""


def test_every_refusal_of_a_value_is_said_in_chinese() -> None:
    found = {WITH_WORDS.get(said, said) for said in refusals() if said} - PROGRAMMERS
    assert len(found) > 30
    assert [] == sorted(said for said in found if reason("zh-CN", said) == said)


@pytest.mark.parametrize("kind", list(OutboundKind))
def test_why_a_callback_got_no_answer_is_said_in_words(kind: OutboundKind) -> None:
    failure = str(OutboundError(kind, "SomeError", request_sent=True))
    assert re.search(r"[\u4e00-\u9fff].*\(SomeError\)$", reason("zh-CN", failure))
    assert re.search(r"^[a-zA-Z][^:(]*.* \(SomeError\)$", reason("en", failure))


@pytest.mark.parametrize(
    "said",
    ["the merchant answered 500", "callbacks are switched off, or there is no address"],
)
def test_why_a_callback_was_not_delivered_is_said_in_chinese(said: str) -> None:
    assert said in ATTEMPTS or said.replace("500", "{http_status}") in ATTEMPTS
    assert reason("zh-CN", said) != said
