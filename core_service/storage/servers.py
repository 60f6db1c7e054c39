"""The servers that DATABASE_URL names: a connection to the one of them that takes writes.

libpq looks for it too, but believes a pooler that tells what its server once was, gives up at a server that ends the
conversation, and begins with the first one each time, also when that is a machine that does not answer any more. Here
each server is asked by itself, and first the one that took the last connection.
"""

from typing import Any

import psycopg2
from psycopg2 import extensions

_last: dict[str, dict[str, str]] = {}
"""URL → the server that took the last connection."""


def connect(url: str, **options: Any) -> Any:
    """As psycopg2.connect; of several servers only one that takes writes will do.

    Raises psycopg2.OperationalError: what the last one said, when none will.
    """
    servers = _servers(url)
    if len(servers) < 2:
        return psycopg2.connect(url, **options)
    last = _last.get(url)
    if last in servers:
        servers.sort(key=lambda server: server != last)
    for server in servers:
        try:
            connection = _leader(url, **{**options, **server})
        except psycopg2.OperationalError as problem:
            failure = problem
        else:
            _last[url] = server
            return connection
    raise failure


def _leader(url: str, **options: Any) -> Any:
    connection = psycopg2.connect(url, **options)
    try:
        takes_writes = _takes_writes(connection)
    except psycopg2.Error:
        connection.close()
        raise
    if takes_writes:
        return connection
    connection.close()
    raise psycopg2.OperationalError(
        f"the server at {options['host']}:{options['port']} takes no writes"
    )


def _takes_writes(connection: Any) -> bool:
    """Asks the server itself: it may be another one than its pooler thinks, or gone."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        is_read_only = cursor.fetchone() == ("on",)
    connection.rollback()
    return not is_read_only


def _servers(url: str) -> list[dict[str, str]]:
    """Host and port of each, paired as libpq would; empty for a URL that is left to libpq as it is."""
    named = extensions.parse_dsn(url)
    hosts = named.get("host", "").split(",")
    ports = named.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(hosts) == 1 or len(ports) != len(hosts) or "hostaddr" in named:
        return []
    return [{"host": host, "port": port} for host, port in zip(hosts, ports, strict=True)]
