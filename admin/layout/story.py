"""An order's story in words: the findings of its diagnosis and the entries of its timeline, for both consoles."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from admin import texts
from admin.layout.anomalies import anomaly_detail, reported_amount
from admin.layout.formats import ZONE, ZONE_NAME, money
from admin.visit import Visit
from novapay.payments.v1 import payment_service_pb2 as payments

_MONEY_KINDS = frozenset({"journal"})
_GOOD = frozenset({"SUCCEEDED", "applied", "genuine", "delivered"})
_BAD = frozenset({"FAILED", "failed", "lost", "unanswered", "duplicate"})
_QUIET_NOTICES = frozenset({"applied", "nothing_new"})


@dataclass(frozen=True)
class Line:
    """An entry of the timeline as it is shown."""

    at: Any
    title: str
    tone: str
    facts: list[tuple[str, str]]
    """Names and values; a name without a value says it all."""
    actor: str
    delivery_id: str


def findings(visit: Visit, found: Iterable[payments.Finding]) -> list[str]:
    """Each finding as a sentence."""
    return [_sentence(visit, finding) for finding in found]


def _sentence(visit: Visit, finding: payments.Finding) -> str:
    facts = {fact.name: _value(visit, "", fact) for fact in finding.facts}
    known = dict.fromkeys(
        ("at", "until", "since", "lastAt", "reason", "count", "answer", "failure", "account",
         "paid", "by", "firstSeenBy", "providerCode", "message"), "—",
    )  # fmt: skip
    return visit.t(f"diagnosis.{finding.code}", **{**known, **facts})


def timeline(visit: Visit, shown: payments.GetPaymentOrderResponse) -> list[Line]:
    """The entries as lines; those about a refund say which."""
    refunds = {refund.id: f"{refund.id} ({money(refund.amount)})" for refund in shown.refunds}
    # An entry names the delivery or the anomaly that it is about, and that one its refund.
    of_delivery = {one.id: one.refund_id for one in shown.deliveries}
    of_anomaly = {one.id: one.refund_id for one in shown.anomalies}
    refund_of = of_delivery | of_anomaly
    return [
        _line(visit, entry, refunds.get(refund_of.get(entry.subject_id, entry.subject_id), ""))
        for entry in shown.timeline
    ]


def _line(visit: Visit, entry: payments.TimelineEntry, refund: str) -> Line:
    about = [(visit.t("fact.refund"), refund)] if refund else []
    return Line(
        at=entry.at,
        title=_title(visit, entry),
        tone=_tone(entry),
        facts=about + _facts(visit, entry),
        actor=_actor(visit, entry.actor),
        delivery_id=entry.subject_id if entry.kind in ("delivery", "attempt") else "",
    )


def _actor(visit: Visit, actor: str) -> str:
    """`operator:ann@example.com` is 运营员 ann@example.com; a bare kind is a word."""
    kind, _, name = actor.partition(":")
    if texts.has_text(f"actor.{kind}"):
        # Merchants are not told which operator it was: the kind comes alone.
        return f"{visit.t(f'actor.{kind}')} {name}".rstrip()
    return _named(visit, "cause.", actor)


def _facts(visit: Visit, entry: payments.TimelineEntry) -> list[tuple[str, str]]:
    """Names and values; a change of status is one of them: from → to."""
    facts = [
        (_named(visit, "fact.", fact.name), _value(visit, entry.kind, fact)) for fact in entry.facts
    ]
    if entry.kind == "anomaly":
        return [
            (visit.t("fact.detail"), anomaly_detail(visit, entry.code, fact.value))
            if fact.name == "detail"
            else shown
            for fact, shown in zip(entry.facts, facts, strict=True)
        ]
    if entry.kind == "event" and [fact.name for fact in entry.facts][:2] == ["before", "after"]:
        before, after = facts[0][1], facts[1][1]
        return [(visit.t("fact.after"), f"{before} → {after}"), *facts[2:]]
    return facts


def _title(visit: Visit, entry: payments.TimelineEntry) -> str:
    kind = visit.t(f"kind.{entry.kind}")
    return f"{kind} · {_named(visit, 'cause.', entry.code)}"


def _tone(entry: payments.TimelineEntry) -> str:
    facts = {fact.name: fact.value for fact in entry.facts}
    if entry.kind == "anomaly":
        return "quiet" if "resolvedBy" in facts else "bad"
    if entry.kind == "notification" and entry.code not in _QUIET_NOTICES:
        return "bad"
    told = {entry.code, facts.get("after", "")}
    if told & _BAD:
        return "bad"
    return "good" if told & _GOOD else "quiet"


def _named(visit: Visit, family: str, code: str) -> str:
    key = family + code.replace(".", "_")
    return visit.t(key) if texts.has_text(key) else code


def _value(visit: Visit, kind: str, fact: payments.Fact) -> str:
    if fact.name in _SHOWN:
        return _SHOWN[fact.name](visit, fact.value)
    if kind in _MONEY_KINDS:
        return money(fact.value)
    for family in ("status.", "cause."):
        if texts.has_text(family + fact.value):
            return visit.t(family + fact.value)
    return visit.reason(fact.value) if fact.name == "reason" else fact.value


def _time(_visit: Visit, value: str) -> str:
    return f"{datetime.fromisoformat(value).astimezone(ZONE):%Y-%m-%d %H:%M:%S} {ZONE_NAME}"


def _answer(visit: Visit, value: str) -> str:
    state, _, word = value.partition(" ")
    return f"{_named(visit, 'answer.', state)} ({word})"


_SHOWN: Mapping[str, Callable[[Visit, str], str]] = {
    **dict.fromkeys(("at", "until", "since", "lastAt", "paidAt"), _time),
    "answer": _answer,
    "by": _actor,
    **dict.fromkeys(("error", "failure"), lambda visit, value: visit.reason(value)),
    "amount": lambda _visit, value: money(value),
    "paid": lambda _visit, value: reported_amount(value),
    "unattributed": lambda _visit, _value: "",
    "durationMs": lambda visit, value: visit.t("deliveries.milliseconds", number=value),
}
"""How facts are written that are no plain words, by name."""
