"""The core's own database module, pointed at a database that the tests of a module share."""

from collections.abc import Iterator

import pytest

from core_service.application import merchant_cache, two_step
from core_service.storage import database
from core_service.storage.secret_box import SecretBox
from tests.core_service.merchant_rows import TEST_KEYS


@pytest.fixture
def box() -> SecretBox:
    return SecretBox(TEST_KEYS)


@pytest.fixture
def core_database(module_database_url: str, box: SecretBox) -> Iterator[str]:
    """Address of the database that the pool is configured for."""
    database.configure(module_database_url, max_connections=20)
    merchant_cache.configure(box, "https://pay.example")
    two_step.configure(box)
    yield module_database_url
    if not database.database.is_closed():
        database.database.close()
    database.database.close_all()


@pytest.fixture
def connection(core_database: str) -> Iterator[None]:
    """A connection for the test's own thread."""
    with database.connection_scope():
        yield
