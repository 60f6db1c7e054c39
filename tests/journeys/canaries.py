"""A merchant's secrets, as what must turn up nowhere else."""

from collections.abc import Iterator, Mapping
from typing import Any


def canaries_of(config: Mapping[str, Any]) -> set[str]:
    """The long texts of an account configuration that are secret."""
    return {text for text in strings_of(config) if len(text) > 20} - public_texts(config)


def strings_of(value: Any) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_of(item)


def public_texts(config: Mapping[str, Any]) -> set[str]:
    """Names and addresses, which the provider shows as well, and public keys."""
    shown = ("appId", "mchId", "mchSerialNo", "sellerId", "gatewayUrl", "apiBaseUrl")
    return {
        text for name, value in config.items() if name in shown or "ublic" in name
        for text in strings_of(value)
    }  # fmt: skip


def parts_of(canary: str) -> Iterator[str]:
    """The text, or each line of a PEM."""
    yield from (line for line in canary.splitlines() if len(line) > 15 and "-----" not in line)
