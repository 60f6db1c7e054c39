"""Collects everything that is wrong with an account configuration before refusing it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from core_service.providers.base import AccountConfigInvalid, AccountField

T = TypeVar("T")

_LONGEST_VALUE = 65536


def _missing(field: AccountField) -> str:
    return "required" if field.group is None else "required beside the other fields of its group"


class ConfigChecker:
    """Reads the fields of a configuration; the first finding about a field stands."""

    def __init__(self, config: Mapping[str, Any], fields: Sequence[AccountField]) -> None:
        self._config = config
        self._violations: dict[str, str] = {}
        groups = {field.group for field in fields if config.get(field.name)}
        for field in fields:
            value = config.get(field.name)
            if field.required and not value and (field.group is None or field.group in groups):
                self.refuse(field.name, _missing(field))
            elif isinstance(value, str) and len(value) > _LONGEST_VALUE:
                self.refuse(field.name, "too long")

    def refuse(self, name: str, reason: str) -> None:
        """Notes a finding."""
        self._violations.setdefault(name, reason)

    def text(self, name: str) -> str:
        """The stripped text of a field, "" when absent; a value of another type is refused."""
        value = self._config.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.refuse(name, "must be text")
            return ""
        return value.strip()

    def attempt(self, name: str, parse: Callable[[], T]) -> T | None:
        """What `parse` returns, or None with its ValueError as the finding."""
        try:
            return parse()
        except ValueError as problem:
            self.refuse(name, str(problem))
            return None

    def parsed(self, name: str, parse: Callable[[str], T]) -> T | None:
        """The parsed text of a field; None when it is absent or refused."""
        text = self.text(name)
        return self.attempt(name, lambda: parse(text)) if text else None

    def base_url(self, name: str, official: Sequence[str], *, allow_custom: bool) -> None:
        """Refuses an own base URL unless it is allowed.

        It would send signed requests, and money, elsewhere.
        """
        url = self.text(name)
        if not url or url in official:
            return
        if not allow_custom:
            self.refuse(name, "only the provider's own address is allowed here")
            return
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            self.refuse(name, "must be an absolute http(s) URL without user name")
        elif parts.query or parts.fragment:
            self.refuse(name, "must not have a query or fragment")

    def raise_violations(self) -> None:
        """Raises AccountConfigInvalid when anything was found."""
        if self._violations:
            raise AccountConfigInvalid(self._violations)
