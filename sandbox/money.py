"""Yuan text and fen integers."""

import re

_YUAN = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,2})?", re.ASCII)


def fen_to_yuan(fen: int) -> str:
    """`8888` -> `"88.88"`."""
    return f"{fen // 100}.{fen % 100:02d}"


def yuan_to_fen(text: str) -> int:
    """`"88.8"` -> `8880`; ValueError unless plain yuan with at most two decimals."""
    if not _YUAN.fullmatch(text):
        raise ValueError(f"not an amount in yuan: {text!r}")
    whole, _, decimals = text.partition(".")
    return int(whole) * 100 + int(decimals.ljust(2, "0") or 0)
