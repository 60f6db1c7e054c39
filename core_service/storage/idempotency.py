"""Idempotency keys: claimed by insert, taken over by token, finished once."""

from dataclasses import dataclass
from datetime import datetime

from core_service.errors import CoreError
from core_service.storage.database import (
    LOCK_TIMEOUT_MS,
    Prepared,
    Row,
    execute,
    fetch_one,
    is_lock_timeout,
    write,
)

KEY_WAIT_MS = 150
"""How long a second request with a key waits for the first one's commit before it is told to come again."""


@dataclass(frozen=True)
class Scope:
    """What a key is unique in, and the key."""

    merchant_id: str
    operation: str
    key: str


@dataclass(frozen=True)
class KeyRow:
    """What is known under a key; `outcome` and `response` are None while the first request runs."""

    fingerprint: bytes
    token: int
    is_leased: bool
    resource_id: str | None
    outcome: str | None
    response: bytes | None


class KeyBusy(Exception):
    """The first request with the key holds it in a transaction that does not end; this transaction is dead."""


_CLAIM = Prepared(f"""
INSERT INTO idempotency_keys (merchant_id, operation, key, fingerprint, lease_until, created_at)
SELECT %s, %s, %s, %s, now() + make_interval(secs => %s), %s
FROM set_config('lock_timeout', '{KEY_WAIT_MS}', true)
ON CONFLICT (merchant_id, operation, key) DO NOTHING
RETURNING set_config('lock_timeout', '{LOCK_TIMEOUT_MS}', true)
""")  # noqa: S608 (numbers of ours)


def claim(scope: Scope, fingerprint: bytes, *, lease_seconds: int, now: datetime) -> bool:
    """Whether this request is the first with its key. Waits shortly for an uncommitted first one.

    In a transaction. Raises KeyBusy.
    """
    try:
        row = fetch_one(
            _CLAIM, (scope.merchant_id, scope.operation, scope.key, fingerprint, lease_seconds, now)
        )
    except CoreError as failure:
        if is_lock_timeout(failure):
            raise KeyBusy from failure
        raise
    if row is None:
        write(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
    return row is not None


_FIND = Prepared(
    "SELECT fingerprint, token, lease_until >= now() AS is_leased, resource_id, outcome, response "
    "FROM idempotency_keys WHERE merchant_id = %s AND operation = %s AND key = %s"
)


def find(scope: Scope) -> KeyRow | None:
    """What is stored under a key."""
    row = fetch_one(_FIND, (scope.merchant_id, scope.operation, scope.key))
    return None if row is None else key_row(row)


def key_row(row: Row) -> KeyRow:
    """A row with the columns that `find` selects."""
    response = row["response"]
    return KeyRow(
        bytes(row["fingerprint"]),
        row["token"],
        row["is_leased"],
        row["resource_id"],
        row["outcome"],
        None if response is None else bytes(response),
    )


def take_over(scope: Scope, *, lease_seconds: int) -> int | None:
    """A dead first request's key, under a new token; None when it is alive or finished."""
    row = fetch_one(
        "UPDATE idempotency_keys SET token = token + 1, lease_until = now() + make_interval(secs => %s) "
        "WHERE merchant_id = %s AND operation = %s AND key = %s AND lease_until < now() AND outcome IS NULL "
        "RETURNING token",
        (lease_seconds, scope.merchant_id, scope.operation, scope.key),
    )
    return None if row is None else int(row["token"])


_FINISH = Prepared(
    "UPDATE idempotency_keys SET outcome = %s, response = %s, resource_id = %s "
    "WHERE merchant_id = %s AND operation = %s AND key = %s AND token = %s AND outcome IS NULL"
)


def finish(
    scope: Scope, token: int, *, outcome: str, response: bytes, resource_id: str | None
) -> bool:
    """Stores the final answer; False when the key was taken over meanwhile."""
    return bool(
        execute(
            _FINISH,
            (outcome, response, resource_id, scope.merchant_id, scope.operation, scope.key, token),
        )
    )


def forget(scope: Scope, token: int) -> None:
    """Frees a key under which nothing was done; it may be used for anything again."""
    execute(
        "DELETE FROM idempotency_keys "
        "WHERE merchant_id = %s AND operation = %s AND key = %s AND token = %s AND outcome IS NULL",
        (scope.merchant_id, scope.operation, scope.key, token),
    )


def give_up(scope: Scope, token: int) -> None:
    """Ends the lease without an answer, so that a retry goes on at once."""
    execute(
        "UPDATE idempotency_keys SET lease_until = now() - interval '1 millisecond' "
        "WHERE merchant_id = %s AND operation = %s AND key = %s AND token = %s AND outcome IS NULL",
        (scope.merchant_id, scope.operation, scope.key, token),
    )
