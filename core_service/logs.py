"""JSON lines on standard error, one object a line, from an allowlist of fields.

A field that is not listed is left out: bodies, headers and secrets cannot get into a log by being
passed to it. Library loggers write through the same door.
"""

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import structlog

from core_service import tracing

FIELDS = frozenset(
    {
        "timestamp",
        "level",
        "event",
        "logger",
        "exception",
        "request_id",
        "trace_id",
        "method",
        "reason",
        "principal",
        "merchant",
        "operator",
        "duration_ms",
        "request_bytes",
        "address",
        "process",
        "status",
        "delivery_id",
        "order_id",
        "refund_id",
        "count",
        "worker",
        "workers",
        "unfinished",
        "signal",
        "job",
        "rows",
        "why",
        "problem",
        "error",
        "attempt",
        "delivered",
        "recorded",
        "event_type",
        "http_status",
        "next_status",
        "merchant_id",
        "account_id",
    }
)


def _only_listed_fields(_logger: Any, _name: str, event: Any) -> Any:
    return {key: value for key, value in event.items() if key in FIELDS}


def _traceback_without_values(_logger: Any, _name: str, event: Any) -> Any:
    """Where an exception came from and of what type; its text may quote what was asked."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[1] is not None:
        event["exception"] = _frames(info[1])
    return event


def _frames(failure: BaseException) -> list[str]:
    lines: list[str] = []
    seen: BaseException | None = failure
    while seen is not None:
        lines.append(type(seen).__qualname__)
        trace = seen.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            lines.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
            trace = trace.tb_next
        seen = seen.__cause__ or seen.__context__
    return lines


class _StandardError:
    """Looks `sys.stderr` up on each write, so that a redirection is followed."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Thread(threading.local):
    """What every line of this thread carries."""

    request_id: str | None = None


_thread = _Thread()


def set_request_id(request_id: str | None) -> None:
    """Says for which request this thread works from now."""
    _thread.request_id = request_id


def _with_names(_logger: Any, _name: str, event: Any) -> Any:
    if _thread.request_id is not None:
        event.setdefault("request_id", _thread.request_id)
    trace_id = tracing.current().trace_id
    if trace_id is not None:
        event["trace_id"] = trace_id
    return event


_encode = json.JSONEncoder(default=str).encode


def write_line(event: str, **fields: Any) -> None:
    """One line at level info without the chain of processors, for what is logged with every request.

    The fields are the caller's own words for them, all of them listed.
    """
    trace_id = tracing.current().trace_id
    if trace_id is not None:
        fields["trace_id"] = trace_id
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    sys.stderr.write(
        f"{_encode({'event': event, 'level': 'info', 'timestamp': f'{now}Z', **fields})}\n"
    )
    sys.stderr.flush()


_FACTS: list[Any] = [
    _with_names,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_OUTPUT: list[Any] = [
    _traceback_without_values,
    _only_listed_fields,
    structlog.processors.JSONRenderer(),
]


def configure() -> None:
    """Send every log line of this process through here; once, at start."""
    structlog.configure(
        processors=[*_FACTS, *_OUTPUT],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_OUTPUT],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_FACTS],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
