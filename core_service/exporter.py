"""`python -m core_service.exporter BIND FOLDER`: a port for Prometheus that adds this machine's processes up.

With DATABASE_URL in the environment the queues in the database are looked at too, here and not in the processes
that work on them, at most every few seconds however often somebody asks. Nothing but `/metrics` is served.
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import structlog

from core_service import logs, metrics
from core_service.errors import CoreError
from core_service.settings import parse_bind
from core_service.storage import database, queue_facts
from core_service.storage.database import connection_scope
from core_service.storage.queue_facts import Gauges

LOOK_SECONDS = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_log = structlog.get_logger("core_service.exporter")


class _Queues:
    """The newest look at the queues; without a database there are none, and `novapay_database_up` says so."""

    def __init__(self, *, has_database: bool) -> None:
        self._has_database = has_database
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._gauges: Gauges = {}

    def gauges(self) -> Gauges:
        with self._lock:
            if self._has_database and time.monotonic() - self._looked_at > LOOK_SECONDS:
                self._gauges = _look()
                self._looked_at = time.monotonic()
            return self._gauges


def _look() -> Gauges:
    up = "Whether the database answers"
    try:
        with connection_scope():
            found = queue_facts.look()
    except CoreError:
        return {"novapay_database_up": (up, {"": 0.0})}
    return {"novapay_database_up": (up, {"": 1.0}), **found}


def serve(bind: str, folder: Path, database_url: str | None) -> None:
    """Until SIGTERM or SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    logs.configure()
    if database_url is not None:
        database.configure(database_url, max_connections=2)
    queues = _Queues(has_database=database_url is not None)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            text = metrics.exposition(folder, queues.gauges())
            self.send_response(200)
            self.send_header("content-type", CONTENT_TYPE)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing: Prometheus asks every few seconds."""

    server = ThreadingHTTPServer(parse_bind(bind), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _log.info("serving", address=bind)
    signal.sigwait(STOP_SIGNALS)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), os.environ.get("DATABASE_URL"))
