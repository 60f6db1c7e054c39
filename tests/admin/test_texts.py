"""Every sentence in a console has a key, both languages, and a place where it is used."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from admin.texts import LANGUAGES, all_texts, language_of, reason, text
from core_service.domain.picture import LARGEST_BYTES, LONGEST_SIDE, SHORTEST_SIDE
from core_service.errors import REASONS, Family

ADMIN = Path(__file__).parents[2] / "admin"
TEMPLATES = sorted(ADMIN.rglob("*.html"))
SOURCES = [
    path.read_text("utf-8") for path in sorted(ADMIN.rglob("*")) if path.suffix in (".py", ".html")
]
NAMES = {"NovaPay", "×", "—", "·", "/"}
READ_ALOUD = {"alt", "aria-label", "placeholder", "title"}


def test_every_text_has_both_languages() -> None:
    lacking = [
        f"{key} ({language})"
        for key, found in all_texts().items()
        for language in LANGUAGES
        if not found[language].strip()
    ]
    assert [] == lacking


def test_both_languages_take_the_same_values() -> None:
    differing = [
        key
        for key, found in all_texts().items()
        if len({frozenset(re.findall(r"{(\w+)}", found[language])) for language in LANGUAGES}) > 1
    ]
    assert [] == differing


def test_every_text_is_used() -> None:
    """By its whole key, or by the part before the last point where the rest is a status, a role or a code."""
    quoted = set(re.findall(r"""["']([a-zA-Z_]+\.[A-Za-z0-9_.]*)["'{]""", "\n".join(SOURCES)))
    begun = tuple(key for key in quoted if key.endswith((".", "_")))
    unused = [key for key in all_texts() if key not in quoted and not key.startswith(begun)]
    assert [] == unused


@pytest.mark.parametrize("key", ["merchant.logo_hint", "merchants.logo_hint"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_hint_for_a_logo_says_what_is_taken(key: str, language: str) -> None:
    said = text(language, key)
    for number in (f"{LARGEST_BYTES // 1024} KiB", str(SHORTEST_SIDE), str(LONGEST_SIDE)):
        assert number in said


def test_every_key_in_a_template_has_a_text() -> None:
    asked = {
        key
        for source in SOURCES
        for key in re.findall(r"""\bt\(["']([a-z_]+\.[A-Za-z0-9_]+)["']\s*[,)]""", source)
    }
    assert asked
    assert [] == sorted(asked - set(all_texts()))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(ADMIN)))
def test_a_template_has_no_text_of_its_own(template: Path) -> None:
    tree = Environment(autoescape=True).parse(template.read_text("utf-8"))
    reader = _Reader()
    for data in tree.find_all(nodes.TemplateData):
        reader.feed(data.data)
    assert [] == reader.found


class _Reader(HTMLParser):
    """Collects words outside of tags, and those in attributes that are read to people."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        # What stands between a Jinja expression and the end of a tag looks like text.
        words = re.sub(r'^[^<>]*"[^<>]*>', "", data).split()
        self.found += [
            word for word in words if word not in NAMES and re.search(r"[^\W\d_]", word)
            and not re.search(r'[="]', word)
        ]  # fmt: skip

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{name}={value}" for name, value in attrs if name in READ_ALOUD and value]


@pytest.mark.parametrize(
    ("cookie", "accepted", "expected"),
    [
        (None, None, "zh-CN"),
        (None, "en-GB,en;q=0.9", "en"),
        (None, "fr,zh-TW;q=0.5", "zh-CN"),
        ("en", "zh-CN", "en"),
        ("xx", "en", "en"),
        ("", "*", "zh-CN"),
    ],
)
def test_the_language_is_the_chosen_one_else_the_browsers(
    cookie: str | None, accepted: str | None, expected: str
) -> None:
    assert expected == language_of(cookie, accepted)


def test_every_error_has_its_sentence_and_its_advice() -> None:
    assert [] == [reason for reason in REASONS if f"error.{reason}" not in all_texts()]
    assert [] == [family for family in Family if f"advice.{family}" not in all_texts()]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("must be at least 12 characters", "至少 12 个字符"),
        ("something that nobody translated", "something that nobody translated"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_field_is_said_in_the_readers_language(said: str, shown: str) -> None:
    assert shown == reason("zh-CN", said)
    assert said == reason("en", said)


def test_a_text_takes_its_values() -> None:
    assert "A is changed." == text("en", "settings.changed", key="A")
