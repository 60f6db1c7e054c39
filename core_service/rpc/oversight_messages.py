"""What operators look at, as messages."""

import json
from collections.abc import Mapping

from core_service.application.order_story import Entry, OrderStory
from core_service.application.overview import Compared, Overview, Totals
from core_service.domain.money import format_fen
from core_service.rpc.payment_messages import (
    callback_status,
    order_message,
    order_status,
    refund_message,
)
from core_service.rpc.timestamps import optional_timestamp, timestamp
from core_service.storage.anomalies import AnomalyRow
from core_service.storage.books_reports import BooksReportRow
from core_service.storage.delivery_lists import AttemptRow, DeliveryView
from core_service.storage.order_lists import OrderSummary
from novapay.payments.v1 import payment_service_pb2 as pb

_OPERATOR = "operator:"
_INTERNAL = frozenset({"resolvedBy", "note"})
_UNTOLD = ("PENDING", "PROCESSING")


def summary_message(order: OrderSummary) -> pb.PaymentOrderSummary:
    """An order in a list."""
    told = order.delivery_status
    return pb.PaymentOrderSummary(
        id=order.id,
        merchant_code=order.merchant_code,
        external_order_id=order.external_order_id,
        channel_code=order.channel_code,
        amount=format_fen(order.amount_fen),
        refunded_amount=format_fen(order.refunded_fen),
        currency=order.currency,
        subject=order.subject,
        status=order_status(order.status),
        provider_status=order.provider_status,
        gateway_order_id=order.gateway_order_id,
        callback_status=None if told is None else callback_status(told),
        late=order.late,
        created_at=timestamp(order.created_at),
        expire_at=timestamp(order.expire_at),
        paid_at=optional_timestamp(order.paid_at),
    )


def delivery_message(delivery: DeliveryView) -> pb.Delivery:
    """A delivery without what it tells."""
    return pb.Delivery(
        id=delivery.id,
        merchant_code=delivery.merchant_code,
        order_id=delivery.order_id,
        refund_id=delivery.refund_id,
        event=delivery.event,
        resulting_status=delivery.resulting_status,
        status=callback_status(delivery.status),
        attempt_count=delivery.attempt_count,
        due_at=timestamp(delivery.due_at) if delivery.status in _UNTOLD else None,
        created_at=timestamp(delivery.created_at),
        delivered_at=optional_timestamp(delivery.delivered_at),
    )


def attempt_message(attempt: AttemptRow) -> pb.DeliveryAttempt:
    """One try."""
    headers = json.loads(attempt.request_headers) if attempt.request_headers else {}
    body = attempt.response_body
    return pb.DeliveryAttempt(
        number=attempt.number,
        url=attempt.url,
        request_headers=[pb.Fact(name=name, value=value) for name, value in headers.items()],
        started_at=timestamp(attempt.started_at),
        finished_at=optional_timestamp(attempt.finished_at),
        outcome=attempt.outcome,
        http_status=attempt.http_status,
        response_body=None if body is None else body.decode(errors="replace"),
        error=attempt.error,
        duration_ms=attempt.duration_ms,
    )


def anomaly_message(anomaly: AnomalyRow) -> pb.Anomaly:
    """An anomaly."""
    return pb.Anomaly(
        id=anomaly.id,
        merchant_code=anomaly.merchant_code,
        kind=anomaly.kind,
        order_id=anomaly.order_id,
        refund_id=anomaly.refund_id,
        detail=anomaly.detail,
        created_at=timestamp(anomaly.created_at),
        resolved_at=optional_timestamp(anomaly.resolved_at),
        resolved_by=anomaly.resolved_by,
        note=anomaly.note,
    )


def story_message(story: OrderStory, public_base_url: str) -> pb.GetPaymentOrderResponse:
    """One order with everything about it."""
    order = story.view.order
    return pb.GetPaymentOrderResponse(
        order=order_message(story.view, story.merchant, public_base_url),
        merchant_name=story.merchant.facts.name,
        account_name=story.account.display_name,
        account_enabled=story.account.enabled,
        late=order.late,
        failure_code=order.failure_code,
        failure_message=order.failure_message,
        asked_at=optional_timestamp(order.asked_at),
        ask_answer=order.ask_answer,
        ask_failure=order.ask_failure,
        ask_at=optional_timestamp(order.ask_at),
        refunds=[refund_message(refund, order, story.merchant) for refund in story.refunds],
        deliveries=[delivery_message(delivery) for delivery in story.deliveries],
        anomalies=[anomaly_message(anomaly) for anomaly in story.anomalies],
        timeline=[_entry(entry) for entry in story.timeline],
        diagnosis=[
            pb.Finding(code=finding.code, facts=_facts(finding.facts)) for finding in story.findings
        ],
    )


def _entry(entry: Entry) -> pb.TimelineEntry:
    return pb.TimelineEntry(
        at=timestamp(entry.at),
        kind=entry.kind,
        code=entry.code,
        actor=entry.actor,
        subject_id=entry.subject_id,
        facts=_facts(entry.facts),
        request_id=entry.request_id,
    )


def _facts(facts: Mapping[str, str]) -> list[pb.Fact]:
    return [pb.Fact(name=name, value=value) for name, value in facts.items()]


def overview_message(seen: Overview) -> pb.GetOverviewResponse:
    """The first page."""
    return pb.GetOverviewResponse(
        money=_money(seen),
        stuck=pb.Stuck(
            orders=seen.stuck_orders,
            refunds=seen.stuck_refunds,
            anomalies=[
                pb.AnomalyCount(kind=kind, count=count)
                for kind, count in seen.open_anomalies.items()
            ],
        ),
        callbacks=_callbacks(seen),
        books=None if seen.books is None else _books(seen.books, seen.orders_in_progress),
    )


def _money(seen: Overview) -> pb.MoneyFlow:
    return pb.MoneyFlow(
        counted_at=optional_timestamp(seen.counted_at),
        last_day=_totals(seen.last_day.now),
        week_before=_totals(seen.last_day.week_before),
        hours=[
            pb.FlowHour(hour=timestamp(hour), **_compared(compared))
            for hour, compared in seen.hours
        ],
        channels=[
            pb.FlowChannel(channel_code=channel, **_compared(compared))
            for channel, compared in seen.channels
        ],
    )


def _compared(compared: Compared) -> dict[str, pb.FlowTotals]:
    return {"totals": _totals(compared.now), "week_before": _totals(compared.week_before)}


def _totals(totals: Totals) -> pb.FlowTotals:
    return pb.FlowTotals(
        created=totals.created,
        paid=totals.paid,
        ended_unpaid=totals.ended_unpaid,
        paid_amount=format_fen(totals.paid_fen),
        refunds=totals.refunds,
        refund_amount=format_fen(totals.refund_fen),
    )


def _callbacks(seen: Overview) -> pb.Callbacks:
    return pb.Callbacks(
        undelivered=seen.queue.size,
        oldest_undelivered_at=optional_timestamp(seen.queue.oldest_at),
        oldest_undelivered_id=seen.queue.oldest_id,
        failing=[
            pb.FailingEndpoint(
                merchant_code=one.merchant_code,
                undelivered=one.undelivered,
                oldest_at=timestamp(one.oldest_at),
                last_error=one.last_error,
            )
            for one in seen.failing
        ],
        lost=[
            pb.LostCallbacks(
                merchant_code=one.merchant_code,
                account_id=one.account_id,
                account_name=one.account_name,
                channel_code=one.channel_code,
                by_notification=one.by_notification,
                by_asking=one.by_asking,
            )
            for one in seen.first_seen
        ],
    )


def _books(report: BooksReportRow, orders_in_progress: int) -> pb.BooksReport:
    return pb.BooksReport(
        started_at=timestamp(report.started_at),
        finished_at=timestamp(report.finished_at),
        balanced=not any(report.violations.values()),
        checks=[
            pb.BooksCheck(name=name, holds=count == 0, violations=count)
            for name, count in report.violations.items()
        ],
        orders=report.orders,
        orders_in_progress=orders_in_progress,
    )


def hide_operators(story: pb.GetPaymentOrderResponse) -> None:
    """For a merchant's staff: that an operator did something, not which one, and no internal notes."""
    for entry in story.timeline:
        if entry.actor.startswith(_OPERATOR):
            entry.actor = _OPERATOR.removesuffix(":")
        shown = [fact for fact in entry.facts if fact.name not in _INTERNAL]
        del entry.facts[:]
        entry.facts.extend(shown)
    for finding in story.diagnosis:
        for fact in finding.facts:
            if fact.value.startswith(_OPERATOR):
                fact.value = _OPERATOR.removesuffix(":")
    for anomaly in story.anomalies:
        hide_resolution(anomaly)


def hide_resolution(anomaly: pb.Anomaly) -> None:
    """Who put it away, and with which note, is between operators."""
    anomaly.ClearField("resolved_by")
    anomaly.ClearField("note")
