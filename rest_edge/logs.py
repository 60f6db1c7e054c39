"""JSON lines on standard error. Fields come from an allowlist: no bodies, no headers, no queries.

The access line names the route template, not the path, because a path can hold a callback token.
"""

import logging
import sys
from typing import Any

import structlog

PROCESSORS: tuple[Any, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
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


access_log = _json_logger("rest_edge.access")
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
