"""Times in messages."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def timestamp(moment: datetime) -> Timestamp:
    """An aware time as a message."""
    seconds, rest = divmod(moment - _EPOCH, _SECOND)
    return Timestamp(seconds=seconds, nanos=rest.microseconds * 1000)


def optional_timestamp(moment: datetime | None) -> Timestamp | None:
    """The same for a time that may not have come."""
    return None if moment is None else timestamp(moment)
