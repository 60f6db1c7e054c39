"""The four questions of whoever looks after the shop: money, stuck things, callbacks, books.

Money comes from the roll-up, so it is fast at any number of orders; everything else from small indexes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from core_service.application import books_pass, order_hours
from core_service.storage import (
    anomalies,
    books_reports,
    callback_health,
    job_progress,
    order_lists,
    refund_lists,
)
from core_service.storage import order_hours as hours_storage
from core_service.storage.books_reports import BooksReportRow
from core_service.storage.callback_health import FailingEndpoint, Queue
from core_service.storage.order_hours import HOUR, ChannelHour, FirstSeen

DAY_HOURS = 24
CHART_HOURS = 48
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Totals:
    """Sums over some hours."""

    created: int = 0
    paid: int = 0
    ended_unpaid: int = 0
    paid_fen: int = 0
    refunds: int = 0
    refund_fen: int = 0


@dataclass(frozen=True)
class Compared:
    """The totals of a time and those of the same time a week before."""

    now: Totals
    week_before: Totals


@dataclass(frozen=True)
class Overview:
    """Everything on the first page. `books` is None for one merchant and until a pass is finished."""

    counted_at: datetime | None
    last_day: Compared
    hours: list[tuple[datetime, Compared]]
    channels: list[tuple[str, Compared]]
    stuck_orders: int
    stuck_refunds: int
    open_anomalies: dict[str, int]
    queue: Queue
    failing: list[FailingEndpoint]
    first_seen: list[FirstSeen]
    books: BooksReportRow | None
    orders_in_progress: int


def overview(merchant_id: str | None, *, now: datetime) -> Overview:
    """Of one merchant, or of all."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    start = this_hour - (CHART_HOURS - 1) * HOUR
    day_start = this_hour - (DAY_HOURS - 1) * HOUR
    rows = hours_storage.hours_of(merchant_id, start, this_hour + HOUR)
    before = hours_storage.hours_of(merchant_id, start - WEEK, this_hour + HOUR - WEEK)
    elapsed = (now - this_hour) / HOUR
    earlier = [_moved_by_week(row, this_hour, elapsed) for row in before]
    day_rows = [row for row in rows if row.hour >= day_start]
    day_earlier = [row for row in earlier if row.hour >= day_start]
    counted_at = job_progress.position_of(order_hours.JOB).get("counted_at")
    return Overview(
        counted_at=datetime.fromisoformat(counted_at) if counted_at else None,
        last_day=Compared(_sum(day_rows), _sum(day_earlier)),
        hours=[
            (hour, Compared(_sum(_at(rows, hour)), _sum(_at(earlier, hour))))
            for hour in (start + number * HOUR for number in range(CHART_HOURS))
        ],
        channels=[
            (channel, Compared(_sum(_in(day_rows, channel)), _sum(_in(day_earlier, channel))))
            for channel in sorted({row.channel_code for row in (*day_rows, *day_earlier)})
        ],
        stuck_orders=order_lists.count_stuck(merchant_id),
        stuck_refunds=refund_lists.count_stuck(merchant_id),
        open_anomalies=anomalies.count_open(merchant_id),
        queue=callback_health.queue_of(merchant_id),
        failing=callback_health.failing_of(merchant_id),
        first_seen=hours_storage.first_seen_of(merchant_id, day_start),
        books=books_reports.newest() if merchant_id is None else None,
        orders_in_progress=books_pass.orders_in_progress() if merchant_id is None else 0,
    )


_SUMS = tuple(field.name for field in fields(Totals))


def _moved_by_week(row: ChannelHour, this_hour: datetime, elapsed: float) -> ChannelHour:
    """An hour of last week where it is compared; of this hour's counterpart the part that has gone by here."""
    hour = row.hour + WEEK
    share = elapsed if hour == this_hour else 1
    sums = {name: int(getattr(row, name) * share) for name in _SUMS}
    return ChannelHour(hour, row.channel_code, **sums)


def _sum(rows: Iterable[ChannelHour]) -> Totals:
    kept = list(rows)
    return Totals(**{name: sum(getattr(row, name) for row in kept) for name in _SUMS})


def _at(rows: Iterable[ChannelHour], hour: datetime) -> list[ChannelHour]:
    return [row for row in rows if row.hour == hour]


def _in(rows: Iterable[ChannelHour], channel_code: str) -> list[ChannelHour]:
    return [row for row in rows if row.channel_code == channel_code]
