"""Fills a database with orders whose books are right: `python -m tests.seeding DATABASE_URL --orders 1000000`.

The rows are what the core would have written for merchants who sell day and night: most orders paid and told, some
expired, a few refused, refunded or late, the newest still open. They are copied in and indexed afterwards, all in
one transaction.
"""

import argparse
import io
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from core_service.domain.ids import first_id
from core_service.storage import database
from tests.factories import make_account, make_merchant

CHANNELS = ("alipay.page", "wxpay.native")
CHUNK = 50_000
OPEN_FOR = timedelta(minutes=30)
_CHECKOUT = "https://openapi.alipay.com/gateway.do?" + "x" * 360

TABLES = {
    "payment_orders": "merchant_id, id, external_order_id, channel_code, account_id, amount_fen, currency, fee_rate, "
    "fee_fen, subject, status, provider_status, gateway_order_id, payment_mode, checkout_url, paid_amount_fen, "
    "refund_reserved_fen, refunded_fen, late, expire_at, paid_at, completed_at, created_at, updated_at, ask_at",
    "payment_events": "merchant_id, order_id, id, refund_id, at, actor, cause, before_status, after_status",
    "received_payments": "merchant_id, order_id, gateway_order_id, amount_fen, paid_at, duplicate, first_seen_by, "
    "created_at",
    "journals": "merchant_id, id, kind, source, order_id, refund_id, created_at",
    "journal_lines": "merchant_id, journal_id, line, account, amount_fen",
    "refunds": "merchant_id, id, order_id, external_refund_id, amount_fen, fee_fen, status, provider_status, "
    "provider_refund_id, refunded_at, created_at, updated_at",
    "deliveries": "merchant_id, id, order_id, refund_id, subject_id, event, resulting_status, body, status, due_at, "
    "attempt_count, created_at, updated_at, delivered_at",
    "delivery_attempts": "merchant_id, delivery_id, number, token, url, started_at, finished_at, outcome, http_status, "
    "duration_ms",
}

# Row by row they cost five times as much as the rows themselves; REINDEX makes them whole and valid again.
_LEAVE_INDEXES = "UPDATE pg_index SET indisready = false WHERE indrelid = ANY(%s::regclass[])"


@dataclass(frozen=True)
class Seller:
    """A merchant and its account on each channel."""

    merchant_id: str
    accounts: dict[str, str]


def make_sellers(url: str, count: int) -> list[Seller]:
    """New merchants."""
    database.configure(url, max_connections=2)
    with database.connection_scope():
        sellers = [_seller() for _ in range(count)]
    database.database.close_all()
    return sellers


def seed(
    url: str,
    *,
    orders: int,
    sellers: Sequence[Seller],
    days: int = 90,
    progress: Callable[[int, float], None] | None = None,
) -> None:
    """Adds the orders, evenly over the last `days`, and gathers statistics. The user must be a superuser.

    `progress` is told now and then how many there are, and after how many seconds.
    """
    chance = random.Random(1)
    now, began = datetime.now(UTC), time.monotonic()
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            # Triggers would look at each row; what is copied here is right by construction.
            cursor.execute("SET session_replication_role = replica; SET statement_timeout = 0")
            cursor.execute("SET maintenance_work_mem = '1GB'")
            cursor.execute(_LEAVE_INDEXES, [list(TABLES)])
            for start in range(0, orders, CHUNK):
                numbers = range(start, min(start + CHUNK, orders))
                _copy(cursor, _rows(numbers, orders, sellers, chance, now, timedelta(days=days)))
                if progress is not None:
                    progress(numbers.stop, time.monotonic() - began)
            for table in TABLES:
                cursor.execute(f"REINDEX TABLE {table}")
        connection.commit()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    finally:
        connection.close()


def _seller() -> Seller:
    merchant = make_merchant(callback_base="https://shop.example/hook")
    accounts = {channel: make_account(merchant, channel_code=channel) for channel in CHANNELS}
    return Seller(merchant.id, accounts)


def _copy(cursor: Any, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
    files = {table: io.StringIO() for table in TABLES}
    for table, values in rows:
        files[table].write(
            "\t".join("\\N" if value is None else str(value) for value in values) + "\n"
        )
    for table, file in files.items():
        file.seek(0)
        cursor.copy_expert(f"COPY {table} ({TABLES[table]}) FROM STDIN", file)


def _rows(
    numbers: range,
    total: int,
    sellers: Sequence[Seller],
    chance: random.Random,
    now: datetime,
    span: timedelta,
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for number in numbers:
        at = now - span * ((total - number) / total)
        seller = sellers[min(int(chance.expovariate(6) * len(sellers)), len(sellers) - 1)]
        yield from _order(number, at, seller, chance, now)


def _order(
    number: int, at: datetime, seller: Seller, chance: random.Random, now: datetime
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    merchant, order_id = seller.merchant_id, _id("po", at, chance)
    channel = CHANNELS[chance.random() < 0.4]
    amount = chance.randrange(100, 50_000)
    fee = (amount * 6 + 500) // 1000
    kind = chance.random()
    is_open = now - at < OPEN_FOR and kind < 0.8
    status = (
        "PENDING"
        if is_open
        else "SUCCEEDED"
        if kind < 0.7
        else "CANCELLED"
        if kind < 0.98
        else "FAILED"
    )
    is_paid, is_late = status == "SUCCEEDED", status == "SUCCEEDED" and kind < 0.001
    refund_fen = amount // 2 if is_paid and 0.6 < kind < 0.63 else 0
    end = at + timedelta(seconds=chance.randrange(5, 600))
    gateway = f"20{number:012d}{chance.randrange(10**8):08d}" if is_paid else None
    yield "payment_orders", (
        merchant, order_id, f"ext-{number:09d}", channel, seller.accounts[channel], amount, "CNY", "0.0060", fee, "Tea",
        status, {"SUCCEEDED": "TRADE_SUCCESS"}.get(status), gateway, "redirect", _CHECKOUT,
        amount if is_paid else 0, refund_fen, refund_fen, is_late, at + OPEN_FOR, end if is_paid else None,
        None if is_open else end, at, at if is_open else end, now + timedelta(minutes=1) if is_open else None,
    )  # fmt: skip
    event = (
        merchant,
        order_id,
        _id("ev", at, chance),
        None,
        at,
        "merchant",
        "create",
        None,
        "PENDING",
    )
    yield "payment_events", event
    if is_open:
        return
    cause = "notification" if chance.random() < 0.97 else "query"
    yield "payment_events", (
        merchant, order_id, _id("ev", end, chance), None, end, "provider", cause, "PENDING", status
    )  # fmt: skip
    if is_paid:
        yield "received_payments", (merchant, order_id, gateway, amount, end, False, cause, end)
        lines = (
            ("provider_balance", amount),
            ("sales", -amount),
            ("fees_owed", fee),
            ("fee_income", -fee),
        )
        yield from _journal(merchant, order_id, None, "CAPTURE", end, chance, lines)
    yield from _delivery(merchant, order_id, None, status, end, chance)
    if refund_fen:
        yield from _refund(merchant, order_id, refund_fen, end + timedelta(hours=1), chance)


def _refund(
    merchant: str, order_id: str, amount: int, at: datetime, chance: random.Random
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    refund_id = _id("rf", at, chance)
    yield "refunds", (
        merchant, refund_id, order_id, f"ext-{refund_id[3:]}", amount, 0, "SUCCEEDED", "SUCCESS", f"gw{refund_id[3:]}",
        at, at, at,
    )  # fmt: skip
    for before, after in ((None, "PENDING"), ("PENDING", "SUCCEEDED")):
        yield "payment_events", (
            merchant, order_id, _id("ev", at, chance), refund_id, at, "merchant", "refund", before, after
        )  # fmt: skip
    lines = (("provider_balance", -amount), ("sales", amount))
    yield from _journal(merchant, order_id, refund_id, "REFUND", at, chance, lines)
    yield from _delivery(merchant, order_id, refund_id, "SUCCEEDED", at, chance)


def _journal(
    merchant: str,
    order_id: str,
    refund_id: str | None,
    kind: str,
    at: datetime,
    chance: random.Random,
    lines: tuple[tuple[str, int], ...],
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    journal_id = _id("jn", at, chance)
    source = f"{kind.lower()}:{refund_id or order_id}"
    yield "journals", (merchant, journal_id, kind, source, order_id, refund_id, at)
    for line, (account, amount) in enumerate(lines, start=1):
        if amount:
            yield "journal_lines", (merchant, journal_id, line, account, amount)


def _delivery(
    merchant: str,
    order_id: str,
    refund_id: str | None,
    tells: str,
    at: datetime,
    chance: random.Random,
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    delivery_id = _id("dlv", at, chance)
    event = "payment.refund.updated" if refund_id else "payment.order.updated"
    is_told = chance.random() < 0.998
    yield "deliveries", (
        merchant, delivery_id, order_id, refund_id, refund_id or order_id, event, tells, "\\\\x7b7d",
        "DELIVERED" if is_told else "FAILED", at, 1, at, at, at if is_told else None,
    )  # fmt: skip
    yield "delivery_attempts", (
        merchant, delivery_id, 1, 1, "https://shop.example/hook", at, at, "delivered" if is_told else "failed",
        200 if is_told else 500, 20,
    )  # fmt: skip


def _id(prefix: str, at: datetime, chance: random.Random) -> str:
    """Like `ids.new_id`, of its time: sixteen random characters behind ten of milliseconds."""
    return first_id(prefix, at)[: len(prefix) + 11] + f"{chance.getrandbits(64):016x}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="a migrated database")
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--merchants", type=int, default=50)
    arguments = parser.parse_args()
    started = time.monotonic()
    sellers = make_sellers(arguments.url, arguments.merchants)
    seed(arguments.url, orders=arguments.orders, sellers=sellers)
    print(f"{arguments.orders} orders in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
