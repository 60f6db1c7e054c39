"""Idempotency keys (contract section 4): the first request runs, its final answer is kept for repeats.

The scope is merchant + operation + key. What is stored, in the transaction of the effect, is the bytes of
the answer, made by the caller's `encode`; a refusal of the operation itself (404, 409, 422) is stored as its
reason. Failures of ours or of a provider are never stored: a retry goes on.
"""

import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from core_service import metadata
from core_service.application import system_config
from core_service.calls import Call
from core_service.errors import CoreError, Family
from core_service.storage import idempotency as keys
from core_service.storage.idempotency import KeyRow, Scope

_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_OK = "OK"
_STORED_FAMILIES = frozenset({Family.NOT_FOUND, Family.CONFLICT, Family.UNPROCESSABLE})
_NEVER_STORED = frozenset({"IDEMPOTENCY_CONFLICT", "IDEMPOTENCY_IN_PROGRESS"})


@dataclass(frozen=True)
class Claim:
    """The right to run the operation under a key, as long as nobody took it over."""

    scope: Scope
    token: int
    is_take_over: bool


@dataclass(frozen=True)
class Replay:
    """The stored answer's bytes."""

    response: bytes


class ClaimLost(Exception):
    """Somebody took the key over; this request's work must be thrown away and the stored answer given."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(claim.scope.operation)
        self.claim = claim


def key_of(call: Call) -> str | None:
    """The request's key. Raises INVALID_IDEMPOTENCY_KEY."""
    key = call.idempotency_key
    if key is not None and not is_key(key):
        raise CoreError("INVALID_IDEMPOTENCY_KEY")
    return key


def is_key(text: str) -> bool:
    """Whether it has the form of a key."""
    return _KEY.fullmatch(text) is not None


def fingerprint(fields: Mapping[str, Any]) -> bytes:
    """What makes two requests the same: their canonical fields, not their white space."""
    text = _CANONICAL.encode(fields)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def canonical_json(text: str | None) -> Any:
    """Metadata as a value, so that white space and key order do not make another request; numbers keep their text."""
    if text is None:
        return None
    return _NUMBERS_AS_TEXT.decode(text)


def _number(text: str) -> str:
    """Told apart from a string with the same characters by what no string may hold."""
    return f"\0{text}"


_NUMBERS_AS_TEXT = json.JSONDecoder(parse_float=_number, parse_int=_number)


def begin(
    call: Call,
    merchant_id: str,
    operation: str,
    request_fingerprint: bytes,
    *,
    now: datetime,
    earlier_fingerprint: bytes | None = None,
) -> Claim | Replay | None:
    """Claims the request's key; None when it has none.

    `earlier_fingerprint`: what the same request had before the order that it names existed.

    Raises IDEMPOTENCY_CONFLICT, IDEMPOTENCY_IN_PROGRESS, or the stored refusal; KeyBusy, which ends the transaction,
    while the first request has not committed its claim.
    """
    key = key_of(call)
    if key is None:
        return None
    scope = Scope(merchant_id, operation, key)
    lease_seconds = system_config.current().idempotency_lease_seconds
    if keys.claim(scope, request_fingerprint, lease_seconds=lease_seconds, now=now):
        created(call)
        return Claim(scope, 1, is_take_over=False)
    known = keys.find(scope)
    replay = replay_of(call, known, request_fingerprint, earlier_fingerprint)
    if replay is not None:
        return replay
    token = (
        None
        if known is None or known.is_leased
        else keys.take_over(scope, lease_seconds=lease_seconds)
    )
    if token is None:
        raise in_progress(call)
    created(call)
    return Claim(scope, token, is_take_over=True)


def replay_of(call: Call, known: KeyRow | None, *fingerprints: bytes | None) -> Replay | None:
    """The answer kept under a key for this very request; None while there is none.

    Raises IDEMPOTENCY_CONFLICT, or the stored refusal.
    """
    if known is None or known.fingerprint not in fingerprints:
        call.trailing[metadata.IDEMPOTENCY_STATUS] = "conflict"
        raise CoreError("IDEMPOTENCY_CONFLICT")
    return None if known.outcome is None else _replay(call, known)


MOST_REMEMBERED = 20_000
_remembered: OrderedDict[int, None] = OrderedDict()
"""Hashes of scopes: the half of the memory, and two scopes with one hash cost a look and nothing more."""
_lock = Lock()


def remember(scope: Scope) -> None:
    """Note that a key is in use: a repeat of it is probably a replay."""
    with _lock:
        _remembered[hash(scope)] = None
        if len(_remembered) > MOST_REMEMBERED:
            _remembered.popitem(last=False)


def is_remembered(scope: Scope) -> bool:
    """Whether this process has seen the key; a hint about what to look at first, and nothing more."""
    return hash(scope) in _remembered


def created(call: Call) -> None:
    """Says that the answer was kept under the request's key by this request."""
    call.trailing[metadata.IDEMPOTENCY_STATUS] = "created"


def finish(claim: Claim | None, response: bytes, resource_id: str) -> None:
    """Stores the final answer, in the transaction of the effect. Raises ClaimLost."""
    if claim is not None and not keys.finish(
        claim.scope, claim.token, outcome=_OK, response=response, resource_id=resource_id
    ):
        raise ClaimLost(claim)


def refuse(claim: Claim | None, refusal: CoreError) -> None:
    """Stores a refusal of the operation itself; any other ends the lease, so that a retry runs anew.

    A merchant that may not do this at all has used up no key. Raises ClaimLost.
    """
    if claim is None:
        return
    if refusal.family is Family.PERMISSION_DENIED and not claim.is_take_over:
        keys.forget(claim.scope, claim.token)
        return
    if not is_final(refusal):
        keys.give_up(claim.scope, claim.token)
        return
    response = json.dumps(
        {"message": refusal.message, "details": refusal.details}, ensure_ascii=False
    ).encode()
    if not keys.finish(
        claim.scope, claim.token, outcome=refusal.reason, response=response, resource_id=None
    ):
        raise ClaimLost(claim)


def is_final(refusal: CoreError) -> bool:
    """Whether a refusal is the operation's own last word."""
    return refusal.family in _STORED_FAMILIES and refusal.reason not in _NEVER_STORED


def stored(call: Call, claim: Claim) -> Replay:
    """The answer of whoever took the key over. Raises the stored refusal, or IDEMPOTENCY_IN_PROGRESS."""
    known = keys.find(claim.scope)
    if known is None or known.outcome is None:
        raise in_progress(call)
    return _replay(call, known)


def in_progress(call: Call) -> CoreError:
    """The refusal while the first request is at work."""
    call.trailing[metadata.IDEMPOTENCY_STATUS] = "in_progress"
    return CoreError("IDEMPOTENCY_IN_PROGRESS", retry_after_seconds=1)


def forget_unstored(call: Call, failure: CoreError) -> None:
    """Takes the mark back from an answer that is not kept: the next request with the key may get another."""
    if not is_final(failure) and failure.reason not in _NEVER_STORED:
        call.trailing.pop(metadata.IDEMPOTENCY_STATUS, None)


def _replay(call: Call, known: KeyRow) -> Replay:
    call.trailing[metadata.IDEMPOTENCY_STATUS] = "replayed"
    assert known.outcome is not None
    assert known.response is not None
    if known.outcome == _OK:
        return Replay(known.response)
    refusal = json.loads(known.response)
    raise CoreError(known.outcome, refusal["message"], details=refusal["details"])
