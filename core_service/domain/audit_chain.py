"""The audit log's chain: each record carries the hash of its content together with the hash before it.

The database computes the same when a record is written (`audit_link` in its migrations). Whoever changes, removes or
slips in a record would have to change every later one and whatever anchor somebody noted elsewhere.
"""

import hashlib
from collections.abc import Sequence

BEGINNING = hashlib.sha256(b"novapay audit log").digest()
"""What the first record builds on."""


def link(previous: bytes, fields: Sequence[str | None]) -> bytes:
    """SHA-256 of the previous hash and the fields in their order."""
    return hashlib.sha256(previous + b"".join(map(_field, fields))).digest()


def _field(value: str | None) -> bytes:
    """With its length in bytes before it, so that no two records read the same."""
    if value is None:
        return b"-"
    raw = value.encode()
    return b"%d:%b" % (len(raw), raw)
