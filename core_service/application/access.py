"""Merchants' signed requests: the checks of the contract in their order, and spending the nonce.

Two facts come from outside a request's own bytes and can be out of date: the merchant's snapshot, and
whether the nonce is new. The last statement of authentication settles both: it spends the nonce
only while the merchant is still at the snapshot's version.
"""

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock

from core_service.application import merchant_cache, system_config
from core_service.application.merchant_cache import CredentialFacts, MerchantSnapshot
from core_service.calls import Call, UnspentNonce
from core_service.domain import signature
from core_service.domain.merchant import address_allowed
from core_service.domain.rate_limit import RateLimit
from core_service.errors import CoreError
from core_service.storage import merchant_snapshots
from core_service.storage.merchant_snapshots import Nonce, NonceOutcome

LAST_USE_PRECISION = timedelta(minutes=5)

_DUMMY_SECRET = b"no request is ever signed with this"
_NOBODYS_KEY_ID = "npk_"
_BLANKS = b" \t"
_SNAPSHOT_REFUSALS = frozenset({"INVALID_API_KEY", "IP_NOT_ALLOWED", "MERCHANT_NOT_FOUND"})


class StaleSnapshot(Exception):
    """The merchant changed since it was read; the caller reads it again and repeats the call."""


@dataclass(frozen=True)
class SignedRequest:
    """What a merchant's request says about its sender, as bytes that nobody has judged yet."""

    key_id: bytes
    timestamp: bytes
    nonce: bytes
    signature: bytes
    body: bytes
    merchant_code: str
    """From the body; never empty."""
    client_address: str | None


def authenticate_signed_request(
    request: SignedRequest, *, now: datetime
) -> tuple[MerchantSnapshot, UnspentNonce]:
    """Check everything except that the nonce is new (contract section 3, checks 2 to 6).

    A refusal by a snapshot from memory is made sure of by reading the merchant again: it may have
    got a new key, allowlist or code since.
    """
    key_id = request.key_id.strip(_BLANKS)
    # A key id of no possible form is looked up as one that nobody has, for the same work.
    text = key_id.decode("ascii") if signature.is_key_id(key_id) else _NOBODYS_KEY_ID
    known = merchant_cache.by_key(text) if key_id else None
    try:
        return _checked(request, text if key_id else "", known, now)
    except CoreError as refusal:
        if known is None or refusal.reason not in _SNAPSHOT_REFUSALS:
            raise
        current = merchant_cache.by_key_now(text)
        if current is known:
            raise
    return _checked(request, text, current, now)


def spend_nonce(call: Call) -> None:
    """Spend the nonce of a merchant's call; a no-op for every other call and once it is spent.

    Raises NONCE_REPLAYED, and StaleSnapshot when the merchant is no longer as it was when the call
    was authenticated. Inside a transaction the nonce is spent with its commit: say `nonce_spent`
    after it.
    """
    unspent = call.unspent_nonce
    if unspent is None:
        return
    accept(merchant_snapshots.spend_nonce(nonce_of(unspent)))


def accept(outcome: NonceOutcome) -> None:
    """Go on if the nonce was spent. Raises NONCE_REPLAYED and StaleSnapshot."""
    if outcome is NonceOutcome.REPLAYED:
        raise CoreError("NONCE_REPLAYED")
    if outcome is NonceOutcome.STALE:
        raise StaleSnapshot


def nonce_of(unspent: UnspentNonce) -> Nonce:
    """As it is stored: remembered as long as any setting lets its request be believed."""
    return Nonce(
        unspent.merchant_id,
        unspent.nonce.decode("ascii"),
        datetime.fromtimestamp(unspent.signed_at, UTC)
        + timedelta(seconds=signature.LARGEST_MAX_AGE_SECONDS),
        unspent.merchant_version,
    )


def is_nonce_spent(call: Call) -> bool:
    """Whether the call's nonce is in the database; False for a call that has none."""
    unspent = call.unspent_nonce
    return unspent is not None and merchant_snapshots.nonce_exists(
        unspent.merchant_id, unspent.nonce.decode("ascii")
    )


def nonce_spent(call: Call) -> None:
    """Say that the transaction which spent the nonce is committed."""
    call.unspent_nonce = None


def refresh(call: Call) -> None:
    """After StaleSnapshot: read the merchant again and let the call begin anew."""
    merchant_cache.by_id(call.merchant.facts.id)
    call.unspent_nonce = None
    call.trailing.clear()


def _checked(
    request: SignedRequest, key_id: str, snapshot: MerchantSnapshot | None, now: datetime
) -> tuple[MerchantSnapshot, UnspentNonce]:
    timestamp = request.timestamp.strip(_BLANKS)
    nonce = request.nonce.strip(_BLANKS)
    given = request.signature.strip(_BLANKS)
    if not key_id:
        raise CoreError("API_KEY_REQUIRED")
    if not (timestamp and nonce and given):
        raise CoreError("SIGNATURE_REQUIRED")
    credential = None if snapshot is None else snapshot.credentials.get(key_id)
    is_live = credential is not None and credential.is_live(now)
    secret = credential.secret if credential is not None and is_live else _DUMMY_SECRET
    # Before the first refusal that knows the key, so that a dead key costs what a live one costs.
    digest = signature.request_signature(secret, timestamp, nonce, request.body)
    matches = signature.matches_hex(digest, given)
    if snapshot is None or credential is None or not is_live:
        raise CoreError("INVALID_API_KEY")
    signed_at = signature.parse_timestamp(timestamp)
    if signed_at is None:
        raise CoreError("INVALID_SIGNATURE_TIMESTAMP")
    max_age = system_config.current().merchant_signature_max_age_seconds
    if abs(now.timestamp() - signed_at) > max_age:
        raise CoreError("SIGNATURE_EXPIRED")
    if not signature.is_nonce(nonce):
        raise CoreError("INVALID_SIGNATURE_NONCE")
    if not matches:
        raise CoreError("INVALID_SIGNATURE")
    if not address_allowed(snapshot.allowlist, request.client_address):
        raise CoreError("IP_NOT_ALLOWED")
    if request.merchant_code != snapshot.facts.code:
        raise CoreError("MERCHANT_NOT_FOUND")
    _keep_rate(key_id)
    _last_uses.note(snapshot.facts.id, credential, now)
    return snapshot, UnspentNonce(snapshot.facts.id, nonce, signed_at, snapshot.facts.version)


_rate_limit: list[RateLimit] = []


def configure_rate(per_second: float) -> None:
    """Set how many requests a second each key may send to this process."""
    _rate_limit[:] = [RateLimit(per_second)]


def _keep_rate(key_id: str) -> None:
    """Behind the signature, so that nobody uses up another's share; before anything that costs. Raises RATE_LIMITED."""
    for limit in _rate_limit:
        wait = limit.seconds_to_wait(key_id, time.monotonic())
        if wait:
            raise CoreError("RATE_LIMITED", retry_after_seconds=math.ceil(wait))


class _LastUses:
    """Which keys were used, until the next flush; a key counts once in `LAST_USE_PRECISION`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._noted: dict[tuple[str, str], datetime] = {}
        self._pending: dict[tuple[str, str], datetime] = {}

    def note(self, merchant_id: str, credential: CredentialFacts, now: datetime) -> None:
        key = (merchant_id, credential.key_id)
        last = self._noted.get(key) or credential.last_used_at
        if last is not None and now - last < LAST_USE_PRECISION:
            return
        with self._lock:
            self._noted[key] = now
            self._pending[key] = now

    def take(self, now: datetime) -> dict[tuple[str, str], datetime]:
        with self._lock:
            pending, self._pending = self._pending, {}
            self._noted = {
                key: at for key, at in self._noted.items() if now - at < LAST_USE_PRECISION
            }
        return pending


_last_uses = _LastUses()


def flush_last_uses(now: datetime) -> None:
    """Write down which keys were used since the last flush; for a thread beside the requests.

    What a failing database or a crash loses is only how recently a key was used.
    """
    pending = _last_uses.take(now)
    if pending:
        merchant_snapshots.record_last_use((*key, at) for key, at in pending.items())
