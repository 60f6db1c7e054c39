"""Two PostgreSQL servers, the second of which keeps every committed transaction too, and the loss of the first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import psycopg2.extras

from core_service.embedded_postgres import DATABASE, USER, EmbeddedPostgres, write_private
from tests.stack import free_port, wait_until


class Server(EmbeddedPostgres):
    """One server on a TCP port; with `source` its cluster begins as a copy that follows that one."""

    def __init__(self, folder: Path, port: int, source: "Server | None" = None) -> None:
        super().__init__(folder, port=port)
        self.port = port
        self._source = source

    @property
    def password(self) -> str:
        return self._password_file.read_text().strip()

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} password={self.password}"

    def _create_cluster(self) -> None:
        if self._source is None:
            super()._create_cluster()
            return
        write_private(self._password_file, self._source.password)
        fresh = self._home / "pgdata.new"
        self._own(fresh)
        self._run([
            self._bin / "pg_basebackup", "-D", fresh, "-d", self._source.address,
            "--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream",
        ])  # fmt: skip
        # The copy waits for nobody until it has a follower of its own.
        with (fresh / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")
        fresh.rename(self._data)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A cursor whose statements commit by themselves."""
        connection = psycopg2.connect(f"{self.address} dbname={DATABASE}", connect_timeout=5)
        connection.autocommit = True
        try:
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                yield cursor
        finally:
            connection.close()

    def rows(self, statement: str, parameters: Any = ()) -> list[dict[str, Any]]:
        with self.connected() as cursor:
            cursor.execute(statement, parameters)
            return [dict(row) for row in cursor.fetchall()]

    def kill(self) -> None:
        """SIGKILL for the whole server, as when its machine is gone."""
        assert self._server is not None
        everything = [psutil.Process(self._server.pid)]
        everything += everything[0].children(recursive=True)
        for process in everything:
            kill_if_there(process.pid)
        self._server.wait()
        self.stop()


class Pair:
    """A primary and its synchronous standby; `fail_over` loses the one and makes the other the primary.

    Two ports for ever: `url` names both, as DATABASE_URL of a machine park does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.primary = self._start(free_port())
        self.standby = self._follower(free_port())

    @property
    def url(self) -> str:
        ports = f"{self.primary.port},{self.standby.port}"
        return (
            f"postgresql://{USER}:{self.primary.password}@/{DATABASE}"
            f"?host=127.0.0.1,127.0.0.1&port={ports}&target_session_attrs=read-write"
        )

    def fail_over(self) -> None:
        """The primary is killed, and the standby takes over."""
        self.primary.kill()
        self.primary, self.standby = self.standby, self.primary
        with self.primary.connected() as cursor:
            cursor.execute("SELECT pg_promote(wait => true)")

    def replace_lost(self) -> None:
        """A new standby on the port of the one that was lost."""
        self.standby = self._follower(self.standby.port)

    def stop(self) -> None:
        self.standby.stop()
        self.primary.stop()

    def _start(self, port: int, source: Server | None = None) -> Server:
        self._number += 1
        assert threading.current_thread() is threading.main_thread()
        server = Server(self._folder / f"server-{self._number}", port, source)
        server.ensure_running()
        return server

    def _follower(self, port: int) -> Server:
        standby = self._start(port, self.primary)
        with self.primary.connected() as cursor:
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            cursor.execute("SELECT pg_reload_conf()")
        wait_until(self._is_synchronous, seconds=60, what="the standby to keep up")
        return standby

    def _is_synchronous(self) -> bool:
        found = self.primary.rows("SELECT sync_state, state FROM pg_stat_replication")
        return found == [{"sync_state": "sync", "state": "streaming"}]


def kill_if_there(process_id: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return
