"""Requests that meet: one key or one external id in two hands, and answers that must not be taken for another's."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from core_service import metadata
from core_service.application import (
    idempotency,
    merchant_cache,
    payment_order_creation,
    payment_orders,
    refunds,
    system_config,
)
from core_service.application.idempotency import Replay
from core_service.application.payment_order_creation import CreateOrder
from core_service.application.payment_orders import References
from core_service.application.refunds import CreateRefund
from core_service.calls import Call, Principal, UnspentNonce
from core_service.errors import CoreError
from core_service.providers.base import PaymentState, ProviderUnknown
from core_service.settings import SYSTEM_CONFIG_DEFAULTS
from core_service.storage.database import connection_scope, execute, fetch_all, fetch_one
from tests.core_service.application.scripted_provider import ScriptedProvider, scripted_provider
from tests.factories import TEST_BOX, TestMerchant, make_account, make_merchant, make_order

PUBLIC = "https://pay.example"


@pytest.fixture
def provider(core_database: str) -> Iterator[ScriptedProvider]:
    with scripted_provider() as playing:
        merchant_cache.configure(TEST_BOX, PUBLIC)
        system_config.configure({key: str(value) for key, value in SYSTEM_CONFIG_DEFAULTS.items()})
        yield playing


@pytest.fixture
def shop(provider: ScriptedProvider, connection: None) -> TestMerchant:
    merchant = make_merchant()
    make_account(merchant, channel_code="wxpay.native")
    return merchant


def call_with(key: str | None = None) -> Call:
    return Call("request-1", Principal.SERVICE, time.monotonic() + 10, idempotency_key=key)


def snapshot(shop: TestMerchant) -> Any:
    return merchant_cache.by_id(shop.id)


def create(shop: TestMerchant, call: Call, **changes: Any) -> Any:
    wanted: dict[str, Any] = {
        "channel_code": "wxpay.native",
        "external_order_id": "order-1",
        "amount": "88.10",
        "subject": "test",
        "description": None,
        "return_url": None,
        "callback_url": None,
        "metadata": None,
    }
    return payment_order_creation.create(
        call,
        snapshot(shop),
        CreateOrder(**wanted | changes),
        public_base_url=PUBLIC,
        encode=lambda result: result.view.order.id.encode(),
        now=datetime.now(UTC),
    )


def close(shop: TestMerchant, call: Call, reference: str) -> Any:
    return payment_orders.close(
        call,
        snapshot(shop),
        References.of(orderReference=reference),
        encode=lambda result: result.view.order.status.encode(),
        now=datetime.now(UTC),
    )


def refund(shop: TestMerchant, call: Call, order: str, external_id: str = "refund-1") -> Any:
    return refunds.create(
        call,
        snapshot(shop),
        CreateRefund(References.of(orderReference=order), external_id, "1.00", None, None),
        encode=lambda result: result.refund.id.encode(),
        now=datetime.now(UTC),
    )


def refusal_of(work: Callable[[], Any]) -> str:
    with pytest.raises(CoreError) as caught:
        work()
    return caught.value.reason


def take_over_and_finish(key: str, outcome: str, response: bytes) -> None:
    """What another process does with a key whose lease is over."""
    execute(
        "UPDATE idempotency_keys SET token = token + 1, outcome = %s, response = %s WHERE key = %s",
        (outcome, response, key),
    )


def order_of(shop: TestMerchant, provider: ScriptedProvider, **columns: Any) -> str:
    row = fetch_one("SELECT id FROM channel_accounts WHERE merchant_id = %s", (shop.id,))
    assert row is not None
    return make_order(shop, account_id=row["id"], channel_code="wxpay.native", **columns)


def test_close_whose_key_was_taken_over_gives_the_stored_answer(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    order = order_of(shop, provider)
    provider.during = lambda _: take_over_and_finish("key-1", "OK", b"the other's")
    assert close(shop, call_with("key-1"), order) == Replay(b"the other's")


def test_refusal_after_a_take_over_gives_the_stored_answer(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    order = order_of(shop, provider)
    stored = b'{"message": "paid", "details": null}'
    provider.during = lambda _: take_over_and_finish("key-1", "ORDER_ALREADY_PAID", stored)
    provider.state = PaymentState.PAID
    call = call_with("key-1")
    assert refusal_of(lambda: close(shop, call, order)) == "ORDER_ALREADY_PAID"
    assert call.trailing[metadata.IDEMPOTENCY_STATUS] == "replayed"


def test_create_whose_key_was_taken_over_gives_the_stored_answer(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    provider.during = lambda _: take_over_and_finish("key-1", "OK", b"the other's")
    assert create(shop, call_with("key-1")) == Replay(b"the other's")


def test_answer_that_is_not_kept_is_not_called_created(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    def be_silent(_call: str) -> None:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "silence")

    provider.during = be_silent
    call = call_with("key-1")
    with pytest.raises(CoreError) as caught:
        create(shop, call)
    idempotency.forget_unstored(call, caught.value)
    assert caught.value.reason == "PROVIDER_TIMEOUT"
    assert metadata.IDEMPOTENCY_STATUS not in call.trailing


@pytest.mark.parametrize("mark", ["created", "replayed", "conflict"])
def test_a_failure_of_ours_is_not_called_a_stored_answer(shop: TestMerchant, mark: str) -> None:
    call = call_with("key-1")
    call.trailing[metadata.IDEMPOTENCY_STATUS] = mark
    idempotency.forget_unstored(call, CoreError("DATABASE_UNAVAILABLE"))
    assert metadata.IDEMPOTENCY_STATUS not in call.trailing


def test_p01_the_same_key_goes_on_at_once(shop: TestMerchant, provider: ScriptedProvider) -> None:
    def be_silent(_call: str) -> None:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "silence")

    provider.during = be_silent
    assert refusal_of(lambda: create(shop, call_with("key-1"))) == "PROVIDER_TIMEOUT"
    seen: list[str] = []
    provider.during = seen.append
    answer = create(shop, call_with("key-1"))
    assert seen == ["query", "create"]
    assert answer.view.order.status == "PENDING"
    assert answer.view.order.checkout_url is not None


def test_c01_a_key_held_by_an_open_transaction_is_in_progress(
    shop: TestMerchant, provider: ScriptedProvider, core_database: str
) -> None:
    other = psycopg2.connect(core_database)
    try:
        with other.cursor() as cursor:
            cursor.execute(
                "INSERT INTO idempotency_keys (merchant_id, operation, key, fingerprint, lease_until, created_at) "
                "VALUES (%s, %s, 'key-1', '', now() + interval '30 s', now())",
                (shop.id, payment_order_creation.CREATE),
            )
        call = call_with("key-1")
        nonce = "nonce-of-the-second"
        version = snapshot(shop).facts.version
        call.unspent_nonce = UnspentNonce(shop.id, nonce.encode(), time.time(), version)
        assert refusal_of(lambda: create(shop, call)) == "IDEMPOTENCY_IN_PROGRESS"
        assert call.trailing[metadata.IDEMPOTENCY_STATUS] == "in_progress"
        # V16: told to come again, it has used up its nonce all the same.
        assert vars(call)["unspent_nonce"] is None
        assert fetch_one("SELECT count(*) AS n FROM nonces WHERE nonce = %s", (nonce,)) == {"n": 1}
    finally:
        other.rollback()
        other.close()
    assert create(shop, call_with("key-1")).created
    assert fetch_one("SHOW lock_timeout") == {"lock_timeout": "500ms"}


@pytest.mark.parametrize("operation", [close, refund])
def test_refusal_for_an_unknown_order_is_replayed_after_the_order_came(
    shop: TestMerchant, provider: ScriptedProvider, operation: Callable[..., Any]
) -> None:
    assert refusal_of(lambda: operation(shop, call_with("key-1"), "later-1")) == "ORDER_NOT_FOUND"
    order = order_of(shop, provider, external_order_id="later-1")
    call = call_with("key-1")
    assert refusal_of(lambda: operation(shop, call, "later-1")) == "ORDER_NOT_FOUND"
    assert call.trailing[metadata.IDEMPOTENCY_STATUS] == "replayed"
    assert refusal_of(lambda: operation(shop, call_with("key-1"), order)) == "IDEMPOTENCY_CONFLICT"


def test_c05_both_names_of_an_order_are_the_same_request(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    order = order_of(shop, provider, external_order_id="order-9")
    assert close(shop, call_with("key-1"), order).view.order.status == "CANCELLED"
    assert close(shop, call_with("key-1"), "order-9") == Replay(b"CANCELLED")


def test_replay_for_a_merchant_that_was_suspended_since(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    made = create(shop, call_with("key-1"))
    execute(
        "UPDATE merchants SET status = 'SUSPENDED', version = version + 1 WHERE id = %s", (shop.id,)
    )
    assert create(shop, call_with("key-1")) == Replay(made.view.order.id.encode())
    assert refusal_of(lambda: create(shop, call_with())) == "MERCHANT_SUSPENDED"
    call = call_with("key-2")
    assert refusal_of(lambda: create(shop, call)) == "MERCHANT_SUSPENDED"
    execute(
        "UPDATE merchants SET status = 'APPROVED', version = version + 1 WHERE id = %s", (shop.id,)
    )
    assert create(shop, call_with("key-2")).created is False


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"channel_code": "no.such"}, "UNSUPPORTED_CHANNEL"),
        ({"callback_url": "http://10.0.0.1/"}, "CALLBACK_URL_FORBIDDEN"),
    ],
)
def test_refusal_before_any_row_is_kept_under_its_key(
    shop: TestMerchant, provider: ScriptedProvider, change: dict[str, str], reason: str
) -> None:
    first, second, other = call_with("key-1"), call_with("key-1"), call_with("key-1")
    assert refusal_of(lambda: create(shop, first, **change)) == reason
    assert refusal_of(lambda: create(shop, second, **change)) == reason
    assert refusal_of(lambda: create(shop, other)) == "IDEMPOTENCY_CONFLICT"
    states = [call.trailing[metadata.IDEMPOTENCY_STATUS] for call in (first, second, other)]
    assert states == ["created", "replayed", "conflict"]


def test_numbers_and_strings_in_metadata_are_not_the_same_request(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    create(shop, call_with("key-1"), metadata='{"a":1}')
    refused = refusal_of(lambda: create(shop, call_with("key-1"), metadata='{"a":"1"}'))
    assert refused == "IDEMPOTENCY_CONFLICT"


def test_c07_one_external_refund_id_for_two_orders_at_once(
    shop: TestMerchant, provider: ScriptedProvider, core_database: str
) -> None:
    first, second = (order_of(shop, provider, status="SUCCEEDED") for _ in range(2))
    merchant = snapshot(shop)

    def ask(order: str) -> str:
        with connection_scope():
            try:
                refunds.create(
                    call_with(),
                    merchant,
                    CreateRefund(References.of(orderReference=order), "same", "1.00", None, None),
                    encode=lambda result: result.refund.id.encode(),
                    now=datetime.now(UTC),
                )
            except CoreError as refusal:
                return refusal.reason
            return "OK"

    other = psycopg2.connect(core_database)
    with ThreadPoolExecutor(1) as pool:
        try:
            with other.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO refunds (merchant_id, id, order_id, external_refund_id, amount_fen, fee_fen, status, "
                    "created_at, updated_at) VALUES (%s, 'rf_other1', %s, 'same', 100, 0, 'PENDING', now(), now())",
                    (shop.id, first),
                )
            asked = pool.submit(ask, second)
            wait_for_a_lock(core_database)
            other.commit()
        finally:
            other.close()
        assert asked.result(10) == "REFUND_REFERENCE_CONFLICT"
    rows = fetch_all(
        "SELECT refund_reserved_fen FROM payment_orders WHERE merchant_id = %s AND id = %s",
        (shop.id, second),
    )
    assert rows == [{"refund_reserved_fen": 0}]
    assert provider.calls == []


def wait_for_a_lock(database_url: str) -> None:
    """Until some statement waits for another transaction."""
    watcher = psycopg2.connect(database_url)
    watcher.autocommit = True
    try:
        with watcher.cursor() as cursor:
            for _ in range(400):
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                found = cursor.fetchone()
                if found and found[0]:
                    return
                time.sleep(0.005)
    finally:
        watcher.close()
    raise AssertionError("nothing waited")


def test_unfinished_order_past_its_time_is_not_made_payable(
    shop: TestMerchant, provider: ScriptedProvider
) -> None:
    order_of(
        shop,
        provider,
        external_order_id="order-1",
        expire_at=datetime.now(UTC) - timedelta(seconds=1),
    )
    answer = create(shop, call_with("key-1"))
    assert (answer.created, answer.view.order.status) == (False, "PENDING")
    assert provider.calls == []
    assert isinstance(create(shop, call_with("key-1")), Replay)
