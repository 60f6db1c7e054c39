"""A shop on fake providers, over a database that the tests of a module share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core_service.application import merchant_cache, system_config
from core_service.providers import registry
from core_service.storage import database
from tests.core_service.application.oversight import Console, open_console
from tests.core_service.shop import TOKEN, Shop, accounts_of, open_shop
from tests.factories import TEST_BOX, make_account, make_merchant
from tests.invariants import broken_invariants


@pytest.fixture
def money_database(database_url: str) -> Iterator[str]:
    """A fresh database that this process works on, with a connection for the test's own thread."""
    database.configure(database_url, max_connections=60)
    merchant_cache.configure(TEST_BOX, "https://pay.example")
    with database.connection_scope():
        system_config.refresh_now()
        yield database_url
    database.database.close_all()


@pytest.fixture
def shop(money_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A merchant with an account on both channels; whatever the test did, the invariants hold at its end."""
    monkeypatch.setattr(registry, "_BY_CHANNEL", dict(registry._BY_CHANNEL))
    monkeypatch.setattr(registry, "_BY_CALLBACK", dict(registry._BY_CALLBACK))
    opened = open_shop(tmp_path / "provider.sqlite")
    yield opened
    assert broken_invariants() == []


@pytest.fixture
def other_shop(shop: Shop, tmp_path: Path) -> Shop:
    """Another merchant at the same provider."""
    other = make_merchant(callback_base="https://other.example/hook")
    for channel in shop.accounts:
        make_account(other, channel_code=channel, callback_token=TOKEN)
    return replace(shop, merchant_id=other.id, accounts=accounts_of(other.id))


@pytest.fixture
def console(shop: Shop) -> Iterator[Console]:
    """An operators' console beside the shop."""
    with open_console() as opened:
        yield opened
