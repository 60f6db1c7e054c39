"""Create and query a refund, and the one way in which a report about a refund changes it.

The amount is reserved and the refund with its final number committed before the provider is called. A
definite no gives the reservation back; anything else that is not a yes keeps it, and workers go on asking
with the same number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from core_service import tracing
from core_service.application import (
    access,
    callbacks,
    effects,
    idempotency,
    provider_calls,
    provider_places,
)
from core_service.application.idempotency import Claim, Replay
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.application.payment_orders import References, find
from core_service.calls import Call
from core_service.domain import ledger, money
from core_service.domain import refund as rules
from core_service.domain.ids import new_id
from core_service.domain.payment_order import OrderStatus
from core_service.domain.refund import OPEN_STATUSES, OrderMoney, RefundEvent, RefundStatus
from core_service.errors import CoreError, FieldViolation, invalid_request, outcome_open
from core_service.failpoints import failpoint
from core_service.providers.base import (
    Provider,
    ProviderRefused,
    ProviderUnknown,
    RefundReport,
    RefundRequest,
    RefundState,
)
from core_service.storage import audit, finance, payment_orders, refunds
from core_service.storage.database import transact
from core_service.storage.payment_orders import Event, PaymentOrderRow
from core_service.storage.refunds import RefundRow, RefundTransition

CREATE = "refund.create"

_EVENTS = {
    RefundState.SUCCEEDED: RefundEvent.SUCCEEDED,
    RefundState.FAILED: RefundEvent.FAILED,
    RefundState.PROCESSING: RefundEvent.UNKNOWN,
    RefundState.NOT_FOUND: RefundEvent.UNKNOWN,
    RefundState.ABNORMAL: RefundEvent.UNKNOWN,
}


@dataclass(frozen=True)
class CreateRefund:
    """What a merchant asks for; texts are checked for form already, the amount is not."""

    names: References
    external_refund_id: str
    amount: str
    reason: str | None
    metadata: str | None


@dataclass(frozen=True)
class RefundResult:
    """A refund with its order, and whether this request made it."""

    refund: RefundRow
    order: PaymentOrderRow
    created: bool


Encode = Callable[[RefundResult], bytes]
Answer = RefundResult | Replay


def create(
    call: Call, merchant: MerchantSnapshot, command: CreateRefund, *, encode: Encode, now: datetime
) -> Answer:
    """Refunds a paid order, or finds the refund with this external id.

    Raises INVALID_AMOUNT, ORDER_NOT_FOUND, ORDER_NOT_REFUNDABLE, REFUND_…, CHANNEL_REFUND_UNSUPPORTED, IDEMPOTENCY_…,
    PROVIDER_….
    """
    amount_fen = money.parse_amount(command.amount)
    if call.operator is not None and not (command.reason or "").strip():
        raise invalid_request(FieldViolation("reason", "is required of an operator"))
    refund_id = new_id("rf")
    claims: list[Claim] = []

    def reserve() -> Answer:
        claim = _begin(call, merchant, command, amount_fen, now)
        if isinstance(claim, Replay):
            return claim
        claims[:] = [claim] if claim else []  # the transaction may run again
        found = effects.under_claim(
            claim, lambda: _reserved_or_found(call, merchant, command, amount_fen, refund_id, now)
        )
        if found.created:
            provider = provider_calls.provider_for(found.order.channel_code)
            provider_places.take(provider.provider_code, merchant.facts.id)
        return found

    provider_calls.seconds_for_provider(call)
    answer = effects.run_with_nonce(
        call,
        reserve,
        stands=lambda: refunds.find_for_merchant(merchant.facts.id, refund_id) is not None,
    )
    failpoint("r1")
    if isinstance(answer, Replay):
        return answer
    claim = claims[0] if claims else None
    reserved = answer

    def work() -> RefundResult:
        if not reserved.created:
            return transact(lambda: _stored(claim, reserved, encode))
        event = Event(call.actor, "refund", call.request_id)
        report = _send(call, merchant, reserved.refund, reserved.order, event, now)

        def record() -> RefundResult:
            applied = apply_in_transaction(
                merchant, reserved.refund, report, event, now=now, is_sender=True
            )
            result = RefundResult(applied.refund, applied.order, created=True)
            return _stored(claim, result, encode)

        return transact(record)

    with effects.once_intended():
        answer = effects.to_the_end(call, claim, work)
    failpoint("r4")
    return answer


def _stored(claim: Claim | None, result: RefundResult, encode: Encode) -> RefundResult:
    idempotency.finish(claim, encode(result), result.refund.id)
    return result


def query(
    call: Call, merchant: MerchantSnapshot, names: References, *, sync: bool, now: datetime
) -> RefundResult:
    """A refund; with `sync` the provider is asked first while it is open. Raises REFUND_NOT_FOUND, PROVIDER_…."""
    access.spend_nonce(call)
    access.nonce_spent(call)
    refund = refunds.find_for_merchant(merchant.facts.id, names.first)
    if refund is None:
        raise CoreError("REFUND_NOT_FOUND")
    _fit(refund, names)
    order = _order_of(refund)
    unchanged = RefundResult(refund, order, created=False)
    if not sync or refund.status not in OPEN_STATUSES:
        return unchanged
    provider = provider_calls.provider_for(order.channel_code)
    account = provider_calls.account_of(merchant, order)
    provider_places.take_or_wait(provider.provider_code, merchant.facts.id)
    report = provider_calls.ask(
        call,
        lambda seconds: provider.query_refund(
            account, request_of(refund, order), now=now, timeout_seconds=seconds
        ),
    )
    if report.state is RefundState.NOT_FOUND:
        return unchanged  # it may be on its way
    event = Event(call.actor, "query", call.request_id)

    def work() -> RefundResult:
        applied = apply_in_transaction(merchant, refund, report, event, now=now)
        if call.is_by_person and applied.refund.status != refund.status:
            audit.record(
                call,
                action="refund.query",
                target=refund.id,
                before={"status": refund.status},
                after={"status": applied.refund.status},
            )
        return applied

    return transact(work)


def _fit(refund: RefundRow, names: References) -> None:
    strangers = [
        FieldViolation(field, "must name the same refund")
        for field, name in names.others.items()
        if name not in (refund.id, refund.external_refund_id)
    ]
    if strangers:
        raise invalid_request(*strangers)


def _begin(
    call: Call, merchant: MerchantSnapshot, command: CreateRefund, amount_fen: int, now: datetime
) -> Claim | Replay | None:
    if idempotency.key_of(call) is None:
        return None
    found = payment_orders.find_for_merchant(merchant.facts.id, command.names.first)

    def request(order: str) -> bytes:
        return idempotency.fingerprint(
            {
                "order": order,
                "externalRefundId": command.external_refund_id,
                "amount": amount_fen,
                "reason": command.reason or None,
                "metadata": idempotency.canonical_json(command.metadata),
            }
        )

    return idempotency.begin(
        call,
        merchant.facts.id,
        CREATE,
        request(found.order.id if found else command.names.first),
        now=now,
        earlier_fingerprint=request(command.names.first),
    )


def _reserved_or_found(
    call: Call,
    merchant: MerchantSnapshot,
    command: CreateRefund,
    amount_fen: int,
    refund_id: str,
    now: datetime,
) -> RefundResult:
    """Under the order's lock: the merchant's own refund of that number, or a new one with its amount reserved."""
    view = find(merchant, command.names)
    order = payment_orders.lock(merchant.facts.id, view.order.id)
    assert order is not None
    known = refunds.find_by_external_id(merchant.facts.id, command.external_refund_id)
    if known is not None:
        _ensure_same(known, order, amount_fen, command.reason or None)
        return RefundResult(known, order, created=False)
    if order.status != OrderStatus.SUCCEEDED:
        raise CoreError("ORDER_NOT_REFUNDABLE")
    if not provider_calls.provider_for(order.channel_code).can_refund:
        raise CoreError("CHANNEL_REFUND_UNSUPPORTED")
    if order.refund_reserved_fen + amount_fen > order.paid_amount_fen:
        raise CoreError("REFUND_AMOUNT_EXCEEDED")
    fees = refunds.fees_of_order(order.merchant_id, order.id)
    before = OrderMoney(
        order.amount_fen, order.fee_rate, order.fee_fen, order.refund_reserved_fen, fees
    )
    refund = refunds.insert(
        {
            "merchant_id": order.merchant_id,
            "id": refund_id,
            "order_id": order.id,
            "external_refund_id": command.external_refund_id,
            "amount_fen": amount_fen,
            "fee_fen": rules.fee_share(before, amount_fen),
            "reason": command.reason or None,
            "metadata": command.metadata,
            "now": now,
            "ask_after": rules.FIRST_CALL_SECONDS,
        }
    )
    if refund is None:
        # A request about another order, which holds another lock, was faster with this external id.
        raise CoreError("REFUND_REFERENCE_CONFLICT")
    reserved = payment_orders.reserve(order, amount_fen, now=now)
    assert reserved is not None  # the row is locked and was looked at
    event = Event(call.actor, "refund", call.request_id)
    payment_orders.add_event(
        reserved, event, before=None, after=refund.status, now=now, refund_id=refund.id
    )
    if call.is_by_person:
        audit.record(
            call,
            action="refund.create",
            target=refund.id,
            before=None,
            after={
                "order": order.id,
                "amount": money.format_fen(amount_fen),
                "reason": command.reason,
            },
        )
    return RefundResult(refund, reserved, created=True)


def _ensure_same(
    known: RefundRow, order: PaymentOrderRow, amount_fen: int, reason: str | None
) -> None:
    if known.order_id != order.id:
        raise CoreError("REFUND_REFERENCE_CONFLICT")
    if known.amount_fen != amount_fen:
        raise CoreError("REFUND_AMOUNT_CONFLICT")
    if known.reason != reason:
        raise CoreError("REFUND_REASON_CONFLICT")


def _send(
    call: Call,
    merchant: MerchantSnapshot,
    refund: RefundRow,
    order: PaymentOrderRow,
    event: Event,
    now: datetime,
) -> RefundReport:
    """Calls the provider for a new refund. Raises PROVIDER_…; the refund has its state by then."""
    provider = provider_calls.provider_for(order.channel_code)
    account = provider_calls.account_of(merchant, order)
    seconds = provider_calls.seconds_for_provider(call)
    failpoint("r2")
    try:
        report = provider.create_refund(
            account, request_of(refund, order), now=now, timeout_seconds=seconds
        )
    except ProviderRefused as refusal:
        refused = refused_report(refund, refusal)
        applied = apply_refund_report(merchant, refund, refused, event, now=now, is_sender=True)
        if applied.refund.status in OPEN_STATUSES:
            raise outcome_open() from refusal
        raise provider_calls.refused(refusal) from refusal
    except ProviderUnknown as unknown:
        apply_refund_report(merchant, refund, unknown_report(refund), event, now=now)
        raise CoreError(unknown.reason) from unknown
    failpoint("r3")
    return report


def send_again(
    provider: Provider,
    merchant: MerchantSnapshot,
    refund: RefundRow,
    order: PaymentOrderRow,
    *,
    now: datetime,
) -> RefundReport:
    """Repeats a refund with its own number; the provider knows it as the same one. Raises ProviderUnknown."""
    account = provider_calls.account_of(merchant, order)
    try:
        return provider.create_refund(
            account,
            request_of(refund, order),
            now=now,
            timeout_seconds=provider_calls.LONGEST_CALL_SECONDS,
        )
    except ProviderRefused as refusal:
        return refused_report(refund, refusal)


def apply_refund_report(
    merchant: MerchantSnapshot,
    refund: RefundRow,
    report: RefundReport,
    event: Event,
    *,
    now: datetime,
    is_sender: bool = False,
) -> RefundResult:
    """In a transaction of its own: order and refund locked, status, event, money, journal, delivery."""
    return transact(
        lambda: apply_in_transaction(merchant, refund, report, event, now=now, is_sender=is_sender)
    )


def apply_in_transaction(
    merchant: MerchantSnapshot,
    refund: RefundRow,
    report: RefundReport,
    event: Event,
    *,
    now: datetime,
    is_sender: bool = False,
) -> RefundResult:
    """The same inside a transaction that is open already. Repeatable: a second time it finds nothing new.

    `is_sender`: the report is what sending the refund came to. That it failed is only believed while nobody has claimed
    it since `refund` was read: they may have sent it too, and that one may be paid out.
    """
    order = payment_orders.lock(refund.merchant_id, refund.order_id)
    locked = refunds.lock(refund.merchant_id, refund.id)
    assert order is not None
    assert locked is not None
    tracing.current().say(order_id=order.id, refund_id=refund.id)
    now = max(
        now, locked.updated_at
    )  # `now` is from before the question; history must not run backwards
    if is_sender and report.state is RefundState.FAILED and locked.ask_token != refund.ask_token:
        report = unknown_report(refund)
    status = rules.TRANSITIONS[RefundStatus(locked.status), _EVENTS[report.state]]
    if report.state is RefundState.ABNORMAL and status in OPEN_STATUSES:
        payment_orders.add_anomaly(
            order,
            "REFUND_STUCK",
            locked.id,
            detail=report.provider_status,
            refund_id=locked.id,
            now=now,
        )
    if report.state is RefundState.SUCCEEDED and status == RefundStatus.FAILED:
        payment_orders.add_anomaly(
            order,
            "REFUND_STUCK",
            f"{locked.id}:paid out",
            detail="the provider paid out a refund that it had refused",
            refund_id=locked.id,
            now=now,
        )
    is_open = status in OPEN_STATUSES
    if status == locked.status and not (
        is_open and report.provider_status != locked.provider_status
    ):
        return RefundResult(locked, order, created=False)
    changed = refunds.transition(
        locked,
        RefundTransition(
            status=status,
            provider_status=report.provider_status,
            provider_refund_id=report.provider_refund_id,
            refunded_at=(report.refunded_at or now) if status is RefundStatus.SUCCEEDED else None,
            failure_code=report.failure_code,
            failure_message=report.failure_message,
            ask_after=rules.FIRST_ASK_SECONDS if is_open else None,
            now=now,
        ),
    )
    assert changed is not None  # the row is locked
    if status == locked.status:
        return RefundResult(changed, order, created=False)
    payment_orders.add_event(
        order, event, before=locked.status, after=status, now=now, refund_id=locked.id
    )
    settled = _settle(order, changed, now)
    callbacks.enqueue_refund_update(changed, settled, merchant, now=now)
    return RefundResult(changed, settled, created=False)


def _settle(order: PaymentOrderRow, refund: RefundRow, now: datetime) -> PaymentOrderRow:
    """Moves the order's sums with a refund that has ended."""
    if refund.status == RefundStatus.SUCCEEDED:
        finance.post(
            order.merchant_id,
            kind="REFUND",
            source=f"refund:{refund.id}",
            order_id=order.id,
            refund_id=refund.id,
            lines=ledger.refund_lines(refund.amount_fen, refund.fee_fen),
            now=now,
        )
        return payment_orders.add_refunded(order, refund.amount_fen, now=now) or order
    if refund.status == RefundStatus.FAILED:
        return payment_orders.release(order, refund.amount_fen, now=now) or order
    return order


def request_of(refund: RefundRow, order: PaymentOrderRow) -> RefundRequest:
    """What the provider is told, the same for ever."""
    return RefundRequest(
        refund_id=refund.id,
        order_id=order.id,
        gateway_order_id=order.gateway_order_id,
        amount_fen=refund.amount_fen,
        order_amount_fen=order.amount_fen,
        reason=refund.reason,
    )


def refused_report(refund: RefundRow, refusal: ProviderRefused) -> RefundReport:
    """A definite no as a report."""
    return RefundReport(
        refund_id=refund.id,
        order_id=refund.order_id,
        state=RefundState.FAILED,
        provider_status=refusal.code,
        failure_code=refusal.code,
        failure_message=refusal.message,
    )


def unknown_report(refund: RefundRow) -> RefundReport:
    """No answer as a report: the refund is PROCESSING and its amount stays reserved."""
    return RefundReport(
        refund_id=refund.id,
        order_id=refund.order_id,
        state=RefundState.PROCESSING,
        provider_status="UNKNOWN",
    )


def _order_of(refund: RefundRow) -> PaymentOrderRow:
    view = payment_orders.find_view(refund.merchant_id, refund.order_id)
    assert view is not None
    return view.order
