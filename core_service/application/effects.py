"""Effects of a call that commit even when the operation refuses: the nonce is spent whatever the outcome.

Only a failing database rolls back; then nothing was done, and the caller sends the request again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from core_service.application import access, idempotency, provider_places
from core_service.application.idempotency import Claim, ClaimLost, Replay
from core_service.calls import Call
from core_service.errors import CoreError, Family, outcome_open
from core_service.storage.database import CommitUnknown, connection_scope, transact
from core_service.storage.idempotency import KeyBusy

T = TypeVar("T")

_ROLLED_BACK = frozenset({Family.UNAVAILABLE, Family.UNAUTHENTICATED, Family.INTERNAL})


@dataclass
class _Runs(Generic[T]):
    """One transaction of a call with its nonce, run until it is known what became of it.

    Until the server has noticed that a connection broke, it goes on: a run of which nothing was to be seen may still
    commit, and stand in the way of the next one.
    """

    call: Call
    work: Callable[[], T]
    stands: Callable[[], bool]
    answers: list[T | CoreError]
    """Of the runs that came to their COMMIT."""
    is_doubtful: bool
    """Whether one of them may still commit."""

    def commit(self) -> T | CoreError:
        """The outcome that stands. Raises what went wrong, and PROVIDER_TIMEOUT when nobody knows what stands."""
        try:
            return transact(self._run, committed=self._became)
        except (CoreError, KeyBusy, access.StaleSnapshot) as failure:
            if not self.is_doubtful or not _may_be_our_own_doing(failure):
                raise
            if not self._stands_after_all():
                raise nobody_knows(self.call) from failure
            return self.answers[-1]

    def _run(self) -> T | CoreError:
        self.call.ensure_alive()
        access.spend_nonce(self.call)
        outcome: T | CoreError
        try:
            outcome = self.work()
        except CoreError as refusal:
            if refusal.family in _ROLLED_BACK:
                raise
            outcome = refusal
        self.answers.append(outcome)
        return outcome

    def _became(self) -> bool | None:
        """What became of a COMMIT that was not answered, for `transact`.

        A nonce that is spent does not say by whom: this may be the second request with it, so without an effect it goes
        no further.
        """
        is_spent = access.is_nonce_spent(self.call)  # before the effect: they come together
        if self.stands():
            return True
        if is_spent:
            return None
        self.is_doubtful = True
        return False

    def _stands_after_all(self) -> bool:
        try:
            with connection_scope():
                return self.stands()
        except CoreError as failure:
            raise nobody_knows(self.call) from failure


def _may_be_our_own_doing(failure: Exception) -> bool:
    """Whether an earlier run of the same call, still alive at the server, can be what this one met."""
    if isinstance(failure, CoreError):
        return failure.reason == "NONCE_REPLAYED" or failure.family is Family.UNAVAILABLE
    return True


def run_with_nonce(
    call: Call, work: Callable[[], T], *, stands: Callable[[], bool], unanswered: Sequence[T] = ()
) -> T:
    """Spends the call's nonce and runs `work` in one transaction; a refusal is raised after the commit.

    `stands` tells whether `work` has had its effect, should the connection break at COMMIT. `unanswered`: what runs
    before this one would have answered whose connection broke. PROVIDER_TIMEOUT when it cannot be learned what stands.
    """
    runs = _Runs(call, work, stands, [*unanswered], is_doubtful=bool(unanswered))
    try:
        try:
            outcome = runs.commit()
        except provider_places.NoPlace as full:
            full.wait()
            outcome = runs.commit()
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
