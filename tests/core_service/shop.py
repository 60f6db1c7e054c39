"""A merchant on fake providers, with every use case of the money core at hand: for tests and for processes to kill."""

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from core_service.application import (
    merchant_cache,
    payment_order_creation,
    payment_orders,
    provider_notifications,
    refunds,
)
from core_service.application.idempotency import Replay
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.application.payment_order_creation import CreateOrder
from core_service.application.payment_orders import OrderResult, References
from core_service.application.provider_notifications import Inbound
from core_service.application.refunds import CreateRefund, RefundResult
from core_service.calls import Call, Principal, UnspentNonce
from core_service.errors import CoreError
from core_service.providers import registry
from core_service.providers.base import HttpAnswer, NotificationRequest
from core_service.rpc.payment_messages import order_message, refund_message
from core_service.storage.database import connection_scope, execute, fetch_all, fetch_one
from core_service.storage.payment_orders import PaymentOrderRow
from tests.core_service.fake_provider import Books, FakeProvider, payment_notice
from tests.factories import TestMerchant, make_account, make_merchant

T = TypeVar("T")

LOCAL, REMOTE = "alipay.page", "wxpay.native"
PROVIDER_CODES = {LOCAL: "alipay", REMOTE: "wxpay"}
TOKEN = "callback-token"  # a test token
BASE = "https://pay.example"


@dataclass(frozen=True)
class Answered:
    """What a merchant got: the bytes of the answer and the idempotency status beside it."""

    response: bytes
    mark: str | None
    result: Any
    """OrderResult or RefundResult; None for a replay."""


@dataclass(frozen=True)
class Shop:
    """One merchant, its account on each channel, and the provider behind both."""

    merchant_id: str
    accounts: dict[str, str]
    providers: dict[str, FakeProvider]
    books: Books

    @property
    def snapshot(self) -> MerchantSnapshot:
        return merchant_cache.by_id(self.merchant_id)

    def call(
        self, key: str | None = None, *, nonce: str | None = None, seconds: float = 10
    ) -> Call:
        """A merchant's authenticated call with a fresh nonce."""
        merchant = self.snapshot
        unspent = UnspentNonce(
            merchant.facts.id,
            (nonce or secrets.token_hex(8)).encode(),
            time.time(),
            merchant.facts.version,
        )
        return Call(
            request_id=f"req-{secrets.token_hex(4)}",
            principal=Principal.MERCHANT,
            deadline=time.monotonic() + seconds,
            merchant=merchant,
            idempotency_key=key,
            unspent_nonce=unspent,
        )

    def ask_create(
        self,
        channel: str = LOCAL,
        external: str | None = None,
        *,
        amount: str = "30.00",
        key: str | None = None,
        call: Call | None = None,
        **more: Any,
    ) -> Answered:
        fields: dict[str, Any] = {
            "subject": "Tea", "description": None, "return_url": None, "callback_url": None,
            "metadata": None, **more,
        }  # fmt: skip
        command = CreateOrder(channel, external or secrets.token_hex(6), amount, **fields)
        return self._answered(
            call or self.call(key),
            lambda call, encode: payment_order_creation.create(
                call, call.merchant, command, public_base_url=BASE, encode=encode, now=_now()
            ),
            self._order_bytes,
        )

    def create(
        self, channel: str = LOCAL, external: str | None = None, **more: Any
    ) -> PaymentOrderRow:
        """A new order as it is stored."""
        order: PaymentOrderRow = self.ask_create(channel, external, **more).result.view.order
        return order

    def paid(self, channel: str = LOCAL, amount: str = "30.00") -> PaymentOrderRow:
        """An order that the payer has paid and the provider has told us about."""
        order = self.create(channel, amount=amount)
        assert self.books.pay(order.id, order.amount_fen)
        assert self.notify(order).status == 200
        return self.order(order.id)

    def ask_close(
        self, reference: str, *, key: str | None = None, call: Call | None = None
    ) -> Answered:
        names = References.of(orderReference=reference)
        return self._answered(
            call or self.call(key),
            lambda call, encode: payment_orders.close(
                call, call.merchant, names, encode=encode, now=_now()
            ),
            self._order_bytes,
        )

    def ask_refund(
        self,
        reference: str,
        amount: str = "10.00",
        external: str | None = None,
        *,
        key: str | None = None,
        reason: str | None = None,
        call: Call | None = None,
    ) -> Answered:
        command = CreateRefund(
            References.of(orderReference=reference),
            external or secrets.token_hex(6), amount, reason, None,
        )  # fmt: skip
        return self._answered(
            call or self.call(key),
            lambda call, encode: refunds.create(
                call, call.merchant, command, encode=encode, now=_now()
            ),
            self._refund_bytes,
        )

    def query(self, reference: str, *, sync: bool = True) -> PaymentOrderRow:
        call = self.call()
        names = References.of(orderReference=reference)
        return payment_orders.query(call, call.merchant, names, sync=sync, now=_now()).order

    def query_refund(self, reference: str, *, sync: bool = True) -> RefundResult:
        call = self.call()
        names = References.of(refundReference=reference)
        return refunds.query(call, call.merchant, names, sync=sync, now=_now())

    def notify(self, order: PaymentOrderRow, body: bytes | None = None, **more: Any) -> HttpAnswer:
        """The provider tells what its books say about an order, or sends `body`."""
        told = body or payment_notice(self.books.payment(order.id))
        return self.send(order.channel_code, told, **more)

    def send(
        self,
        channel: str,
        body: bytes,
        *,
        token: str = TOKEN,
        account_id: str | None = None,
        provider_code: str | None = None,
    ) -> HttpAnswer:
        inbound = Inbound(
            provider_code or PROVIDER_CODES[channel],
            account_id or self.accounts[channel],
            token,
            NotificationRequest("POST", {}, b"", body),
        )
        call = Call("req-provider", Principal.PUBLIC, time.monotonic() + 10)
        return provider_notifications.handle(call, inbound, now=_now())

    def order(self, order_id: str) -> PaymentOrderRow:
        row = fetch_one("SELECT * FROM payment_orders WHERE id = %s", (order_id,))
        assert row is not None
        return PaymentOrderRow(**row)

    def _answered(
        self,
        call: Call,
        use_case: Callable[[Call, Callable[[Any], bytes]], Any],
        encode: Callable[[Any], bytes],
    ) -> Answered:
        answer = use_case(call, encode)
        mark = call.trailing.get("x-novapay-idempotency-status")
        if isinstance(answer, Replay):
            return Answered(answer.response, mark, None)
        return Answered(encode(answer), mark, answer)

    def _order_bytes(self, result: OrderResult) -> bytes:
        message = order_message(result.view, self.snapshot, BASE)
        return b"%d" % result.created + message.SerializeToString(deterministic=True)

    def _refund_bytes(self, result: RefundResult) -> bytes:
        message = refund_message(result.refund, result.order, self.snapshot)
        return b"%d" % result.created + message.SerializeToString(deterministic=True)


def open_shop(books_path: Path, merchant: TestMerchant | None = None) -> Shop:
    """A new merchant with an account on both channels."""
    merchant = merchant or make_merchant(callback_base="https://shop.example/hook")
    for channel in PROVIDER_CODES:
        make_account(merchant, channel_code=channel, callback_token=TOKEN)
    return shop_of(merchant.id, books_path)


def shop_of(merchant_id: str, books_path: Path) -> Shop:
    """A merchant that exists, with the fakes put in the place of the real providers."""
    books = Books(books_path)
    providers = {
        channel: FakeProvider(books, channel_code=channel, provider_code=code)
        for channel, code in PROVIDER_CODES.items()
    }
    for provider in providers.values():
        registry._BY_CHANNEL[provider.channel_code] = provider
        registry._BY_CALLBACK[provider.provider_code] = provider
    return Shop(merchant_id, accounts_of(merchant_id), providers, books)


def accounts_of(merchant_id: str) -> dict[str, str]:
    """Channel → account of a merchant that has one on each."""
    accounts = merchant_cache.by_id(merchant_id).accounts.values()
    return {account.channel_code: account.id for account in accounts}


def at_once(count: int, work: Callable[[int], T]) -> list[T | CoreError]:
    """Runs `work` in that many threads, each with a connection of its own; what they returned or refused."""
    start = threading.Barrier(count)

    def run(number: int) -> T | CoreError:
        with connection_scope():
            start.wait()
            try:
                return work(number)
            except CoreError as refusal:
                return refusal

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def in_background(
    work: Callable[[], T],
) -> "tuple[ThreadPoolExecutor, Callable[[], T | CoreError]]":
    """Starts `work` beside the test; the second value waits for what it returns or refuses."""
    executor = ThreadPoolExecutor(1)
    future = executor.submit(lambda: at_once(1, lambda _: work())[0])

    def wait() -> T | CoreError:
        try:
            return future.result(timeout=30)
        finally:
            executor.shutdown()

    return executor, wait


def reason_of(outcome: Any) -> str:
    """OK, or the reason of the refusal."""
    return outcome.reason if isinstance(outcome, CoreError) else "OK"


def refusal_of(work: Callable[[], Any]) -> str:
    """The reason with which `work` is refused, or OK."""
    try:
        work()
    except CoreError as refusal:
        return refusal.reason
    return "OK"


def make_due() -> None:
    """Every appointment with a provider is now, and no worker holds one."""
    for table in ("payment_orders", "refunds"):
        execute(
            f"UPDATE {table} SET ask_at = now(), ask_leased_until = NULL WHERE ask_at IS NOT NULL"
        )


def let_expire(order_id: str) -> None:
    """The order's time is over, and somebody is to look after it."""
    execute(
        "UPDATE payment_orders SET expire_at = now() - interval '1 minute', ask_at = now(), ask_leased_until = NULL "
        "WHERE id = %s",
        (order_id,),
    )


def end_leases() -> None:
    """Whoever held an idempotency key has been dead for long."""
    execute(
        "UPDATE idempotency_keys SET lease_until = now() - interval '1 s' WHERE outcome IS NULL"
    )


def events_of(order_id: str) -> list[tuple[str, str | None, str]]:
    """Cause, before and after, in their order."""
    rows = fetch_all(
        "SELECT cause, before_status, after_status FROM payment_events WHERE order_id = %s ORDER BY id",
        (order_id,),
    )
    return [(row["cause"], row["before_status"], row["after_status"]) for row in rows]


def count(statement: str, *parameters: Any) -> int:
    """How many rows there are in what `statement` names: a table, with a WHERE if need be."""
    row = fetch_one(f"SELECT count(*) AS n FROM {statement}", parameters)
    assert row is not None
    return int(row["n"])


def bind(shop: Shop, channel: str, **columns: Any) -> None:
    """A binding of the channel, with what the test wants of it."""
    values = {"merchant_id": shop.merchant_id, "id": f"bnd_{channel}", "channel_code": channel,
              "created_at": datetime.now(UTC), "updated_at": datetime.now(UTC), "fee_rate": "0", **columns}  # fmt: skip
    marks = ", ".join(["%s"] * len(values))
    execute(f"INSERT INTO bindings ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
    execute("UPDATE merchants SET version = version + 1")


def _now() -> datetime:
    return datetime.now(UTC)
