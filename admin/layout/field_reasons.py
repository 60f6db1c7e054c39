"""What the core says about a field, in the reader's language: the core speaks English to everybody."""

import re

from admin import texts

_PATTERNS = (
    (
        re.compile(r"is required|value is required|must be at least 1 characters?"),
        "reason.required",
    ),
    (
        re.compile(r"must not be in list \[0\]|value must be one of the defined enum values"),
        "reason.choose",
    ),
    (re.compile(r"is wrong"), "reason.wrong"),
    (re.compile(r"is wrong or was used already"), "reason.wrong_or_used"),
    (re.compile(r"is wrong; enter the newest code of the authenticator"), "reason.newest_code"),
    (re.compile(r"there is no new key to confirm; begin again"), "reason.begin_again"),
    (re.compile(r"must have (\d+) to (\d+) characters"), "reason.length"),
    (re.compile(r"must be at least (\d+) characters?"), "reason.shortest"),
    (re.compile(r"must be at most (\d+) characters?"), "reason.longest"),
    (re.compile(r"must have at least (\d+) different characters"), "reason.different"),
    (re.compile(r"must be another one than before"), "reason.another"),
    (re.compile(r"must not be the e-mail address"), "reason.not_the_address"),
    (re.compile(r"another operator has this address|has an account already"), "reason.taken"),
    (re.compile(r"must not have control characters"), "reason.control"),
    (re.compile(r"(?:must|does not) match (?:the )?(?:regex )?pattern.*"), "reason.form"),
    (re.compile(r"must be greater than or equal to (\S+)"), "reason.least"),
    (re.compile(r"must be less than or equal to (\S+)"), "reason.most"),
    (re.compile(r"(\S+) must be a whole number from (\d+) to (\d+)"), "reason.whole_number"),
    (
        re.compile(r"an enabled SUPER_ADMIN must be left; name another one first"),
        "reason.last_super_admin",
    ),
    (
        re.compile(r"a merchant needs an enabled owner; name another one first"),
        "reason.last_owner",
    ),
)


def field_reason(reason: str, language: str) -> str:
    """The same in Chinese where it is known; in English always as the core said it."""
    if language == "en":
        return reason
    for pattern, key in _PATTERNS:
        found = pattern.fullmatch(reason)
        if found:
            return texts.text(language, key, **dict(zip("abc", found.groups(), strict=False)))
    return reason
