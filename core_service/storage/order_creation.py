"""The hot path of create: nonce, idempotency key with its answer, order and event in one statement.

It takes the plain case only: a new key (if any) for a new order. Whatever else it meets it leaves to the
longer way in several statements, which knows how to wait, to find and to take over. What it did then is
exactly one of two things: spent the nonce, or nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import peewee
from psycopg2 import errorcodes

from core_service.errors import CoreError
from core_service.storage.database import Prepared, Row, commit_one, is_lock_timeout
from core_service.storage.idempotency import KEY_WAIT_MS, KeyRow, Scope, key_row
from core_service.storage.merchant_snapshots import SPENDING, SPENT, Nonce, nonce_parameters
from core_service.storage.payment_orders import Event, first_event

# A second request with the key waits shortly for the first one's commit, like the longer way.
_KNOWN = """, known AS (
    SELECT fingerprint, token, lease_until >= now() AS is_leased, resource_id, outcome, response
    FROM idempotency_keys
    WHERE merchant_id = %(merchant_id)s AND operation = %(operation)s AND key = %(key)s
)"""
_KEY = f"""{_KNOWN}, allowed AS (
    INSERT INTO idempotency_keys (merchant_id, operation, key, fingerprint, lease_until, resource_id,
                                  outcome, response, created_at)
    SELECT %(merchant_id)s, %(operation)s, %(key)s, %(fingerprint)s, now(), %(id)s, 'OK', %(response)s,
           %(created_at)s
    FROM spent, set_config('lock_timeout', '{KEY_WAIT_MS}', true)
    WHERE NOT EXISTS (SELECT 1 FROM known)
      AND NOT EXISTS (SELECT 1 FROM payment_orders
                      WHERE merchant_id = %(merchant_id)s AND external_order_id = %(external_order_id)s)
    ON CONFLICT (merchant_id, operation, key) DO NOTHING
    RETURNING 1
)"""  # noqa: S608 (a number of ours)

_NO_KEY = ", allowed AS (SELECT 1 FROM spent)"

_MADE = """, made AS (
    INSERT INTO payment_orders (
        merchant_id, id, external_order_id, channel_code, account_id, amount_fen, currency, fee_rate, fee_fen, subject,
        description, return_url, callback_url, metadata, status, payment_mode, checkout_url, expire_at,
        created_at, updated_at, ask_at)
    SELECT
        %(merchant_id)s, %(id)s, %(external_order_id)s, %(channel_code)s, %(account_id)s, %(amount_fen)s, %(currency)s,
        %(fee_rate)s, %(fee_fen)s, %(subject)s, %(description)s, %(return_url)s, %(callback_url)s, %(metadata)s,
        'PENDING', %(payment_mode)s, %(checkout_url)s, %(expire_at)s, %(created_at)s, %(created_at)s,
        %(ask_at)s
    FROM allowed
    ON CONFLICT (merchant_id, external_order_id) DO NOTHING
    RETURNING 1
), told AS (
    INSERT INTO payment_events (merchant_id, order_id, id, at, actor, cause, after_status, request_id)
    SELECT %(merchant_id)s, %(id)s, %(event_id)s, %(created_at)s, %(actor)s, 'create', 'PENDING', %(request_id)s
    FROM made
)
"""
_SAYS_MADE = ", EXISTS (SELECT 1 FROM made) AS made"
_ORDER = _MADE + SPENT + _SAYS_MADE

# A key claimed for an order that somebody else was faster to make: division by zero takes the statement back.
_WHOLE_OR_NOTHING = """,
    1 / CASE WHEN EXISTS (SELECT 1 FROM allowed) AND NOT EXISTS (SELECT 1 FROM made) THEN 0 ELSE 1 END, known.*
FROM (SELECT 1) AS one LEFT JOIN known ON true"""

WITH_KEY = Prepared(SPENDING + _KEY + _ORDER + _WHOLE_OR_NOTHING)
_LOOK = Prepared(
    SPENDING + _KNOWN + SPENT + ", known.* FROM (SELECT 1) AS one LEFT JOIN known ON true"
)
_WITHOUT_KEY = Prepared(SPENDING + _NO_KEY + _ORDER)


class Outcome(StrEnum):
    """What the statement did."""

    MADE = "MADE"
    STALE = "STALE"
    """The merchant changed since it was read: nothing."""
    REPLAYED = "REPLAYED"
    """The nonce was spent before: nothing."""
    NONCE_ONLY = "NONCE_ONLY"
    NOTHING = "NOTHING"


@dataclass(frozen=True)
class NewKey:
    """A key to be kept with its answer."""

    scope: Scope
    fingerprint: bytes
    response: bytes


@dataclass(frozen=True)
class Attempt:
    """What became of it; `known` is what the key held before, with NONCE_ONLY."""

    outcome: Outcome
    known: KeyRow | None = None


def attempt(values: dict[str, Any], event: Event, nonce: Nonce, key: NewKey | None) -> Attempt:
    """In no transaction. Raises CommitUnknown when the connection broke, and CoreError."""
    parameters = {
        **values,
        **first_event(event),
        **nonce_parameters(nonce),
    }
    if key is not None:
        parameters |= {
            "operation": key.scope.operation,
            "key": key.scope.key,
            "fingerprint": key.fingerprint,
            "response": key.response,
        }
    try:
        row = commit_one(_WITHOUT_KEY if key is None else WITH_KEY, parameters)
    except peewee.DataError as failure:
        if getattr(failure.__cause__, "pgcode", None) != errorcodes.DIVISION_BY_ZERO:
            raise
        return Attempt(Outcome.NOTHING)
    except CoreError as failure:
        if not is_lock_timeout(failure):
            raise
        return Attempt(Outcome.NOTHING)
    assert row is not None
    return _attempt(row)


def look(nonce: Nonce, scope: Scope) -> Attempt:
    """Spends the nonce and reads what the key holds; makes nothing. Raises CommitUnknown and CoreError."""
    parameters = {**nonce_parameters(nonce), "operation": scope.operation, "key": scope.key}
    row = commit_one(_LOOK, parameters)
    assert row is not None
    return _attempt({**row, "made": False})


def _attempt(row: Row) -> Attempt:
    if row["made"]:
        return Attempt(Outcome.MADE)
    if not row["current"]:
        return Attempt(Outcome.STALE)
    if not row["spent"]:
        return Attempt(Outcome.REPLAYED)
    known = key_row(row) if row.get("fingerprint") is not None else None
    return Attempt(Outcome.NONCE_ONLY, known)
