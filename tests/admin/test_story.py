"""An order's story says in words what the core says in codes, and which refund an entry is about."""

from typing import cast

import pytest

from admin import texts
from admin.layout import story
from admin.visit import Visit
from novapay.payments.v1 import payment_service_pb2 as payments
from novapay.refunds.v1 import refund_service_pb2 as refunds

REFUND = refunds.Refund(id="rf_1", amount="1234.50")


class _Reader:
    """As much of a visit as words need."""

    def __init__(self, language: str) -> None:
        self.language = language

    def t(self, key: str, /, **values: object) -> str:
        return texts.text(self.language, key, **values)


def line(language: str, entry: payments.TimelineEntry) -> story.Line:
    """How an entry is shown beside one refund, a delivery and an anomaly about it, and a delivery about the order."""
    shown = payments.GetPaymentOrderResponse(
        refunds=[REFUND],
        deliveries=[
            payments.Delivery(id="dlv_order"),
            payments.Delivery(id="dlv_refund", refund_id=REFUND.id),
        ],
        anomalies=[payments.Anomaly(id="an_1", refund_id=REFUND.id)],
        timeline=[entry],
    )
    (found,) = story.timeline(cast("Visit", _Reader(language)), shown)
    return found


@pytest.mark.parametrize(
    ("kind", "code", "subject"),
    [
        ("event", "refund", "rf_1"),
        ("notification", "applied", "rf_1"),
        ("journal", "REFUND", "rf_1"),
        ("delivery", "payment.refund.updated", "dlv_refund"),
        ("attempt", "delivered", "dlv_refund"),
        ("anomaly", "REFUND_STUCK", "an_1"),
    ],
)
def test_an_entry_says_which_refund_it_is_about(kind: str, code: str, subject: str) -> None:
    entry = payments.TimelineEntry(kind=kind, code=code, subject_id=subject)
    assert line("zh-CN", entry).facts == [("退款号", "rf_1 (¥1,234.50)")]


@pytest.mark.parametrize("subject", [None, "dlv_order"])
def test_an_entry_about_the_order_names_no_refund(subject: str | None) -> None:
    entry = payments.TimelineEntry(kind="delivery", code="x", subject_id=subject)
    assert line("en", entry).facts == []


@pytest.mark.parametrize(
    ("actor", "chinese", "english"),
    [
        ("operator:ann@example.com", "运营员 ann@example.com", "operator ann@example.com"),
        ("operator", "运营员", "operator"),
        ("staff:bob@example.com", "商户成员 bob@example.com", "staff bob@example.com"),
        ("merchant", "商户", "merchant"),
        ("worker:asking", "后台", "worker"),
    ],
)
def test_who_did_it_is_a_word_in_the_timeline_and_in_the_diagnosis(
    actor: str, chinese: str, english: str
) -> None:
    entry = payments.TimelineEntry(kind="event", code="close", actor=actor)
    closed = payments.Finding(code="CLOSED", facts=[payments.Fact(name="by", value=actor)])
    for language, word in (("zh-CN", chinese), ("en", english)):
        assert line(language, entry).actor == word
        (sentence,) = story.findings(cast("Visit", _Reader(language)), [closed])
        assert sentence == texts.text(language, "diagnosis.CLOSED", by=word)


def test_that_a_notification_could_not_be_told_whose_it_was_is_said_once() -> None:
    entry = payments.TimelineEntry(
        kind="notification",
        code="bad_signature",
        facts=[payments.Fact(name="unattributed", value="true")],
    )
    assert line("en", entry).facts == [("not told whose it was", "")]
