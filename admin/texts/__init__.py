"""Every sentence that a person reads in a console, by key, in both languages.

One JSON file per page family, both languages side by side: `{"title": {"zh": "订单", "en": "Orders"}}` in
`orders.json` is the key `orders.title`. `{name}` in a text is filled in by the caller.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

LANGUAGES = ("zh-CN", "en")
DEFAULT_LANGUAGE = "zh-CN"

_KEYS = {"zh-CN": "zh", "en": "en"}


@cache
def all_texts() -> Mapping[str, Mapping[str, str]]:
    """Key → language → text."""
    return {
        f"{file.name.removesuffix('.json')}.{key}": {
            language: translations.get(short, "") for language, short in _KEYS.items()
        }
        for file in files("admin.texts").iterdir()
        if file.name.endswith(".json")
        for key, translations in json.loads(file.read_text("utf-8")).items()
    }


def text(language: str, key: str, /, **values: object) -> str:
    """The text with its values filled in. Raises KeyError for a key that there is not."""
    found = all_texts()[key][language]
    return found.format(**values) if values else found


def reason(language: str, english: str) -> str:
    """What the core says is wrong, in the viewer's language; its own words where we have no text for them.

    Keys of `reason.json` are the core's words: numbers stand as `n`, and what is in backticks is left out. Of a kind
    with particulars (`connect: ConnectTimeoutError`) the kind is the key, and the particulars stand behind it.
    """
    words = english.partition("`")[0]
    key, particulars = _reason_key(words), ""
    if not has_text(key):
        kind, _, particulars = words.partition(": ")
        key = _reason_key(kind)
    if not has_text(key):
        return english
    if particulars:
        return f"{text(language, key)} ({particulars})"
    if language == "en":
        return english
    numbers = {f"n{at}": number for at, number in enumerate(re.findall(r"\d+", words), start=1)}
    return text(language, key, **numbers)


def _reason_key(words: str) -> str:
    return "reason." + re.sub(r"[^a-z0-9]+", "_", re.sub(r"\d+", "n", words.lower())).strip("_")


def has_text(key: str) -> bool:
    """Whether there is such a key."""
    return key in all_texts()


def language_of(wanted: str | None, accepted: str | None) -> str:
    """`wanted` (a cookie), else the first of Accept-Language that we have, else Chinese."""
    for item in (wanted or "", *(accepted or "").split(",")[:16]):
        prefix = item.strip().lower()[:2]
        for language in LANGUAGES:
            if len(prefix) == 2 and language.lower().startswith(prefix):
                return language
    return DEFAULT_LANGUAGE
