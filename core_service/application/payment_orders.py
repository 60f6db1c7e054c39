"""Query and close an order; what a request for one is answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core_service import tracing
from core_service.application import (
    access,
    effects,
    idempotency,
    payment_results,
    provider_calls,
    provider_places,
)
from core_service.application.idempotency import Claim, Replay
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.application.payment_results import Applied
from core_service.calls import Call
from core_service.domain.payment_order import OPEN_STATUSES, OrderStatus
from core_service.errors import CoreError, Family, FieldViolation, invalid_request
from core_service.failpoints import failpoint
from core_service.providers.base import (
    PaymentReport,
    PaymentState,
)
from core_service.storage import audit, payment_orders
from core_service.storage.database import transact
from core_service.storage.payment_orders import (
    Asked,
    Event,
    OrderView,
    PaymentOrderRow,
)

CLOSE = "payment_order.close"


@dataclass(frozen=True)
class OrderResult:
    """An order and whether this request made it."""

    view: OrderView
    created: bool
    response: bytes | None = field(default=None, compare=False, repr=False)
    """The answer's bytes if they were made already: what is kept for a replay is what is sent."""


Encode = Callable[[OrderResult], bytes]
Answer = OrderResult | Replay


def query(
    call: Call, merchant: MerchantSnapshot, names: "References", *, sync: bool, now: datetime
) -> OrderView:
    """An order; with `sync` the provider is asked first unless the order is paid.

    Raises ORDER_NOT_FOUND, PROVIDER_….
    """
    view = _found_spending(call, merchant, names)
    if not sync or view.order.status == OrderStatus.SUCCEEDED:
        return view
    failpoint("q1")
    try:
        report = provider_calls.query(call, merchant, view.order, now=now)
    except CoreError as failure:
        if failure.family is Family.PROVIDER_FAILURE:
            payment_orders.note_ask(view.order, Asked(now, None, _why(failure)))
        if view.order.status in OPEN_STATUSES:
            raise
        return view  # it has ended; the question was only whether money came late
    failpoint("q2")
    event = Event(call.actor, "query", call.request_id)
    applied = _apply_of(call, merchant, view.order, report, event, now=now)
    if not applied.is_news:
        payment_orders.note_ask(view.order, Asked(now, provider_calls.answer_of(report)))
    current = payment_orders.find_view(merchant.facts.id, view.order.id)
    assert current is not None
    return current


def _found_spending(call: Call, merchant: MerchantSnapshot, names: "References") -> OrderView:
    """The order, and the call's nonce spent whether or not it is there."""
    if call.unspent_nonce is None:
        return find(merchant, names)
    nonce = access.nonce_of(call.unspent_nonce)
    outcome, view = payment_orders.find_spending(nonce, names.first)
    access.accept(outcome)
    access.nonce_spent(call)
    return named(view, names)


def _apply_of(
    call: Call,
    merchant: MerchantSnapshot,
    order: PaymentOrderRow,
    report: PaymentReport,
    event: Event,
    *,
    now: datetime,
) -> Applied:
    """Applies a report; a change that came from a person's call leaves its audit record with it."""

    def work() -> Applied:
        applied = payment_results.apply_in_transaction(merchant, order.id, report, event, now=now)
        if call.is_by_person and applied.is_news:
            audit.record(
                call,
                action=f"payment_order.{event.cause}",
                target=order.id,
                before={"status": order.status},
                after={"status": applied.order.status},
            )
        return applied

    return transact(work)


def _why(failure: CoreError) -> str:
    """A provider's failure in a line: its own code and message where it gave them."""
    details = failure.details
    return ": ".join(map(str, details.values())) if details else failure.reason


def close(
    call: Call, merchant: MerchantSnapshot, names: "References", *, encode: Encode, now: datetime
) -> Answer:
    """Closes an unpaid order upstream and here; one that has ended unpaid is answered as it is.

    Raises ORDER_NOT_FOUND, ORDER_ALREADY_PAID, CHANNEL_CLOSE_UNSUPPORTED, IDEMPOTENCY_…, PROVIDER_….
    """
    claims: list[Claim] = []

    def begin() -> Answer | OrderView:
        found = payment_orders.find_for_merchant(merchant.facts.id, names.first)
        claim = idempotency.begin(
            call,
            merchant.facts.id,
            CLOSE,
            idempotency.fingerprint({"order": found.order.id if found else names.first}),
            now=now,
            earlier_fingerprint=idempotency.fingerprint({"order": names.first}),
        )
        if isinstance(claim, Replay):
            return claim
        claims[:] = [claim] if claim else []  # the transaction may run again
        closable = effects.under_claim(claim, lambda: _closable(merchant, names, claim, encode))
        if isinstance(closable, OrderView):
            provider = provider_calls.provider_for(closable.order.channel_code)
            provider_places.take(provider.provider_code, merchant.facts.id)
        return closable

    provider_calls.seconds_for_provider(call)
    started = effects.run_with_nonce(call, begin, stands=lambda: False)
    failpoint("x1")
    if not isinstance(started, OrderView):
        return started
    claim = claims[0] if claims else None

    def work() -> Answer:
        order = _close_upstream(call, merchant, started.order, now=now)
        failpoint("x4")

        def record() -> OrderResult:
            view = payment_orders.find_view(order.merchant_id, order.id)
            assert view is not None
            result = OrderResult(view, created=False)
            idempotency.finish(claim, encode(result), order.id)
            return result

        return transact(record)

    with effects.once_intended():
        return effects.to_the_end(call, claim, work)


def _closable(
    merchant: MerchantSnapshot, names: "References", claim: Claim | None, encode: Encode
) -> OrderView | OrderResult:
    """The order if the provider must be told, else the answer."""
    view = find(merchant, names)
    if view.order.status == OrderStatus.SUCCEEDED:
        raise CoreError("ORDER_ALREADY_PAID")
    if view.order.status not in OPEN_STATUSES:
        result = OrderResult(view, created=False)
        idempotency.finish(claim, encode(result), view.order.id)
        return result
    if not provider_calls.provider_for(view.order.channel_code).can_close:
        raise CoreError("CHANNEL_CLOSE_UNSUPPORTED")
    return view


def _close_upstream(
    call: Call, merchant: MerchantSnapshot, order: PaymentOrderRow, *, now: datetime
) -> PaymentOrderRow:
    """Closes at the provider and applies what that proves. Raises ORDER_ALREADY_PAID and PROVIDER_….

    Paid by then, not since: money that comes after closing makes the answer no refusal, for it was closed (V18).
    """
    provider = provider_calls.provider_for(order.channel_code)
    account = provider_calls.account_of(merchant, order)
    failpoint("x2")
    state = provider_calls.ask(
        call,
        lambda seconds: provider.close_payment(account, order.id, now=now, timeout_seconds=seconds),
    )
    failpoint("x3")
    event = Event(call.actor, "close", call.request_id)
    if state in (PaymentState.PAID, PaymentState.FAILED):
        # It may just have been paid: only a query says so.
        report = provider_calls.query(call, merchant, order, now=now)
    else:
        # Closed there, or never begun there: see docs/decisions/0010.
        report = PaymentReport(
            order.id, PaymentState.CLOSED, "CLOSED" if state is PaymentState.CLOSED else "NOT_EXIST"
        )
    applied = _apply_of(call, merchant, order, report, event, now=now)
    if applied.order.status == OrderStatus.SUCCEEDED:
        raise CoreError("ORDER_ALREADY_PAID")
    if applied.order.status in OPEN_STATUSES:
        raise CoreError("PROVIDER_UNAVAILABLE")
    return applied.order


@dataclass(frozen=True)
class References:
    """The names that a request gives for one order; the first finds it, every other must fit it."""

    first: str
    others: Mapping[str, str]
    """JSON field → name."""

    @classmethod
    def of(cls, **names: str) -> "References":
        """By JSON field, in their order; raises INVALID_REQUEST when all are empty."""
        given = {field: name for field, name in names.items() if name}
        if not given:
            raise invalid_request(FieldViolation(next(iter(names)), "is required"))
        field, first = next(iter(given.items()))
        return cls(first, {other: name for other, name in given.items() if other != field})


def find(merchant: MerchantSnapshot, names: References) -> OrderView:
    """Raises ORDER_NOT_FOUND, and INVALID_REQUEST when the names are those of different orders."""
    return named(payment_orders.find_for_merchant(merchant.facts.id, names.first), names)


def named(view: OrderView | None, names: References) -> OrderView:
    """The same for what was found by the first name."""
    if view is None:
        raise CoreError("ORDER_NOT_FOUND")
    strangers = [
        FieldViolation(field, "must name the same order")
        for field, name in names.others.items()
        if name not in (view.order.id, view.order.external_order_id)
    ]
    if strangers:
        raise invalid_request(*strangers)
    tracing.current().say(order_id=view.order.id)
    return view
