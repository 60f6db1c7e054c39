"""Effects of a call that commit even when the operation refuses: the nonce is spent whatever the outcome.

Only a failing database rolls back; then nothing was done, and the caller sends the request again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from core_service.application import access, idempotency, provider_places
from core_service.application.idempotency import Claim, ClaimLost, Replay
from core_service.calls import Call
from core_service.errors import CoreError, Family, outcome_open
from core_service.storage.database import CommitUnknown, transact
from core_service.storage.idempotency import KeyBusy

T = TypeVar("T")

_ROLLED_BACK = frozenset({Family.UNAVAILABLE, Family.UNAUTHENTICATED, Family.INTERNAL})


def run_with_nonce(call: Call, work: Callable[[], T], *, stands: Callable[[], bool]) -> T:
    """Spends the call's nonce and runs `work` in one transaction; a refusal is raised after the commit.

    `stands` tells whether `work` has had its effect, should the connection break at COMMIT. PROVIDER_TIMEOUT when that
    cannot be learned because the database stays away.
    """

    def both() -> T | CoreError:
        call.ensure_alive()
        access.spend_nonce(call)
        try:
            return work()
        except CoreError as refusal:
            if refusal.family in _ROLLED_BACK:
                raise
            return refusal

    def commit() -> T | CoreError:
        return transact(both, committed=lambda: _stands(call, stands))

    try:
        try:
            outcome = commit()
        except provider_places.NoPlace as full:
            full.wait()
            outcome = commit()
    except KeyBusy:
        # That transaction is dead, and the nonce with it.
        transact(lambda: access.spend_nonce(call), committed=lambda: access.is_nonce_spent(call))
        access.nonce_spent(call)
        raise idempotency.in_progress(call) from None
    except CoreError as failure:
        if isinstance(failure.__cause__, CommitUnknown):
            raise nobody_knows(call) from failure
        raise
    access.nonce_spent(call)
    if isinstance(outcome, CoreError):
        raise outcome
    return outcome


def nobody_knows(call: Call) -> CoreError:
    """What to raise when it cannot be learned whether a COMMIT stands.

    The nonce may be spent too; spending it again would make the call a replay of itself.
    """
    access.nonce_spent(call)
    return outcome_open()


def _stands(call: Call, stands: Callable[[], bool]) -> bool | None:
    """What became of a transaction whose COMMIT was not answered, for `transact`.

    A nonce that is spent does not say by whom: this may be the second request with it, so without an effect it goes no
    further.
    """
    if stands():
        return True
    return None if access.is_nonce_spent(call) else False


def under_claim(claim: Claim | Replay | None, work: Callable[[], T]) -> T:
    """Runs `work`; what it refuses is stored under the claim, in the same transaction."""
    try:
        return work()
    except CoreError as refusal:
        if isinstance(claim, Claim) and refusal.family not in _ROLLED_BACK:
            idempotency.refuse(claim, refusal)
        raise


@contextmanager
def once_intended() -> Iterator[None]:
    """For what follows a committed intent: trouble of ours leaves the outcome open.

    A 503 would say that nothing was done. So a failing database or a caller out of time is answered
    like a provider that did not answer: send the same request again.
    """
    try:
        yield
    except CoreError as failure:
        if failure.family is not Family.UNAVAILABLE:
            raise
        raise outcome_open() from failure


def to_the_end(call: Call, claim: Claim | None, work: Callable[[], T]) -> T | Replay:
    """Runs what follows the transaction that made the claim, outside any transaction.

    A final refusal is stored in a transaction of its own; any other failure lets a retry go on at once. When somebody
    took the key over meanwhile, the stored answer is given, whatever came out here.
    """
    try:
        try:
            return work()
        except CoreError as failure:
            refusal = failure
            if claim is not None:
                transact(lambda: idempotency.refuse(claim, refusal))
            raise
    except ClaimLost as lost:
        return idempotency.stored(call, lost.claim)
