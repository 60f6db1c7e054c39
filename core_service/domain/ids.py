"""Ids made by us: sortable by time, unguessable, at most 32 characters of [0-9A-Za-z_] (contract section 5).

A prefix says what the id names; 26 lower-case Crockford characters follow: 48 bits of milliseconds, 80 random bits.
The order id is also the provider's out_trade_no, the refund id its out_refund_no.
"""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))
"""Of the 13 pairs of characters."""


def new_id(prefix: str) -> str:
    """`prefix` + `_` + 26 characters; prefixes have at most five letters."""
    value = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    return f"{prefix}_{''.join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])}"
