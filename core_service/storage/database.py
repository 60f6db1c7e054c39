"""The connection pool, transactions with retry, and what a database failure means to a caller.

One PostgreSQL, READ COMMITTED. A transaction is short and holds no network call. `transact` is the only way to write
more than one statement: it retries serialization failures, deadlocks and lock time-outs, and it knows that a connection
lost at COMMIT is an unknown outcome and not a failure.
"""

import random
import re
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

import peewee
import psycopg2
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg2 import errorcodes, extensions

from core_service import metrics, turns
from core_service.errors import CoreError, Family
from core_service.storage import servers

T = TypeVar("T")
Row = dict[str, Any]

MAX_TRIES = 4
LOCK_TIMEOUT_MS = 500
STATEMENT_TIMEOUT_MS = 2000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 5000
CONNECT_TIMEOUT_SECONDS = 2
POOL_WAIT_SECONDS = 0.5
RECONNECT_SECONDS = 6.0
"""Whoever lost the answer to COMMIT waits so long for the database: of its caller's ten seconds some must be left."""

_peewee_errors = peewee.__exception_wrapper__  # type: ignore[attr-defined]  # the library has no types
_PARAMETER = re.compile(r"%(?:[(](\w+)[)])?s")
_RETRIED = frozenset(
    {errorcodes.SERIALIZATION_FAILURE, errorcodes.DEADLOCK_DETECTED, errorcodes.LOCK_NOT_AVAILABLE}
)
_OVERLOADED = _RETRIED | {errorcodes.QUERY_CANCELED}
_PROGRAMMING_CLASSES = ("22", "23", "42")


class _Adapter(peewee.Psycopg2Adapter):
    """Where Peewee meets the driver."""

    def connect(self, db: peewee.Database, **parameters: Any) -> Any:
        return servers.connect(db.database, **parameters)


class _Pool(PooledPostgresqlDatabase):  # type: ignore[misc]  # the library has no types
    """The pool, but for how it looks at a connection before giving it out: without a statement to the server.

    Nothing is ever sent to an idle session except its end, so one whose socket has something to read is over.
    While a thread waits for the server it does not have its turn. BEGIN and whatever is written without waiting
    (`write`) leaves in one message with the next statement.
    """

    psycopg2_adapter = _Adapter

    def begin(self, *_: Any) -> None:
        self.connection().unsent.append("BEGIN")

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        with turns.elsewhere():
            unsent = self._take_unsent()
            if not unsent:
                return super().execute_sql(sql, params)
            with _peewee_errors:
                cursor = self.cursor()
                cursor.execute(_message(*unsent, cursor.mogrify(sql, params or ()).decode()))
                return cursor

    def commit(self) -> None:
        unsent = self._take_unsent()
        if unsent == ["BEGIN"]:
            return  # nothing was asked of the server
        with turns.elsewhere(), _peewee_errors:
            self.cursor().execute(_message(*unsent, "COMMIT"))

    def rollback(self) -> None:
        if self._take_unsent()[:1] != ["BEGIN"]:
            super().rollback()

    def _take_unsent(self) -> list[str]:
        connection = self.connection()
        unsent: list[str] = connection.unsent
        connection.unsent = []
        return unsent

    def _is_closed(self, conn: Any) -> bool:
        if conn.closed or conn.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE:
            return bool(super()._is_closed(conn))
        waiting = select.poll()
        waiting.register(conn.fileno(), select.POLLIN)
        return bool(waiting.poll(0))

    def _can_reuse(self, conn: Any) -> bool:
        conn.unsent = []  # of a transaction that was left without its end
        return not conn.led_to_standby and bool(super()._can_reuse(conn))


class _Connection(extensions.connection):
    """Remembers what its session has prepared, what is still to be sent, and whether it ended at a standby."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.prepared: set[str] = set()
        self.unsent: list[str] = []
        self.led_to_standby = False


class Prepared:
    """A constant statement that each connection plans once; parameters all by name, `%(name)s`, or all by place, `%s`.

    The server infers their types, so one that stands alone in a SELECT list needs a cast.
    """

    __slots__ = ("_execute", "_name", "_prepare", "sql")

    def __init__(self, sql: str) -> None:
        places: list[str] = []

        def number(match: re.Match[str]) -> str:
            if match[1] is None or match[0] not in places:
                places.append(match[0])
                return f"${len(places)}"
            return f"${places.index(match[0]) + 1}"

        self.sql = sql
        self._name = f"s{sha256(sql.encode()).hexdigest()[:16]}"
        self._prepare = f"PREPARE {self._name} AS {_PARAMETER.sub(number, sql)}"
        self._execute = f"EXECUTE {self._name} ({', '.join(places)})"

    def for_connection(self, connection: Any) -> str:
        """What to execute there; prepares it the first time."""
        if not _prepares[0]:
            return self.sql
        if self._name not in connection.prepared:
            with connection.cursor() as cursor:
                cursor.execute(self._prepare)
            connection.prepared.add(self._name)
        return self._execute


_prepares = [True]

database = _Pool(None, autoconnect=False)


class Table(peewee.Model):
    """Base of every model."""

    class Meta:
        """Peewee's settings."""

        database = database
        legacy_table_names = False


class CommitUnknown(Exception):
    """The connection broke while COMMIT was under way: the transaction may or may not stand."""


def configure(url: str, *, max_connections: int, prepares: bool = True) -> None:
    """Points the pool at `url` (postgresql://…, several hosts allowed). Connects nothing yet.

    `prepares`: whether a session keeps prepared statements, which it does not behind a transaction pooler.
    """
    _prepares[:] = [prepares]
    database.init(
        url,
        max_connections=max_connections,
        connection_factory=_Connection,
        stale_timeout=300,
        timeout=POOL_WAIT_SECONDS,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        application_name="novapay",
        target_session_attrs="read-write",
        keepalives=1,
        keepalives_idle=10,
        keepalives_interval=3,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        options=(
            f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} -c timezone=UTC "
            "-c plan_cache_mode=force_generic_plan"
        ),
    )


@contextmanager
def connection_scope() -> Iterator[None]:
    """A connection for this thread, given back at the end. Raises DATABASE_UNAVAILABLE or OVERLOADED."""
    if not database.is_closed():
        yield
        return
    with _database_errors():
        database.connect()
    metrics.connection_taken()
    try:
        yield
    finally:
        metrics.connection_returned()
        if not database.is_connection_usable():
            database.manual_close()
        elif not database.is_closed():
            database.close()


Verdict = Callable[[], bool | None]


def transact(work: Callable[[], T], *, committed: Verdict | None = None) -> T:
    """Runs `work` in one transaction and returns its value; retries the whole of it on contention.

    `committed` tells, over a new connection, whether the transaction's effect stands; it is asked when the connection
    broke at COMMIT. None: this caller must not go on, which is DATABASE_UNAVAILABLE. Without `committed` such a break
    raises DATABASE_UNAVAILABLE, which is right for work that the caller repeats anyway. Raises OVERLOADED when
    contention does not end, DATABASE_UNAVAILABLE when the database is away; its cause is a CommitUnknown when the
    transaction may stand.
    """
    for attempt in range(1, MAX_TRIES + 1):
        try:
            with _database_errors():
                return _once(work)
        except CommitUnknown as unknown:
            if _stands(committed, unknown):
                return unknown.args[0]  # type: ignore[no-any-return]
        except CoreError as refusal:
            if attempt == MAX_TRIES or getattr(refusal.__cause__, "pgcode", None) not in _RETRIED:
                raise
        with turns.elsewhere():
            time.sleep(random.uniform(0.005, 0.03) * attempt)  # noqa: S311 (jitter)
    raise CoreError("OVERLOADED", retry_after_seconds=1)


def is_lock_timeout(failure: CoreError) -> bool:
    """Whether a statement failed because another transaction did not let go of a row in time."""
    return getattr(failure.__cause__, "pgcode", None) == errorcodes.LOCK_NOT_AVAILABLE


def in_transaction() -> bool:
    """Whether this thread has a transaction open."""
    return bool(database.in_transaction())


Statement = str | Prepared
Parameters = Sequence[Any] | Mapping[str, Any]


def fetch_all(sql: Statement, parameters: Parameters = ()) -> list[Row]:
    """Rows of a constant statement as dicts."""
    cursor = _execute(sql, parameters)
    if cursor.description is None:
        return []
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def fetch_one(sql: Statement, parameters: Parameters = ()) -> Row | None:
    """The only row of a constant statement, or None."""
    rows = fetch_all(sql, parameters)
    return rows[0] if rows else None


def execute(sql: Statement, parameters: Parameters = ()) -> int:
    """Runs a constant statement; how many rows it touched."""
    return int(_execute(sql, parameters).rowcount)


def write(sql: Statement, parameters: Parameters = ()) -> None:
    """Runs a constant statement that nobody waits for.

    In a transaction it leaves with the next one that somebody waits for, or with COMMIT, and what is wrong with it
    shows there.
    """
    if not in_transaction():
        execute(sql, parameters)
        return
    with _database_errors():
        connection = database.connection()
        if isinstance(sql, Prepared):
            sql = sql.for_connection(connection)
        with connection.cursor() as cursor:
            connection.unsent.append(cursor.mogrify(sql, parameters).decode())


def server_time() -> datetime:
    """The database's clock, as this transaction began."""
    row = fetch_one("SELECT now() AS now")
    assert row is not None
    now: datetime = row["now"]
    return now


def commit_one(sql: Statement, parameters: Mapping[str, Any]) -> Row | None:
    """The only row of a statement that is a transaction by itself; CommitUnknown when the connection broke.

    Contention is not retried: the caller has a longer way, which does.
    """
    if in_transaction():
        message = "a transaction is open already"
        raise RuntimeError(message)
    try:
        return fetch_one(sql, parameters)
    except CoreError as failure:
        if failure.__cause__ is not None and _sqlstate(failure.__cause__) is None:
            raise CommitUnknown(None) from failure
        raise


def _execute(sql: Statement, parameters: Parameters) -> Any:
    with _database_errors():
        if isinstance(sql, Prepared):
            sql = sql.for_connection(database.connection())
        return database.execute_sql(sql, parameters)


def _once(work: Callable[[], T]) -> T:
    if in_transaction():
        message = "a transaction is open already"
        raise RuntimeError(message)
    transaction = database.transaction()
    transaction.__enter__()
    try:
        value = work()
    except BaseException as failure:
        _leave(transaction, failure)
        raise
    try:
        transaction.__exit__(None, None, None)
    except (peewee.PeeweeException, psycopg2.Error) as failure:
        if _sqlstate(failure) is None:
            raise CommitUnknown(value) from failure
        raise
    return value


def _message(*statements: str) -> str:
    return "; ".join(statements)


def _leave(transaction: Any, failure: BaseException) -> None:
    try:
        transaction.__exit__(type(failure), failure, failure.__traceback__)
    except (peewee.PeeweeException, psycopg2.Error):
        database.manual_close()  # the connection is gone, and the transaction with it


def _stands(committed: Verdict | None, unknown: CommitUnknown) -> bool:
    """Whether the transaction stands. Raises DATABASE_UNAVAILABLE, with `unknown` as its cause while nobody can say."""
    if committed is None or not reconnect():
        raise CoreError("DATABASE_UNAVAILABLE", retry_after_seconds=1) from unknown
    try:
        with _database_errors():
            verdict = committed()
    except CoreError as failure:
        if failure.family is not Family.UNAVAILABLE:
            raise
        raise CoreError("DATABASE_UNAVAILABLE", retry_after_seconds=1) from unknown
    if verdict is None:
        raise CoreError("DATABASE_UNAVAILABLE", retry_after_seconds=1)
    return verdict


def reconnect() -> bool:
    """A new connection for this thread after one broke; False when the database stays away."""
    end = time.monotonic() + RECONNECT_SECONDS
    while time.monotonic() < end:
        try:
            if not database.is_closed():
                database.manual_close()
            database.connect()
        except (peewee.PeeweeException, psycopg2.Error, MaxConnectionsExceeded):
            with turns.elsewhere():
                time.sleep(0.1)
        else:
            return True
    return False


@contextmanager
def _database_errors() -> Iterator[None]:
    """Says what a failure of the database means to the caller. Constraint violations pass through as they are."""
    try:
        yield
    except MaxConnectionsExceeded as failure:
        raise CoreError("OVERLOADED", retry_after_seconds=1) from failure
    except (peewee.PeeweeException, psycopg2.Error) as failure:
        state = _sqlstate(failure)
        if state is not None and state.startswith(_PROGRAMMING_CLASSES):
            raise
        if state == errorcodes.READ_ONLY_SQL_TRANSACTION:
            _forsake_standby()
        reason = "OVERLOADED" if state in _OVERLOADED else "DATABASE_UNAVAILABLE"
        raise CoreError(reason, retry_after_seconds=1) from _driver_error(failure)


def _forsake_standby() -> None:
    """The leader became a standby, and a pooler kept our connections to it: new ones find the new leader."""
    database.connection().led_to_standby = True
    database.close_idle()


def _driver_error(failure: BaseException) -> BaseException:
    return getattr(failure, "orig", None) or failure


def _sqlstate(failure: BaseException) -> str | None:
    return getattr(_driver_error(failure), "pgcode", None)
