"""The pool's own database, reached through a network that a test makes slow or lossy."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from core_service.storage import database
from tests.slow_network import SlowNetwork


@contextmanager
def far_database(url: str, *, max_connections: int) -> Iterator[SlowNetwork]:
    """`url` has a Unix socket's folder as its host; the network is plain until the test says otherwise."""
    folder = re.search(r"host=([^&]+)", url)
    assert folder is not None

    def connect() -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{unquote(folder.group(1))}/.s.PGSQL.5432")
        return server

    with SlowNetwork(connect) as network:
        far = url.partition("?")[0] + f"?host=127.0.0.1&port={network.port}&sslmode=disable"
        database.database.close_all()
        database.configure(far, max_connections=max_connections)
        yield network
        database.database.close_all()
