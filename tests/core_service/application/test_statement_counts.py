"""What a merchant's call costs the database, counted by PostgreSQL's own statement log over a real gRPC server."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from core_service import metadata
from core_service.embedded_postgres import EmbeddedPostgres
from core_service.providers.base import HttpAnswer
from core_service.rpc.payment_servicer import PaymentServicer
from core_service.storage.database import database
from core_service.storage.payment_orders import PaymentOrderRow
from novapay.payments.v1 import payment_service_pb2 as pb
from tests.conftest import execute as execute_outside
from tests.core_service.merchant_rows import KnownMerchant, insert_key
from tests.core_service.rpc.running import (
    CREATE,
    QUERY,
    channel_to,
    invoke,
    running_server,
    signed_metadata,
)
from tests.core_service.shop import BASE, LOCAL, Shop, at_once, count
from tests.factories import TEST_BOX

Ask = Callable[..., Any]
_STATEMENT = re.compile(r"LOG:  statement: \s*([^\n]*)")
_ENDS = ("BEGIN", "COMMIT", "ROLLBACK")


class StatementLog:
    """The server's log from the moment of `start`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = 0

    def start(self) -> None:
        self._start = self._path.stat().st_size

    def statements(self) -> list[str]:
        with self._path.open("rb") as log:
            log.seek(self._start)
            text = log.read().decode(errors="replace")
        return _STATEMENT.findall(text)


@pytest.fixture
def statement_log(postgres: EmbeddedPostgres, shop: Shop, money_database: str) -> StatementLog:
    """Every statement in this test's database, from every connection that is made from now on."""
    name = money_database.partition("?")[0].rpartition("/")[2]
    execute_outside(money_database, f"ALTER DATABASE {name} SET log_statement = 'all'")
    return StatementLog(postgres.log_file)


@pytest.fixture
def ask(shop: Shop, statement_log: StatementLog) -> Iterator[Ask]:
    """A signed request of the merchant over gRPC; the core behind it is warm."""
    merchant = KnownMerchant(
        shop.merchant_id, shop.snapshot.facts.code, insert_key(TEST_BOX, shop.merchant_id)
    )
    payments = PaymentServicer(BASE)
    handlers: dict[str, Any] = {
        CREATE: payments.CreatePaymentOrder,
        QUERY: payments.QueryPaymentOrder,
    }
    with running_server(handlers) as server, channel_to(server) as channel:

        def send(path: str, request: Any, key: str | None = None) -> Any:
            request.merchant_code = merchant.code
            sent = signed_metadata(merchant)
            if key is not None:
                sent.append((metadata.IDEMPOTENCY_KEY, key.encode()))
            answer, _ = invoke(channel, path, request, sent)
            return answer

        # Both forms of create, on the one connection that calls in turn use.
        send(CREATE, create_request("warm-1"), "warm")
        made = send(CREATE, create_request("warm-2"))
        send(QUERY, pb.QueryPaymentOrderRequest(order_reference=made.order.id, sync=False))
        send(CREATE, create_request("warm-1"), "warm")
        yield send


def create_request(external: str) -> pb.CreatePaymentOrderRequest:
    return pb.CreatePaymentOrderRequest(
        channel_code=LOCAL, external_order_id=external, amount="88.10", subject="Tea"
    )


def work_of(statements: list[str]) -> list[str]:
    return [statement for statement in statements if not statement.startswith(_ENDS)]


@pytest.mark.parametrize("key", [None, "k-1"])
def test_one_create_is_one_statement(
    ask: Ask, statement_log: StatementLog, key: str | None
) -> None:
    statement_log.start()
    answer = ask(CREATE, create_request("a-1"), key)
    statements = statement_log.statements()
    assert answer.created
    assert [statement.split()[0] for statement in statements] == ["EXECUTE"], statements
    assert count("nonces") == 5
    assert count("idempotency_keys") == (1 if key is None else 2)


def test_a_replay_is_one_statement(ask: Ask, statement_log: StatementLog) -> None:
    first = ask(CREATE, create_request("a-1"), "k-1")
    statement_log.start()
    assert ask(CREATE, create_request("a-1"), "k-1") == first
    statements = statement_log.statements()
    assert [statement.split()[0] for statement in statements] == ["EXECUTE"], statements


def test_a_query_without_sync_is_one_statement(ask: Ask, statement_log: StatementLog) -> None:
    order = ask(CREATE, create_request("a-1")).order
    statement_log.start()
    found = ask(QUERY, pb.QueryPaymentOrderRequest(order_reference=order.id, sync=False))
    statements = statement_log.statements()
    assert found.order == order
    assert [statement.split()[0] for statement in statements] == ["EXECUTE"], statements


def _notify(shop: Shop, order: PaymentOrderRow, _: int) -> HttpAnswer:
    return shop.notify(order)


def test_a_payments_notification_sends_two_messages(
    shop: Shop, statement_log: StatementLog
) -> None:
    database.close_idle()  # so that the next connection is one that the log sees
    warm, order = shop.create(LOCAL), shop.create(LOCAL)
    for paid in (warm, order):
        shop.books.pay(paid.id, paid.amount_fen)
        statement_log.start()
        at_once(1, partial(_notify, shop, paid))
    statements = statement_log.statements()
    assert [statement.split()[0] for statement in statements] == ["BEGIN;", "EXECUTE"], statements
    assert statements[1].endswith("COMMIT"), statements
    assert shop.order(order.id).status == "SUCCEEDED"
