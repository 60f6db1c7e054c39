"""Ids made by us: sortable by time, unguessable, at most 32 characters of [0-9A-Za-z_] (contract section 5).

A prefix says what the id names; 26 lower-case Crockford characters follow: 48 bits of milliseconds, 80 random bits.
The order id is also the provider's out_trade_no, the refund id its out_refund_no.
"""

import secrets
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))
"""Of the 13 pairs of characters."""


def new_id(prefix: str) -> str:
    """`prefix` + `_` + 26 characters; prefixes have at most five letters."""
    return _id(prefix, (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80))


def first_id(prefix: str, moment: datetime) -> str:
    """The smallest id that can have been made at `moment` or later: where a range of time begins."""
    return _id(prefix, max(0, int(moment.timestamp() * 1000)) << 80)


def made_at(row_id: str) -> datetime:
    """When an id of ours was made, to the millisecond."""
    value = 0
    for character in row_id.rpartition("_")[2]:
        value = value << 5 | _ALPHABET.index(character)
    return datetime.fromtimestamp((value >> 80) / 1000, UTC)


def _id(prefix: str, value: int) -> str:
    return f"{prefix}_{''.join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])}"
