"""The ground of all schedules: one database, two merchants, and what one schedule has of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar
from unittest import mock

import psycopg2
from psycopg2.extras import RealDictCursor

from core_service.application import (
    callback_attempts,
    idempotency,
    merchant_cache,
    system_config,
)
from core_service.calls import Call, OperatorIdentity, Principal, UnspentNonce
from core_service.providers import registry
from core_service.storage import database
from tests.core_service.shop import LOCAL, PROVIDER_CODES, REMOTE, TOKEN, Shop, accounts_of, bind
from tests.factories import TEST_BOX, TestMerchant, make_account, make_merchant
from tests.invariants import Told
from tests.simulation.counterparts import Endpoints, MemoryBooks, Post, SimulatedProvider
from tests.simulation.faults import Faults
from tests.simulation.hooks import CLOCK, Clock, Hooks, patient_locks
from tests.simulation.scheduler import Scheduler

T = TypeVar("T")
MERCHANTS = ("A", "B")
EMPTIED = (
    "payment_orders, refunds, payment_events, received_payments, provider_notifications, anomalies, journals, "
    "journal_lines, deliveries, delivery_attempts, nonces, idempotency_keys"
)
OFTEN_ASKED = """
PREPARE all_orders AS SELECT merchant_id, id, channel_code, amount_fen, expire_at > now() AS is_open_link
    FROM payment_orders ORDER BY merchant_id, external_order_id;
PREPARE next_due AS SELECT extract(epoch FROM (SELECT min(ask_at) FROM payment_orders) - now()) AS orders,
    extract(epoch FROM (SELECT min(ask_at) FROM refunds) - now()) AS refunds,
    extract(epoch FROM (SELECT min(greatest(due_at, lease_until)) FROM deliveries
        WHERE status IN ('PENDING', 'PROCESSING')) - now()) AS deliveries,
    extract(epoch FROM (SELECT min(lease_until) FROM deliveries) - now()) AS resends;
"""
"""Planned once: looks are the most frequent statements of a schedule."""
_EMPTY = (
    "SET session_replication_role = replica;"
    + "".join(f"DELETE FROM {table};" for table in EMPTIED.split(", "))
    + "SET session_replication_role = origin"
)


class Window:
    """A look at the database, and a hand in it, that no schedule notices."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg2.connect(url, cursor_factory=RealDictCursor)
        self.connection.autocommit = True
        self.clock = Clock()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self.connection.cursor() as cursor:
            cursor.execute(self.clock.told() + sql, parameters)
            return [dict(row) for row in cursor.fetchall()]

    def execute(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)


@dataclass
class Ground:
    """What all schedules of a run share."""

    window: Window
    monitor: "psycopg2.extensions.connection"
    merchants: Mapping[str, TestMerchant]
    accounts: Mapping[str, dict[str, str]]

    def fresh(self) -> None:
        """As if nothing had ever been sold."""
        self.window.execute(_EMPTY)
        idempotency._remembered.clear()  # the same seed brings the same keys


@contextmanager
def ground(url: str) -> Iterator[Ground]:
    """Two merchants on a fresh database whose clock can be put forward."""
    window = Window(url)
    name = window.connection.info.dbname
    window.execute(CLOCK)
    window.execute(f"ALTER DATABASE {name} SET search_path = sim, public, pg_catalog")
    window.execute(f"ALTER DATABASE {name} SET sim.now = '{window.clock.now().isoformat()}'")
    window.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '50ms'")
    window.execute("SET search_path = sim, public, pg_catalog")
    window.execute(f"SET sim.now = '{window.clock.now().isoformat()}'")
    window.execute(OFTEN_ASKED)
    monitor = psycopg2.connect(url)
    monitor.autocommit = True
    with (
        patient_locks(),
        mock.patch.multiple(
            registry,
            _BY_CHANNEL=dict(registry._BY_CHANNEL),
            _BY_CALLBACK=dict(registry._BY_CALLBACK),
        ),
    ):
        database.configure(url, max_connections=40)
        merchant_cache.configure(TEST_BOX, "https://pay.example")
        with database.connection_scope():
            system_config.refresh_now()
            merchants = {one: _merchant(one) for one in MERCHANTS}
            accounts = {one: accounts_of(merchant.id) for one, merchant in merchants.items()}
        yield Ground(window, monitor, merchants, accounts)
    database.database.close_all()
    window.connection.close()
    monitor.close()


def _merchant(name: str) -> TestMerchant:
    merchant = make_merchant(code=f"sim-{name}", callback_base=f"https://{name}.example/hook")
    shop = Shop(merchant.id, {}, {}, MemoryBooks())
    for channel in PROVIDER_CODES:
        make_account(merchant, channel_code=channel, callback_token=TOKEN)
        bind(shop, channel, fee_rate="0.0060")
    return merchant


@dataclass
class Request:
    """Something that a merchant asks for; asked again, it is the same request."""

    merchant: str
    operation: str
    name: str
    """What it is about: the external id."""
    key: str | None
    arguments: tuple[Any, ...]


@dataclass(eq=False)
class Entry:
    """One time that a request was sent, and what came of it; no outcome: nobody will ever know."""

    request: Request
    nonce: str
    sent_at: float
    """When it was signed, on the schedule's clock."""
    outcome: str | None = None
    mark: str | None = None
    had_no_effect: bool = False
    """The answer says that nothing was done: a 4xx, 429 or 503."""


@dataclass
class World:
    """One schedule's own world."""

    ground: Ground
    chance: Random
    faults: Faults
    clock: Clock
    hooks: Hooks
    scheduler: Scheduler
    books: MemoryBooks = field(default_factory=MemoryBooks)
    post: Post = field(default_factory=Post)
    told: Told = field(default_factory=Told)
    history: list[Entry] = field(default_factory=list)
    answers: dict[tuple[str, str, str], set[tuple[Any, ...]]] = field(default_factory=dict)
    """(merchant, operation, key) → what the requests asked for that got its answer."""
    resends: int = 0
    findings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.providers = {channel: self._provider(channel) for channel in (LOCAL, REMOTE)}
        secrets = {m.code: m.notify_secret for m in self.ground.merchants.values()}
        self.endpoints = Endpoints(self.hooks, self.faults, self.clock, secrets)
        callback_attempts._client = self.endpoints  # type: ignore[assignment]  # the outside
        self.findings = self.hooks.findings

    def _provider(self, channel: str) -> SimulatedProvider:
        provider = SimulatedProvider(
            self.books, channel_code=channel, provider_code=PROVIDER_CODES[channel]
        )
        provider.hooks, provider.faults = self.hooks, self.faults
        provider.clock, provider.post = self.clock, self.post
        registry._BY_CHANNEL[channel] = provider
        registry._BY_CALLBACK[provider.provider_code] = provider
        return provider

    def orders(self) -> list[dict[str, Any]]:
        """Every order there is, in an order that does not depend on random ids."""
        return self.ground.window.rows("EXECUTE all_orders")

    def call(self, chance: Random, entry: Entry) -> Call:
        """The authenticated call of a merchant's request."""
        request = entry.request
        snapshot = merchant_cache.by_id(self.ground.merchants[request.merchant].id)
        seconds = 1.5 if self.faults.strikes("caller.hurried") else 10.0
        looks = chance.randrange(1, 12)
        gone = self.faults.strikes("caller.gone")

        def is_active() -> bool:
            nonlocal looks
            looks -= 1
            return not gone or looks > 0

        return Call(
            f"req-{entry.nonce}", Principal.MERCHANT, self.clock.seconds + seconds,
            merchant=snapshot, idempotency_key=request.key, is_active=is_active,
            unspent_nonce=UnspentNonce(
                snapshot.facts.id, entry.nonce.encode(), self.clock.start + entry.sent_at, snapshot.facts.version
            ),
        )  # fmt: skip

    def operator_call(self) -> Call:
        """An operator's."""
        who = OperatorIdentity("op_1", "ops@example.com", "SUPER_ADMIN")
        return Call("req-op", Principal.OPERATOR, self.clock.seconds + 20, operator=who)

    def pick(self, chance: Random, things: Sequence[T], do: Callable[[T], bool]) -> bool:
        """Does it with one of them, if there is any."""
        return bool(things) and do(chance.choice(things))
