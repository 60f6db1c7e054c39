"""The invariants V01 to V17, read from the three books: NovaPay's database, the provider's, the merchant's log.

For a stack at rest: no fault is under way, and workers have had the time that they need.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psycopg2
import pytest

from tests.journeys.database import connected, rows
from tests.journeys.rough import RoughStack
from tests.journeys.signatures import callback_is_genuine
from tests.stack import Answer, wait_until

OPEN = {"PENDING", "PROCESSING"}
LEGAL_STEPS = {
    ("PENDING", "PROCESSING"),
    *((before, after) for before in OPEN for after in ("SUCCEEDED", "FAILED", "CANCELLED")),
    ("FAILED", "SUCCEEDED"),
    ("CANCELLED", "SUCCEEDED"),
}
REFUND_STEPS = {
    ("PENDING", "PROCESSING"),
    *((before, after) for before in OPEN for after in ("SUCCEEDED", "FAILED")),
}
APPEND_ONLY = ("journals", "journal_lines", "payment_events", "received_payments", "audit_records")
QUIET_SECONDS = 90


@dataclass
class Told:
    """What answers with 200 have told the merchant: id → statuses in their order (V17)."""

    orders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refunds: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def hear(self, answer: Answer) -> Answer:
        """Keeps what an answer says."""
        if answer.status == 200:
            body = answer.json
            for kind, told in (("order", self.orders), ("refund", self.refunds)):
                if kind in body:
                    told[body[kind]["id"]].append(body[kind]["status"])
        return answer


@dataclass(frozen=True)
class Books:
    """Everything that the checks compare, read at one moment."""

    orders: Mapping[str, Any]
    refunds: Mapping[str, Any]
    events: Iterable[Any]
    deliveries: Iterable[Any]
    attempts: Mapping[tuple[str, str], list[Any]]
    journals: Iterable[Any]
    trades: Mapping[str, Any]
    calls: Iterable[Any]


def check(rough: RoughStack, told: Told, resent: Mapping[str, int] | None = None) -> None:
    """Waits until the stack is at rest, then checks every invariant.

    `resent`: order id → how often an operator asked that its callback be sent again, answered or not.
    """
    books = wait_until(
        lambda: books_at_rest(rough), seconds=QUIET_SECONDS, what="the stack to be at rest"
    )
    check_statuses(books)
    check_refunded_money(books)
    check_against_the_provider(books)
    check_notifications(books)
    check_deliveries(rough, books, resent or {})
    check_ledger(rough, books)
    check_nothing_is_stuck(rough)
    check_append_only(rough)
    check_what_was_told(books, told)
    assert rough.stack.cli("books", "verify")["balanced"]


def books_at_rest(rough: RoughStack) -> Books | None:
    """The books, if nothing began between the look and the reading: an order may still end by itself."""
    if restless(rough):
        return None
    books = read_books(rough)
    attempts = (attempt for each in books.attempts.values() for attempt in each)
    return books if all(attempt["outcome"] for attempt in attempts) else None


def restless(rough: RoughStack) -> list[Any]:
    """Refunds and deliveries that have not ended, paid orders that we do not know of."""
    found = rows(
        rough.stack,
        "SELECT id FROM refunds WHERE status IN ('PENDING', 'PROCESSING')"
        " UNION ALL SELECT id FROM deliveries WHERE status IN ('PENDING', 'PROCESSING')",
    )
    unpaid = {
        row["id"]
        for row in rows(rough.stack, "SELECT id FROM payment_orders WHERE status <> 'SUCCEEDED'")
    }
    books = rough.payer.stack.sandbox.request("GET", "/control/books").json
    return found + [t for t in books["trades"] if t["payments"] and t["outTradeNo"] in unpaid]


def read_books(rough: RoughStack) -> Books:
    stack = rough.stack
    attempts: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows(stack, "SELECT * FROM delivery_attempts ORDER BY number"):
        attempts[row["merchant_id"], row["delivery_id"]].append(row)
    sandbox = stack.sandbox.request("GET", "/control/books").json
    return Books(
        orders={row["id"]: row for row in rows(stack, "SELECT * FROM payment_orders")},
        refunds={row["id"]: row for row in rows(stack, "SELECT * FROM refunds")},
        events=rows(stack, "SELECT * FROM payment_events ORDER BY at, id"),
        deliveries=rows(stack, "SELECT * FROM deliveries"),
        attempts=attempts,
        journals=rows(
            stack,
            "SELECT j.*, l.account, l.amount_fen FROM journals j JOIN journal_lines l"
            " ON (l.merchant_id, l.journal_id) = (j.merchant_id, j.id)",
        ),
        trades={trade["outTradeNo"]: trade for trade in sandbox["trades"]},
        calls=sandbox["calls"],
    )


def check_statuses(books: Books) -> None:
    """V01: every status was reached by legal steps, and the last one is the row's. V03: numbers are unique."""
    steps: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for event in books.events:
        if event["before_status"] != event["after_status"]:
            subject = event["refund_id"] or event["order_id"]
            steps[subject].append((event["before_status"], event["after_status"]))
    for subjects, legal in ((books.orders, LEGAL_STEPS), (books.refunds, REFUND_STEPS)):
        for subject, row in subjects.items():
            taken = steps[subject]
            assert taken[0] == (None, "PENDING"), subject
            assert set(taken[1:]) <= legal, (subject, taken)
            assert all(one[1] == next_one[0] for one, next_one in pairwise(taken)), taken
            assert taken[-1][1] == row["status"], (subject, taken)
        externals = Counter(
            (row["merchant_id"], row.get("external_order_id") or row["external_refund_id"])
            for row in subjects.values()
        )
        assert not [name for name, count in externals.items() if count > 1]


def check_refunded_money(books: Books) -> None:
    """V04: what is not FAILED is reserved, and no more than was paid."""
    for order in books.orders.values():
        own = [r for r in books.refunds.values() if r["order_id"] == order["id"]]
        reserved = sum(r["amount_fen"] for r in own if r["status"] != "FAILED")
        refunded = sum(r["amount_fen"] for r in own if r["status"] == "SUCCEEDED")
        assert order["refund_reserved_fen"] == reserved <= order["paid_amount_fen"], order["id"]
        assert order["refunded_fen"] == refunded
        paid = order["amount_fen"] if order["status"] == "SUCCEEDED" else 0
        assert order["paid_amount_fen"] == paid


def check_against_the_provider(books: Books) -> None:
    """V02, V05 to V07: what we believe is what the provider holds, each effect once."""
    executed = {}
    for number, trade in books.trades.items():
        if number not in books.orders:
            continue
        order = books.orders[number]
        assert trade["totalFen"] == order["amount_fen"]
        assert trade["effectiveCreates"] <= 1
        assert (order["status"] == "SUCCEEDED") == bool(trade["payments"]), (
            number,
            order["status"],
        )
        for refund in trade["refunds"]:
            if refund["executed"]:
                executed[refund["outRefundNo"]] = refund["amountFen"]
    for number, order in books.orders.items():
        assert order["status"] != "SUCCEEDED" or number in books.trades
    believed = {
        r["id"]: r["amount_fen"] for r in books.refunds.values() if r["status"] == "SUCCEEDED"
    }
    assert believed == executed
    effects = Counter(
        (call["operation"], call["number"])
        for call in books.calls
        if call["effective"] and call["operation"] in ("create", "refund")
    )
    assert not [effect for effect, count in effects.items() if count > 1]


def check_notifications(books: Books) -> None:
    """V08: what was acknowledged is in our books."""
    for number, trade in books.trades.items():
        for push in trade["notifications"]:
            if any(a["accepted"] for a in push["attempts"]) and trade["payments"]:
                assert books.orders[number]["status"] == "SUCCEEDED"


def check_deliveries(rough: RoughStack, books: Books, resent: Mapping[str, int]) -> None:
    """V09 to V11: one delivery an event, attempts in order, everything genuine and true."""
    ended = Counter(
        (event["refund_id"] or event["order_id"], event["after_status"])
        for event in books.events
        if event["before_status"] != event["after_status"]
        and event["after_status"] not in OPEN
        and books.orders[event["order_id"]]["callback_url"]
    )
    queued = Counter((d["subject_id"], d["resulting_status"]) for d in books.deliveries)
    assert queued == ended

    received: dict[str, list[bytes]] = defaultdict(list)
    for headers, raw in list(rough.receiver.received):
        assert callback_is_genuine(rough.notify_secret, headers, raw)
        assert headers["x-novapay-merchant-code"] == rough.merchant.code
        received[headers["x-novapay-delivery-id"]].append(raw)
    for delivery in books.deliveries:
        attempts = books.attempts[delivery["merchant_id"], delivery["id"]]
        assert [a["number"] for a in attempts] == list(range(1, len(attempts) + 1))
        outcomes = [a["outcome"] for a in attempts]
        assert all(outcomes), outcomes
        assert (delivery["status"] == "DELIVERED") == ("delivered" in outcomes)
        if "delivered" in outcomes:  # nothing automatic after that
            later = len(outcomes) - outcomes.index("delivered") - 1
            assert later <= resent.get(delivery["order_id"], 0), outcomes
        for one, next_one in pairwise(attempts):
            assert one["finished_at"] <= next_one["started_at"]
        bodies = received[delivery["id"]]
        assert bodies
        assert set(bodies) == {bytes(delivery["body"])}
        told = json.loads(bodies[0])
        subject = told.get("refund") or told["order"]
        assert (subject["id"], subject["status"]) == (
            delivery["subject_id"], delivery["resulting_status"],
        )  # fmt: skip


def check_ledger(rough: RoughStack, books: Books) -> None:
    """V13: every batch sums to zero, each source posts once, the sums are those of orders and refunds."""
    sums: Counter[tuple[str, str]] = Counter()
    sources: dict[str, str] = {}
    for line in books.journals:
        sums[line["merchant_id"], line["id"]] += line["amount_fen"]
        assert sources.setdefault(line["source"], line["id"]) == line["id"]
    assert not any(sums.values())
    captured = {f"capture:{o['id']}" for o in books.orders.values() if o["status"] == "SUCCEEDED"}
    refunded = {f"refund:{r['id']}" for r in books.refunds.values() if r["status"] == "SUCCEEDED"}
    assert {s for s in sources if not s.startswith("duplicate:")} == captured | refunded
    verdict = rough.stack.cli("books", "verify")
    paid = sum(o["paid_amount_fen"] for o in books.orders.values())
    back = sum(r["amount_fen"] for r in books.refunds.values() if r["status"] == "SUCCEEDED")
    assert (int(verdict["capturedFen"]), int(verdict["refundedFen"])) == (paid, back)


def check_nothing_is_stuck(rough: RoughStack) -> None:
    """V12: no open order past its time, no dead lease, nothing due for long."""
    assert not rows(
        rough.stack,
        "SELECT id FROM payment_orders WHERE status IN ('PENDING', 'PROCESSING')"
        " AND (ask_at IS NULL OR expire_at < now() - interval '60 seconds')"
        " UNION ALL SELECT id FROM deliveries WHERE lease_until < now() - interval '10 seconds'"
        " OR (status = 'PENDING' AND due_at < now() - interval '10 seconds')",
    )


def check_append_only(rough: RoughStack) -> None:
    """V14: the database itself refuses to change or remove what was booked."""
    for table in APPEND_ONLY:
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column_of(table)} = '0'"):
            if not rows(rough.stack, f"SELECT 1 FROM {table} LIMIT 1"):
                continue
            with (
                connected(rough.stack) as connection,
                connection.cursor() as cursor,
                pytest.raises(psycopg2.errors.RestrictViolation),
            ):
                cursor.execute(statement)


def column_of(table: str) -> str:
    return {"journal_lines": "account", "received_payments": "first_seen_by"}.get(table, "id")


def check_what_was_told(books: Books, told: Told) -> None:
    """V17: what an answer with 200 said was true, and what came after followed from it."""
    for subjects, heard, legal in (
        (books.orders, told.orders, LEGAL_STEPS),
        (books.refunds, told.refunds, REFUND_STEPS),
    ):
        for subject, statuses in heard.items():
            final = subjects[subject]["status"]
            for before, after in pairwise([*statuses, final]):
                assert before == after or leads_to(before, after, legal), (subject, statuses, final)


def leads_to(before: str, after: str, legal: set[tuple[str, str]]) -> bool:
    """Whether legal steps lead from one status to the other."""
    return any(
        end == after or leads_to(end, after, legal) for start, end in legal if start == before
    )
