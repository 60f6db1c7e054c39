"""The first page: is money flowing, is anything stuck, are merchants told, are the books right?"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from admin.console import Family
from admin.layout.formats import ZONE
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.payments.v1 import payment_service_pb2 as payments

_DAY_HOURS = 24
_GOOD_RATE = 0.5
"""Below this share of payments told by notification, an account's tile is red."""


@dataclass(frozen=True)
class Lost:
    """An account's lost-callback meter."""

    account: payments.LostCallbacks
    share: str
    tone: str


class Overview(Page):
    """Four tiles, each a way to the list behind it, and the charts."""

    path = "/admin/overview"
    rpc = "PaymentService.GetOverview"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """All or one merchant."""
        code = visit.query.get("merchant_code", "").strip()
        return render(visit, "operator/overview.html", **await overview_of(visit, code))


async def overview_of(visit: Visit, merchant_code: str = "") -> dict[str, Any]:
    """What `overview_parts.html` shows."""
    seen: payments.GetOverviewResponse = await visit.call(
        Overview.rpc, payments.GetOverviewRequest(merchant_code=merchant_code)
    )
    return {
        "seen": seen,
        "day_began": _day_began(seen.money),
        "money": seen.money,
        "rate": _rate(seen.money.last_day),
        "rate_before": _rate(seen.money.week_before),
        "change": _change(seen.money),
        "amounts": _chart(visit, seen.money, "money", lambda sums: float(sums.paid_amount)),
        "counts": _chart(visit, seen.money, "count", lambda sums: sums.paid),
        "anomalies": sum(one.count for one in seen.stuck.anomalies),
        "lost": [_lost(one) for one in seen.callbacks.lost],
        "rate_of": _rate,
    }


def _day_began(money: payments.MoneyFlow) -> str:
    """Where the last 24 hours begin, as the lists' filters take it."""
    began = money.hours[-_DAY_HOURS].hour.ToDatetime(UTC).astimezone(ZONE)
    return began.strftime("%Y-%m-%dT%H:%M")


def _rate(sums: payments.FlowTotals) -> str:
    """Of those that have ended, the share that was paid; empty when none has."""
    ended = sums.paid + sums.ended_unpaid
    return f"{100 * sums.paid / ended:.1f}%" if ended else ""


def _change(money: payments.MoneyFlow) -> str:
    """Today's amount against last week's, with its sign; empty without a last week."""
    before = float(money.week_before.paid_amount)
    if not before:
        return ""
    return f"{100 * (float(money.last_day.paid_amount) / before - 1):+.0f}%"


def _chart(
    visit: Visit,
    money: payments.MoneyFlow,
    kind: str,
    value: Callable[[payments.FlowTotals], float],
) -> dict[str, Any]:
    """Each hour beside the same hour a week before."""
    return {
        "label": visit.t("overview.hour"),
        "x": [hour.hour.seconds for hour in money.hours],
        "series": [
            {
                "label": visit.t("overview.now"),
                "values": [value(hour.totals) for hour in money.hours],
                "kind": kind,
            },
            {
                "label": visit.t("overview.week_before"),
                "values": [value(hour.week_before) for hour in money.hours],
                "kind": kind,
            },
        ],
    }


def _lost(account: payments.LostCallbacks) -> Lost:
    paid = account.by_notification + account.by_asking
    share = account.by_asking / paid
    tone = "good" if not account.by_asking else "bad" if share > _GOOD_RATE else "busy"
    return Lost(account, f"{100 * share:.1f}%", tone)


FAMILY = Family("overview", "payments", (Overview,))
