"""JSON lines on standard error. Fields come from an allowlist: no bodies, no headers, no queries.

The access line names the route template, not the path, because a path can hold a callback token.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog


def _exception_without_its_text(_logger: Any, _name: str, event: Any) -> Any:
    """Type and places only: the text of an exception can hold what the caller sent."""
    info = event.pop("exc_info", None)
    error = (
        info
        if isinstance(info, BaseException)
        else sys.exc_info()[1]
        if info is True
        else (info or (None, None))[1]
    )
    if error is not None:
        event["exception"] = type(error).__name__
        event["frames"] = [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        ]
    return event


PROCESSORS: tuple[Any, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _exception_without_its_text,
    structlog.processors.JSONRenderer(),
)


class _StandardError:
    """Looks `sys.stderr` up on each write, so that a redirection is followed."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _json_logger(name: str) -> Any:
    return structlog.wrap_logger(
        structlog.WriteLogger(_StandardError()),  # type: ignore[arg-type]
        processors=PROCESSORS,
        wrapper_class=structlog.BoundLogger,
        log=name,
    ).bind()


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def write_access_line(event: str, **fields: Any) -> None:
    """One line of the access log, without the chain of processors: there is one with every request."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    facts = {"log": "rest_edge.access", "event": event, "level": "info", "timestamp": f"{now}Z"}
    sys.stderr.write(f"{_encode({**facts, **fields})}\n")
    sys.stderr.flush()


edge_log = _json_logger("rest_edge")


class JsonFormatter(logging.Formatter):
    """One JSON object a line for what the server itself logs through the standard library."""

    def __init__(self) -> None:
        super().__init__()
        self._formatter = structlog.stdlib.ProcessorFormatter(
            processors=(structlog.stdlib.ProcessorFormatter.remove_processors_meta, PROCESSORS[-1]),
            foreign_pre_chain=(structlog.stdlib.add_logger_name, *PROCESSORS[:-1]),
        )

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON text."""
        return self._formatter.format(record)
