"""The sandbox's clock: real time plus an offset that a control call may change."""

import time
from datetime import UTC, datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))


class Clock:
    """Provider time.

    `offset_seconds` moves business time (expiry, times in messages), `skew_seconds` the clock of
    WeChat Pay's signatures: apart, so that a caller with the right time can still talk to a
    provider whose orders have expired. `time_factor` scales the pauses between notification
    attempts.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to real time and real pauses."""
        self.offset_seconds = 0.0
        self.skew_seconds = 0.0
        self.time_factor = 1.0

    def unix(self) -> float:
        """Business time in seconds since the epoch."""
        return time.time() + self.offset_seconds

    def signing(self) -> float:
        """Time of signatures in seconds since the epoch."""
        return time.time() + self.skew_seconds


def alipay_time(unix: float) -> str:
    """`yyyy-MM-dd HH:mm:ss` in Beijing time, the only form Alipay uses."""
    return datetime.fromtimestamp(unix, BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def parse_alipay_time(text: str) -> float:
    """Seconds since the epoch of a Beijing `yyyy-MM-dd HH:mm:ss`; ValueError for another form."""
    if len(text) != 19:
        raise ValueError(f"not yyyy-MM-dd HH:mm:ss: {text!r}")
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING).timestamp()


def wechat_time(unix: float) -> str:
    """RFC 3339 with +08:00 and whole seconds, as WeChat Pay writes it."""
    return datetime.fromtimestamp(int(unix), BEIJING).isoformat()


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch; ValueError without a zone or in another form."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or "T" not in text:
        raise ValueError(f"not RFC 3339 with a zone: {text!r}")
    return moment.timestamp()


def utc_iso(unix: float) -> str:
    """RFC 3339 UTC with milliseconds, for the sandbox's own JSON."""
    text = datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
