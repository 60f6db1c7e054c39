"""A database of its own, the core wired to it, and a merchant's endpoint."""

import ipaddress
from collections.abc import Iterator

import pytest

from core_service.application import callback_attempts, merchant_cache, system_config
from core_service.storage import database
from tests.core_service.workers.receiver import Receiver, receiver
from tests.factories import TEST_BOX

LOOPBACK = (ipaddress.IPv4Network("127.0.0.0/8"),)


@pytest.fixture
def wired(database_url: str) -> Iterator[str]:
    """The address of a fresh database that this process works on, a connection open."""
    database.configure(database_url, max_connections=24)
    merchant_cache.configure(TEST_BOX, "http://127.0.0.1")
    callback_attempts.configure(LOOPBACK)
    with database.connection_scope():
        system_config.refresh_now()
        yield database_url
    callback_attempts.configure(())
    database.database.close_all()


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as made:
        yield made
