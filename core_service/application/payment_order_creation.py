"""Create an order.

On a channel that signs locally (Alipay page pay) it is one transaction. On a channel that must be called, the intent is
committed first, the provider is called with no transaction open, and a second transaction records the answer; an answer
that does not come leaves the order PENDING, and the same request again finishes the same order.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from core_service import tracing, turns
from core_service.application import (
    access,
    callbacks,
    effects,
    idempotency,
    payment_results,
    provider_calls,
    provider_places,
    routing,
)
from core_service.application.idempotency import Claim, Replay
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.application.payment_orders import Answer, Encode, OrderResult
from core_service.application.routing import Plan
from core_service.calls import Call, UnspentNonce
from core_service.domain import money, payment_order
from core_service.domain.ids import new_id
from core_service.domain.payment_order import OPEN_STATUSES, OrderStatus
from core_service.errors import CoreError, Family
from core_service.failpoints import failpoint
from core_service.providers.base import (
    Checkout,
    PaymentRequest,
    Provider,
    ProviderRefused,
    ProviderUnknown,
)
from core_service.storage import order_creation, payment_orders
from core_service.storage.database import CommitUnknown, reconnect, transact
from core_service.storage.idempotency import Scope
from core_service.storage.order_creation import Attempt, NewKey, Outcome
from core_service.storage.payment_orders import (
    Event,
    OrderView,
    PaymentOrderRow,
    Transition,
)

CREATE = "payment_order.create"
OTHER_REQUEST_SECONDS = 4.0
"""How long a second request for the same new order waits for the first one's call to the provider."""
LONGEST_PROVIDER_RETURN_URL = 256
OUTCOME_UNKNOWN = "UNKNOWN"
"""Provider status of an order whose creation was not answered; the next request need not wait for it."""


@dataclass(frozen=True)
class CreateOrder:
    """What a merchant asks for; texts are checked for form already, the amount is not."""

    channel_code: str
    external_order_id: str
    amount: str
    subject: str
    description: str | None
    return_url: str | None
    callback_url: str | None
    metadata: str | None


def create(
    call: Call,
    merchant: MerchantSnapshot,
    command: CreateOrder,
    *,
    public_base_url: str,
    encode: Encode,
    now: datetime,
) -> Answer:
    """Creates an order, or finds the one with this external id.

    Raises INVALID_AMOUNT, INVALID_REQUEST, UNSUPPORTED_CHANNEL, MERCHANT_…, CHANNEL_…, ACCOUNT_DISABLED, AMOUNT_TOO_…,
    CALLBACK_URL_FORBIDDEN, ORDER_…_CONFLICT, IDEMPOTENCY_…, PROVIDER_….
    """
    amount_fen = money.parse_amount(command.amount)
    try:
        provider = provider_calls.provider_for(command.channel_code)
        routing.check_urls(command.return_url, command.callback_url)
    except CoreError as refusal:
        return _refused(call, merchant, command, amount_fen, refusal, now=now)
    creation = _Creation(
        call, merchant, command, amount_fen, public_base_url, encode, now, provider
    )
    if provider.creates_locally:
        return _traced(creation.in_one_transaction())
    return creation.around_the_call()


def _traced(answer: Answer) -> Answer:
    """The same; the trace says which order it is about."""
    if isinstance(answer, OrderResult):
        tracing.current().say(order_id=answer.view.order.id)
    return answer


def _refused(
    call: Call,
    merchant: MerchantSnapshot,
    command: CreateOrder,
    amount_fen: int,
    refusal: CoreError,
    *,
    now: datetime,
) -> Answer:
    """A refusal that needs no look at any row, kept under the request's key if it is final."""
    if not idempotency.is_final(refusal):
        raise refusal

    def work() -> Answer:
        request = _fingerprint(command, command.channel_code, amount_fen)
        claim = idempotency.begin(call, merchant.facts.id, CREATE, request, now=now)
        if isinstance(claim, Replay):
            return claim
        idempotency.refuse(claim, refusal)
        raise refusal

    return effects.run_with_nonce(call, work, stands=lambda: False)


def _fingerprint(command: CreateOrder, channel_code: str, amount_fen: int) -> bytes:
    return idempotency.fingerprint(
        {
            "channel": channel_code,
            "externalOrderId": command.external_order_id,
            "amount": amount_fen,
            "subject": command.subject,
            "description": command.description or None,
            "returnUrl": command.return_url,
            "callbackUrl": command.callback_url,
            "metadata": idempotency.canonical_json(command.metadata),
        }
    )


@dataclass
class _Creation:
    """One request to create an order."""

    call: Call
    merchant: MerchantSnapshot
    command: CreateOrder
    amount_fen: int
    public_base_url: str
    encode: Encode
    now: datetime
    provider: Provider

    def __post_init__(self) -> None:
        self.order_id = new_id("po")
        # Asked once: the link must die when the order does, also while the setting changes.
        self.expire_at = routing.expire_at(self.now)
        self.event = Event(self.call.actor, "create", self.call.request_id)
        self.claim: Claim | None = None
        self.unanswered: list[Answer] = []
        """What the one statement would have answered that broke, and may still commit."""

    def in_one_transaction(self) -> Answer:
        """Nonce, key, order, event and stored answer: all or, but for the nonce, nothing."""
        replay = self._replay_of_known_key()
        if replay is not None:
            return replay
        plan = routing.plan_or_refusal(self.merchant, self.provider, self.amount_fen)
        checkout = self._sign(plan) if isinstance(plan, Plan) else None
        failpoint("c1")

        def work() -> Answer:
            claim = self._begin()
            if isinstance(claim, Replay):
                return claim
            return effects.under_claim(claim, lambda: self._made_or_found(plan, checkout))

        answer = None
        if isinstance(plan, Plan) and self.call.unspent_nonce is not None:
            answer = self._at_once(self._values(plan, checkout), self.call.unspent_nonce)
        if answer is None:
            answer = self._run(work)
        failpoint("c5")
        return answer

    def _at_once(self, values: dict[str, Any], unspent: UnspentNonce) -> Answer | None:
        """The plain case, or a replay, in one statement; None: the longer way must be gone."""
        key, made = self.call.idempotency_key, self._new(values)
        assert made.response is not None
        new_key = None
        if key is not None:
            if not idempotency.is_key(key):
                return None
            scope = Scope(self.merchant.facts.id, CREATE, key)
            new_key = NewKey(scope, self._fingerprint(), made.response)
        self.call.ensure_alive()
        try:
            attempt = order_creation.attempt(values, self.event, access.nonce_of(unspent), new_key)
        except CommitUnknown:
            attempt = self._after_break()
            self.unanswered = [made]
        if not self._has_spent(attempt):
            return None
        if new_key is not None:
            idempotency.remember(new_key.scope)
        if attempt.outcome is Outcome.MADE:
            if new_key is not None:
                idempotency.created(self.call)
            return made
        if new_key is None or attempt.known is None:
            return None
        return idempotency.replay_of(self.call, attempt.known, new_key.fingerprint)

    def _replay_of_known_key(self) -> Replay | None:
        """The kept answer to a key that this process has seen, without signing anything; only the database decides."""
        key, unspent = self.call.idempotency_key, self.call.unspent_nonce
        if key is None or unspent is None:
            return None
        scope = Scope(self.merchant.facts.id, CREATE, key)
        if not idempotency.is_remembered(scope):
            return None
        self.call.ensure_alive()
        try:
            attempt = order_creation.look(access.nonce_of(unspent), scope)
        except CommitUnknown as unknown:
            # Nothing can have been done but that the nonce is spent, perhaps in a moment.
            raise CoreError("DATABASE_UNAVAILABLE", retry_after_seconds=1) from unknown
        if not self._has_spent(attempt):
            return None
        if attempt.known is None:
            return None
        return idempotency.replay_of(self.call, attempt.known, self._fingerprint())

    def _has_spent(self, attempt: Attempt) -> bool:
        """Whether the nonce is spent; if not, nothing has happened. Raises NONCE_REPLAYED and StaleSnapshot."""
        if attempt.outcome is Outcome.STALE:
            raise access.StaleSnapshot
        if attempt.outcome is Outcome.REPLAYED:
            raise CoreError("NONCE_REPLAYED")
        if attempt.outcome is Outcome.NOTHING:
            return False
        access.nonce_spent(self.call)
        return True

    def _after_break(self) -> Attempt:
        """What the statement had done when the connection broke. Raises PROVIDER_TIMEOUT when nobody can say.

        A nonce that is spent does not say by whom: this may be the second request with it, so without its order it goes
        no further.
        """
        if not reconnect():
            raise effects.nobody_knows(self.call)
        try:
            is_spent = access.is_nonce_spent(self.call)  # before the order: they come together
            stands = payment_orders.find_view(self.merchant.facts.id, self.order_id) is not None
        except CoreError as failure:
            raise effects.nobody_knows(self.call) from failure
        if stands:
            return Attempt(Outcome.MADE)
        if is_spent:
            raise CoreError("DATABASE_UNAVAILABLE", retry_after_seconds=1)
        return Attempt(Outcome.NOTHING)

    def _new(self, values: dict[str, Any]) -> OrderResult:
        """The answer about the order of these values, before it is made."""
        result = OrderResult(OrderView(payment_orders.new_row(values), None), created=True)
        return replace(result, response=self.encode(result))

    def _fingerprint(self) -> bytes:
        return _fingerprint(self.command, self.provider.channel_code, self.amount_fen)

    def around_the_call(self) -> Answer:
        """Intent; call; record. A retry, or whoever takes the key over, continues where this one stopped."""
        plan = routing.plan_or_refusal(self.merchant, self.provider, self.amount_fen)
        failpoint("c1")

        def intend() -> Answer:
            claim = self._begin()
            if isinstance(claim, Replay):
                return claim
            found = effects.under_claim(claim, lambda: self._made_or_found(plan, None))
            if self._is_unfinished(found.view.order):
                provider_places.take(self.provider.provider_code, self.merchant.facts.id)
            return found

        provider_calls.seconds_for_provider(self.call)
        answer = _traced(self._run(intend))  # before the call, which may fail
        failpoint("c2")
        if isinstance(answer, Replay) or not self._is_unfinished(answer.view.order):
            return answer
        intended = answer
        with effects.once_intended():
            answer = effects.to_the_end(self.call, self.claim, lambda: self._finish(intended))
        failpoint("c5")
        return answer

    def _finish(self, intended: OrderResult) -> OrderResult:
        order, checkout = intended.view.order, None
        if not intended.created:
            if self.claim is None or not self.claim.is_take_over:
                order = self._await_other_request(order)
            if self._is_unfinished(order):
                order = self._learn_truth(order)
        if self._is_unfinished(order):
            checkout = self._call_provider(order)
        return transact(lambda: self._stored(order, checkout, created=intended.created))

    def _is_unfinished(self, order: PaymentOrderRow) -> bool:
        """Whether the provider still has to make the order payable; past its time nobody could pay it any more."""
        return _needs_checkout(order) and self.now < order.expire_at

    def _run(self, work: Callable[[], Answer]) -> Answer:
        return effects.run_with_nonce(
            self.call,
            work,
            stands=lambda: (
                payment_orders.find_view(self.merchant.facts.id, self.order_id) is not None
            ),
            unanswered=self.unanswered,
        )

    def _begin(self) -> Claim | Replay | None:
        claim = idempotency.begin(
            self.call, self.merchant.facts.id, CREATE, self._fingerprint(), now=self.now
        )
        self.claim = claim if isinstance(claim, Claim) else None
        return claim

    def _made_or_found(self, plan: Plan | CoreError, checkout: Checkout | None) -> OrderResult:
        """Inserts the order or finds the merchant's own; stores the answer unless the provider must be called first."""
        if isinstance(plan, CoreError):
            if plan.family is Family.PERMISSION_DENIED:
                raise plan
            # A merchant whose limits changed since may still ask for the order that it has.
            return self._found(refusal=plan)
        order = payment_orders.insert(self._values(plan, checkout), self.event)
        if order is None:
            return self._found(refusal=None)
        result = OrderResult(OrderView(order, None), created=True)
        return result if checkout is None else self._kept(result)

    def _found(self, *, refusal: CoreError | None) -> OrderResult:
        view = payment_orders.find_by_external_id(
            self.merchant.facts.id, self.command.external_order_id
        )
        if view is None:
            assert refusal is not None
            raise refusal
        if view.order.channel_code != self.provider.channel_code:
            raise CoreError("ORDER_CHANNEL_CONFLICT")
        if view.order.amount_fen != self.amount_fen:
            raise CoreError("ORDER_AMOUNT_CONFLICT")
        result = OrderResult(view, created=False)
        return result if self._is_unfinished(view.order) else self._kept(result)

    def _kept(self, result: OrderResult) -> OrderResult:
        """The final answer, stored under the claim if there is one."""
        response = self.encode(result)
        idempotency.finish(self.claim, response, result.view.order.id)
        return replace(result, response=response)

    def _values(self, plan: Plan, checkout: Checkout | None) -> dict[str, Any]:
        return {
            "merchant_id": self.merchant.facts.id,
            "id": self.order_id,
            "external_order_id": self.command.external_order_id,
            "channel_code": self.provider.channel_code,
            "account_id": plan.account.id,
            "amount_fen": self.amount_fen,
            "currency": "CNY",
            "fee_rate": plan.fee_rate,
            "fee_fen": money.fee_fen(self.amount_fen, plan.fee_rate),
            "subject": self.command.subject,
            "description": self.command.description or None,
            "return_url": self.command.return_url,
            "callback_url": self.command.callback_url,
            "metadata": self.command.metadata,
            "payment_mode": self.provider.payment_mode,
            "checkout_url": checkout and checkout.checkout_url,
            "expire_at": self.expire_at,
            "created_at": self.now,
            "ask_at": self.now + timedelta(seconds=payment_order.ASK_AFTER_SECONDS[0]),
        }

    def _sign(self, plan: Plan) -> Checkout:
        request = PaymentRequest(
            order_id=self.order_id,
            amount_fen=self.amount_fen,
            subject=self.command.subject,
            description=self.command.description,
            expire_at=self.expire_at,
            return_url=self._return_url(self.order_id, self.command.return_url),
        )
        return self.provider.create_payment(
            plan.account.provider_account,
            request,
            now=self.now,
            timeout_seconds=provider_calls.LEAST_CALL_SECONDS,
        )

    def _return_url(self, order_id: str, wanted: str | None) -> str:
        """The merchant's address; one too long for a provider is reached by way of the result page."""
        if wanted is not None and len(wanted) <= LONGEST_PROVIDER_RETURN_URL:
            return wanted
        return f"{self.public_base_url}/pay/{order_id}/return"

    def _await_other_request(self, order: PaymentOrderRow) -> PaymentOrderRow:
        """Another request may be calling the provider for this very order: let it finish."""
        patience = OTHER_REQUEST_SECONDS - (self.now - order.created_at).total_seconds()
        end = time.monotonic() + patience
        while (
            _needs_checkout(order)
            and order.provider_status is None  # nothing is known to have gone wrong
            and time.monotonic() < end
            and self.call.seconds_left() > 2
        ):
            with turns.elsewhere():
                time.sleep(0.1)
            order = self._current(order).order
        return order

    def _learn_truth(self, order: PaymentOrderRow) -> PaymentOrderRow:
        """Before creating again: the first call may have succeeded, and even have been paid."""
        report = provider_calls.query(self.call, self.merchant, order, now=self.now)
        event = Event(self.call.actor, "query", self.call.request_id)
        return payment_results.apply_payment_report(
            self.merchant, order.id, report, event, now=self.now
        ).order

    def _call_provider(self, order: PaymentOrderRow) -> Checkout:
        """Raises PROVIDER_…; a definite no has made the order FAILED by then."""
        request = PaymentRequest(
            order_id=order.id,
            amount_fen=order.amount_fen,
            subject=order.subject,
            description=order.description,
            expire_at=order.expire_at,
            return_url=self._return_url(order.id, order.return_url),
        )
        account = provider_calls.account_of(self.merchant, order)
        seconds = provider_calls.seconds_for_provider(self.call)
        failpoint("c3")
        try:
            checkout = self.provider.create_payment(
                account, request, now=self.now, timeout_seconds=seconds
            )
        except ProviderRefused as refusal:
            self._fail(order, refusal)
            raise provider_calls.refused(refusal) from refusal
        except ProviderUnknown as unknown:
            payment_orders.note_provider_status(order, OUTCOME_UNKNOWN, now=self.now)
            raise CoreError(unknown.reason) from unknown
        failpoint("c4")
        return checkout

    def _fail(self, order: PaymentOrderRow, refusal: ProviderRefused) -> None:
        """A definite no: the order has failed, once. A notification may still have been faster."""

        def work() -> None:
            locked = payment_orders.lock(order.merchant_id, order.id)
            if locked is None or locked.status not in OPEN_STATUSES:
                return
            # This call may have come before the one that made the order.
            now = max(self.now, locked.updated_at)
            failed = payment_orders.transition(
                locked,
                Transition(
                    status=OrderStatus.FAILED,
                    provider_status=refusal.code,
                    failure_code=refusal.code,
                    failure_message=refusal.message,
                    ask_at=now + payment_results.ASK_ONCE_MORE_AFTER_CLOSING,
                    now=now,
                ),
            )
            payment_orders.add_event(
                failed, self.event, before=locked.status, after=failed.status, now=now
            )
            callbacks.enqueue_order_update(failed, self.merchant, now=now)

        transact(work)

    def _stored(
        self, order: PaymentOrderRow, checkout: Checkout | None, *, created: bool
    ) -> OrderResult:
        if checkout is not None:
            payment_orders.set_checkout(
                order,
                payment_mode=checkout.payment_mode,
                checkout_url=checkout.checkout_url,
                now=self.now,
            )
        return self._kept(OrderResult(self._current(order), created=created))

    def _current(self, order: PaymentOrderRow) -> OrderView:
        view = payment_orders.find_view(order.merchant_id, order.id)
        assert view is not None
        return view


def _needs_checkout(order: PaymentOrderRow) -> bool:
    return order.status in OPEN_STATUSES and order.checkout_url is None
