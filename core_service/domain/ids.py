"""Ids made by us: sortable by time, unguessable, at most 32 characters of [0-9A-Za-z_] (contract section 5).

A prefix says what the id names; 26 lower-case Crockford characters follow: 48 bits of milliseconds, 80 random bits.
The order id is also the provider's out_trade_no, the refund id its out_refund_no.
"""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 26


def new_id(prefix: str) -> str:
    """`prefix` + `_` + 26 characters; prefixes have at most five letters."""
    value = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    characters = []
    for _ in range(_LENGTH):
        characters.append(_ALPHABET[value & 31])
        value >>= 5
    return f"{prefix}_{''.join(reversed(characters))}"
