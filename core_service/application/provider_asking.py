"""Asks providers about open orders and refunds, so that nothing depends on a notification that may never come.

A claim is a lease; the result makes the next appointment. An order past its expiry is ended here:
asked, closed upstream, asked again, then CANCELLED; while the close is not confirmed it stays open.

Each account is asked for at a pace, and rests when its provider says that it was too often; the accounts that have to
wait are left out of the claim, so that nobody waits behind them. Merchants' own questions are not counted here.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import TypeVar

import structlog

from core_service import tracing
from core_service.application import merchant_cache, payment_results, provider_calls
from core_service.application import refunds as refund_cases
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.domain import payment_order
from core_service.domain import refund as refund_rules
from core_service.domain.asking_pace import AskingPace
from core_service.domain.payment_order import OPEN_STATUSES, OrderStatus
from core_service.errors import CoreError, Family
from core_service.failpoints import failpoint
from core_service.providers.base import (
    AskedTooOften,
    PaymentReport,
    PaymentState,
    Provider,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundState,
)
from core_service.storage import payment_orders, refunds
from core_service.storage.database import server_time, transact
from core_service.storage.payment_orders import Asked, Event, PaymentOrderRow
from core_service.storage.refunds import RefundRow

LEASE_SECONDS = 30.0
"""Longer than the provider calls of one order (two questions and a close), and short enough that what a dead
worker held is asked about again within a minute."""
AFTER_FAILURE_SECONDS = 30
_ENDED_UNPAID = (OrderStatus.CANCELLED, OrderStatus.FAILED)
"""Ended here, but perhaps not at the provider: a creation can be refused after one whose answer was lost."""
ASKS_PER_SECOND = 50.0
"""About one account's orders, by all worker processes of a machine. A third of the least that WeChat Pay allows (150),
so that a merchant's own calls have room; Alipay names no figure."""
REFUND_ASKS_PER_SECOND = 5.0
"""WeChat Pay allows six refunds a second that fail, and a question about one may end in sending it again."""
AT_ONCE = 3
"""So many orders of one account, however slow its provider is: a channel has a loop more, for the other accounts."""
T = TypeVar("T")
_log = structlog.get_logger("core_service.asking")
_order_pace, _refund_pace = AskingPace(), AskingPace()


def configure_pace(processes: int | None) -> None:
    """Begins anew as one of so many worker processes on this machine. None, as at first: no limit but rests."""
    global _order_pace, _refund_pace  # noqa: PLW0603 (one pace per process)
    if processes is None:
        _order_pace, _refund_pace = AskingPace(), AskingPace()
        return
    _order_pace = AskingPace(ASKS_PER_SECOND / processes, AT_ONCE)
    _refund_pace = AskingPace(REFUND_ASKS_PER_SECOND / processes)


def ask_due_orders(limit: int, channel: str | None = None) -> int:
    """Asks about orders whose time has come, on one channel or on all; how many there were."""
    resting = _order_pace.resting(monotonic())
    due, now = _claimed(
        lambda: payment_orders.claim_due(
            limit, lease_seconds=LEASE_SECONDS, channel=channel, resting=resting
        )
    )
    for order in due:
        with _order_pace.asking(order.account_id), tracing.working("ask about an order") as span:
            span.say(order_id=order.id)
            _guarded(partial(_ask_order, order, now), order.id)
    return len(due)


def ask_due_refunds(limit: int, channel: str | None = None) -> int:
    """Asks about refunds whose time has come, on one channel or on all; how many there were."""
    resting = _refund_pace.resting(monotonic())
    due, now = _claimed(
        lambda: refunds.claim_due(
            limit, lease_seconds=LEASE_SECONDS, channel=channel, resting=resting
        )
    )
    for refund in due:
        with tracing.working("ask about a refund") as span:
            span.say(order_id=refund.order_id, refund_id=refund.id)
            _guarded(partial(_ask_refund, refund, now), refund.id)
    return len(due)


def _claimed(claim: Callable[[], list[T]]) -> tuple[list[T], datetime]:
    """What is due, and the database's time: it judges appointments, so they are made by its clock and not by ours."""

    def work() -> tuple[list[T], datetime]:
        due = claim()
        return due, server_time() if due else datetime.now(UTC)

    return transact(work)


def _paced(pace: AskingPace, account_id: str, question: Callable[[], T]) -> T:
    """The provider's answer. Raises what `question` raises; after AskedTooOften the account rests."""
    pace.spend(account_id, monotonic())
    try:
        return question()
    except AskedTooOften as too_often:
        pace.rest(account_id, monotonic())
        _log.warning("account_rests", account_id=account_id, why=str(too_often))
        raise


def _end_of_rest(pace: AskingPace, account_id: str, now: datetime) -> datetime:
    return now + timedelta(seconds=pace.seconds_of_rest(account_id, monotonic()))


def _guarded(work: Callable[[], None], subject: str) -> None:
    """One order's trouble must not keep the others waiting; its lease runs out and it is asked again."""
    try:
        work()
    except CoreError as refusal:
        if refusal.family is Family.UNAVAILABLE:
            _log.warning("asking_postponed", subject=subject, reason=refusal.reason)
        else:
            _log.exception("asking_failed", subject=subject, reason=refusal.reason)
    except Exception:  # noqa: BLE001 (logged with its traceback; the next one is asked all the same)
        _log.exception("asking_failed", subject=subject)


def _ask_order(order: PaymentOrderRow, now: datetime) -> None:
    merchant = merchant_cache.by_id(order.merchant_id)
    event = Event("worker:asking", "query", _request_id())
    failpoint("e1")
    try:
        report = _query(merchant, order, now)
    except AskedTooOften as too_often:
        end = _end_of_rest(_order_pace, order.account_id, now)
        payment_orders.set_next_ask(order, end, Asked(now, None, str(too_often)), counts=False)
        return
    except (ProviderUnknown, ProviderRefused) as unknown:
        _log.info("order_unknown", order_id=order.id, why=str(unknown))
        _ask_again(order, now, Asked(now, None, str(unknown)))
        return
    failpoint("e2")
    applied = payment_results.apply_payment_report(merchant, order.id, report, event, now=now)
    if applied.order.status in OPEN_STATUSES and _is_over(order, now):
        _expire(merchant, applied.order, report, now)
        return
    if applied.order.status in _ENDED_UNPAID and report.state is PaymentState.UNPAID:
        _watch_closed(merchant, order, report, now)
        return
    payment_orders.set_next_ask(
        order, _next_ask(applied.order, now), Asked(now, provider_calls.answer_of(report))
    )


def _ask_again(order: PaymentOrderRow, now: datetime, asked: Asked) -> None:
    payment_orders.set_next_ask(order, now + timedelta(seconds=AFTER_FAILURE_SECONDS), asked)


def _is_over(order: PaymentOrderRow, now: datetime) -> bool:
    return now >= order.expire_at + timedelta(seconds=payment_order.EXPIRY_GRACE_SECONDS)


def _next_ask(order: PaymentOrderRow, now: datetime) -> datetime | None:
    """None for an order that has ended: it has been asked about once more."""
    if order.status not in OPEN_STATUSES:
        return None
    return payment_order.next_ask(created_at=order.created_at, expire_at=order.expire_at, now=now)


def _expire(
    merchant: MerchantSnapshot, order: PaymentOrderRow, report: PaymentReport, now: datetime
) -> None:
    """Closes upstream and asks again; the second answer decides."""
    event = Event("worker:asking", "expiry", _request_id())
    try:
        closed = _close(merchant, order, now)
        failpoint("e3")
        report = _query(merchant, order, now)
    except (ProviderUnknown, ProviderRefused) as unknown:
        _log.info("close_unconfirmed", order_id=order.id, why=str(unknown))
        _ask_again(order, now, Asked(now, provider_calls.answer_of(report), str(unknown)))
        return
    if report.state is PaymentState.UNPAID and closed in (PaymentState.CLOSED, PaymentState.UNPAID):
        # Closed there, or never begun there and past the time until which it could begin.
        report = PaymentReport(order.id, PaymentState.CLOSED, report.provider_status)
    applied = payment_results.apply_payment_report(merchant, order.id, report, event, now=now)
    failpoint("e4")
    if applied.order.status in OPEN_STATUSES:
        _ask_again(order, now, Asked(now, provider_calls.answer_of(report)))


def _watch_closed(
    merchant: MerchantSnapshot, order: PaymentOrderRow, report: PaymentReport, now: datetime
) -> None:
    """An order that was closed here before the payer opened the provider's cashier: the link works until it expires.

    Should a payment have been begun there since, it is closed there too, and watched until that is confirmed.
    """
    is_dead = report.provider_status == "NOT_EXIST" or _is_closed_upstream(merchant, order, now)
    next_ask = None
    if not is_dead:
        next_ask = now + timedelta(seconds=AFTER_FAILURE_SECONDS)
    elif not _is_over(order, now):
        next_ask = payment_order.next_ask(
            created_at=order.created_at, expire_at=order.expire_at, now=now
        )
    payment_orders.set_next_ask(order, next_ask, Asked(now, provider_calls.answer_of(report)))


def _is_closed_upstream(merchant: MerchantSnapshot, order: PaymentOrderRow, now: datetime) -> bool:
    try:
        state = _close(merchant, order, now)
    except (ProviderUnknown, ProviderRefused) as unknown:
        _log.info("close_unconfirmed", order_id=order.id, why=str(unknown))
        return False
    return state in (PaymentState.CLOSED, PaymentState.UNPAID)


def _query(merchant: MerchantSnapshot, order: PaymentOrderRow, now: datetime) -> PaymentReport:
    return _asked(
        merchant,
        order,
        lambda provider, account, seconds: provider.query_payment(
            account, order.id, amount_fen=order.amount_fen, now=now, timeout_seconds=seconds
        ),
    )


def _close(merchant: MerchantSnapshot, order: PaymentOrderRow, now: datetime) -> PaymentState:
    return _asked(
        merchant,
        order,
        lambda provider, account, seconds: provider.close_payment(
            account, order.id, now=now, timeout_seconds=seconds
        ),
    )


def _asked(
    merchant: MerchantSnapshot,
    order: PaymentOrderRow,
    question: Callable[[Provider, ProviderAccount, float], T],
) -> T:
    """What the order's provider answers for its account, at the pace of that."""
    provider = provider_calls.provider_for(order.channel_code)
    account = provider_calls.account_of(merchant, order)
    seconds = provider_calls.LONGEST_CALL_SECONDS
    return _paced(_order_pace, order.account_id, lambda: question(provider, account, seconds))


def _ask_refund(refund: RefundRow, now: datetime) -> None:
    merchant = merchant_cache.by_id(refund.merchant_id)
    view = payment_orders.find_view(refund.merchant_id, refund.order_id)
    assert view is not None
    order = view.order
    provider = provider_calls.provider_for(order.channel_code)
    account = provider_calls.account_of(merchant, order)
    request = refund_cases.request_of(refund, order)
    seconds = provider_calls.LONGEST_CALL_SECONDS
    event = Event("worker:asking", "query", _request_id())
    was_too_often = False
    try:
        report = _paced(
            _refund_pace,
            order.account_id,
            lambda: provider.query_refund(account, request, now=now, timeout_seconds=seconds),
        )
        if report.state is RefundState.NOT_FOUND:
            # It never arrived, or the provider cannot tell: the same number cannot be refunded twice. But two that send
            # it may hear different answers.
            if not refunds.may_send(refund, seconds=seconds):
                return
            report = _paced(
                _refund_pace,
                order.account_id,
                lambda: refund_cases.send_again(provider, merchant, refund, order, now=now),
            )
    except (ProviderUnknown, ProviderRefused) as unknown:
        _log.info("refund_unknown", refund_id=refund.id, why=str(unknown))
        report = refund_cases.unknown_report(refund)
        was_too_often = isinstance(unknown, AskedTooOften)
    applied = refund_cases.apply_refund_report(
        merchant, refund, report, event, now=now, is_sender=True
    )
    if applied.refund.status not in refund_rules.OPEN_STATUSES:
        return
    if now - refund.created_at > refund_rules.STUCK_AFTER:
        transact(
            lambda: payment_orders.add_anomaly(
                order,
                "REFUND_STUCK",
                refund.id,
                detail=report.provider_status,
                refund_id=refund.id,
                now=now,
            )
        )
    if was_too_often:
        end = _end_of_rest(_refund_pace, order.account_id, now)
        refunds.set_next_ask(refund, end, counts=False)
    else:
        refunds.set_next_ask(refund, refund_rules.next_ask(ask_count=refund.ask_count, now=now))


def _request_id() -> str:
    """Workers make their own, so that an event can be found in the logs."""
    return f"ask-{secrets.token_hex(8)}"
