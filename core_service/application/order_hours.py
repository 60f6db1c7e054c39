"""Keeps the roll-up that the overview's charts are drawn from.

Hours are counted anew, never added to, so counting twice is harmless. One round does a bounded piece: the newest hours,
which still change; then hours before the first round, back to the first order; and one hour of the last week, in which
money may have come late.
"""

from datetime import datetime, timedelta

from core_service.application import purge
from core_service.storage import job_progress, order_hours
from core_service.storage.database import transact
from core_service.storage.order_hours import HOUR

JOB = "order_hours"
HOURS_A_ROUND = 8
STILL_CHANGING = 2 * HOUR
"""Longer than an order is open by default; what changes later is found by going over the last week."""
LOOKED_OVER = timedelta(days=7)


def count_hours(now: datetime) -> int:
    """One round; a full batch's size when there is more to do at once, else 0."""
    position = transact(lambda: job_progress.claim(JOB))
    if position is None:
        return 0
    try:
        has_more = _round(position, now)
    finally:
        job_progress.give_back(JOB, position)
    return purge.BATCH if has_more else 0


def _round(position: dict[str, str], now: datetime) -> bool:
    """Moves `position` on; whether more waits."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    newest = this_hour - STILL_CHANGING
    hour = min(_moment(position, "counted_to", newest), newest)
    position.setdefault("filled_back_to", hour.isoformat())
    for _ in range(HOURS_A_ROUND):
        _count(hour)
        if hour >= this_hour:
            break
        hour += HOUR
        position["counted_to"] = hour.isoformat()
    else:
        return True
    position["counted_at"] = now.isoformat()
    _look_over(position, this_hour)
    return _fill_back(position)


def _look_over(position: dict[str, str], this_hour: datetime) -> None:
    hour = _moment(position, "looked_over", this_hour - STILL_CHANGING) - HOUR
    if hour < this_hour - LOOKED_OVER:
        hour = this_hour - STILL_CHANGING - HOUR
    if hour >= _moment(position, "filled_back_to", hour):
        _count(hour)
    position["looked_over"] = hour.isoformat()


def _fill_back(position: dict[str, str]) -> bool:
    for _ in range(HOURS_A_ROUND):
        order_at = order_hours.newest_order_before(_moment(position, "filled_back_to", None))
        if order_at is None:
            return False
        hour = order_at.replace(minute=0, second=0, microsecond=0)
        _count(hour)
        position["filled_back_to"] = hour.isoformat()
    return True


def _count(hour: datetime) -> None:
    counts = order_hours.count_hour(hour)
    if counts:
        transact(lambda: order_hours.write_hour(hour, counts))


def _moment(position: dict[str, str], name: str, default: datetime | None) -> datetime:
    text = position.get(name)
    if text is None:
        assert default is not None
        return default
    return datetime.fromisoformat(text)
