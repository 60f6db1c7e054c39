"""Whether the database answers: a connection of its own beside the pool, asked twice a second.

The pool may be exhausted and the database well, so the pool is not what is asked.
"""

import threading
import time
from typing import Any

import psycopg2
import structlog

from core_service.storage import servers
from core_service.storage.database import database

INTERVAL_SECONDS = 0.5
HUNG_SECONDS = 3.0
CONNECT_TIMEOUT_SECONDS = 2

_log = structlog.get_logger("core_service.storage")


class DatabaseProbe:
    """Asks in a thread of its own; `is_up` tells what it heard last."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._asked_at: float | None = None
        self._answered = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database-probe", daemon=True)

    def start(self) -> None:
        """Ask once, so that the first answer is there on return, then go on asking."""
        self._ask()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(HUNG_SECONDS)

    def is_up(self) -> bool:
        """False when the last question failed, or the present one has hung for three seconds."""
        asked_at = self._asked_at
        is_hung = asked_at is not None and time.monotonic() - asked_at > HUNG_SECONDS
        return self._answered and not is_hung

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self._ask()
        self._disconnect()

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except psycopg2.Error:
            self._disconnect()
            self._heard(answered=False)
        else:
            self._heard(answered=True)
        self._asked_at = None

    def _heard(self, *, answered: bool) -> None:
        if answered == self._answered:
            return
        if answered:
            database.close_idle()  # connections from before the outage are dead
        self._answered = answered
        _log.warning("database is up" if answered else "database is away")

    def _connect(self) -> Any:
        connection = servers.connect(
            self._url,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="novapay-probe",
            target_session_attrs="read-write",
            tcp_user_timeout=int(HUNG_SECONDS * 1000),
            options="-c statement_timeout=1000",
        )
        connection.autocommit = True
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
