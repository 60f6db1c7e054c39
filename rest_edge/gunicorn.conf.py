# ruff: noqa: N999 - the name that gunicorn looks for
"""gunicorn's configuration for the edge: `gunicorn -c rest_edge/gunicorn.conf.py`."""

from typing import Any

from core_service import garbage, tracing
from rest_edge.settings import load_settings

_settings = load_settings()

wsgi_app = "rest_edge.front:get_front()"
worker_class = "rest_edge.gunicorn_worker.EdgeWorker"
logger_class = "rest_edge.gunicorn_worker.EdgeLogger"
bind = _settings.http_bind
workers = _settings.edge_processes

# The parser in Python: the C one of this series framed some bodies as empty.
http_parser = "python"
asgi_loop = "uvloop"
asgi_lifespan = "on"
control_socket_disable = True

# 414 and 431. The sum bounds what one connection can make us keep.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190

# Longer than clients keep idle connections, so that it is they who close: a request sent on a connection that the
# server is just closing is lost, and whoever sent it cannot know.
keepalive = 75
graceful_timeout = 15
timeout = 30

# The edge reads X-Forwarded-For itself, from its own list of proxies; names with underscores are dropped.
forwarded_allow_ips = ""
header_map = "drop"

logconfig_dict = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "rest_edge.logs.JsonFormatter"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "stream": "ext://sys.stderr",
        }
    },
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
        "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
    },
}


def post_worker_init(_worker: Any) -> None:
    """Hook: a worker has loaded the application."""
    # Here and not before the fork, which no thread survives. A stranger's wish to be sampled is not heeded.
    tracing.start("novapay-edge", heeds_sampling=False)
    garbage.collect_rarely()


def worker_exit(_arbiter: Any, _worker: Any) -> None:
    """Hook: a worker has answered its last request."""
    tracing.stop()
