"""What must be true of the rows whatever happened, and what must agree with a provider's books once it is quiet.

Every finding names its invariant. Needs an open connection scope.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core_service.application import finance
from core_service.storage.database import fetch_all

LEGAL_ORDER_MOVES = {
    (None, "PENDING"),
    ("PENDING", "PROCESSING"),
    *((before, after) for before in ("PENDING", "PROCESSING") for after in ("SUCCEEDED", "FAILED", "CANCELLED")),
    ("FAILED", "SUCCEEDED"),
    ("CANCELLED", "SUCCEEDED"),
}  # fmt: skip
LEGAL_REFUND_MOVES = {
    (None, "PENDING"),
    ("PENDING", "PROCESSING"),
    *((before, after) for before in ("PENDING", "PROCESSING") for after in ("SUCCEEDED", "FAILED")),
}  # fmt: skip
APPEND_ONLY = (
    "payment_events",
    "received_payments",
    "journals",
    "journal_lines",
    "audit_records",
)


class ProviderBooks(Protocol):
    """The other side's view of the money."""

    def money(self) -> Mapping[str, int]:
        """What was paid, by order id, in fen."""

    def refunded(self) -> Mapping[str, int]:
        """What went back, by refund id, in fen."""


@dataclass
class Told:
    """What was answered to the outside during a test."""

    orders: list[tuple[str, str]] = field(default_factory=list)
    """Order id and the status that a success answer gave."""
    refunds: list[tuple[str, str]] = field(default_factory=list)
    payments_acknowledged: list[str] = field(default_factory=list)
    """Orders whose notification of payment got a success answer."""
    keyed: list[tuple[tuple[str, str], bytes]] = field(default_factory=list)
    """(operation, key) and the bytes of each answer marked created or replayed."""
    nonces_accepted: list[str] = field(default_factory=list)


def broken_invariants(books: ProviderBooks | None = None, told: Told | None = None) -> list[str]:
    """Findings; with `books`, everything must be quiet: faults off, sweeps done."""
    findings = [*_moves(), *_numbers(), *reservations(), *_deliveries(), *_ledger(), *_guards()]
    if books is not None:
        findings += _provider_agrees(books)
    if told is not None:
        findings += _answers_stand(told)
    return findings


def _moves() -> Iterable[str]:
    """V01, and that the history of everything ends where it is."""
    history: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in fetch_all("SELECT * FROM payment_events ORDER BY id"):
        is_refund = row["refund_id"] is not None
        key = ("refund", row["refund_id"]) if is_refund else ("order", row["order_id"])
        history[key].append((row["before_status"], row["after_status"]))
    now = {
        ("order", row["id"]): row["status"]
        for row in fetch_all("SELECT id, status FROM payment_orders")
    }
    now |= {
        ("refund", row["id"]): row["status"] for row in fetch_all("SELECT id, status FROM refunds")
    }
    for key, moves in history.items():
        legal = LEGAL_REFUND_MOVES if key[0] == "refund" else LEGAL_ORDER_MOVES
        real = [move for move in moves if move[0] != move[1]]
        for move in real:
            if move not in legal:
                yield f"V01 {key} moved {move}"
        ends = Counter(after for _, after in real)
        ends.subtract(before for before, _ in real if before is not None)
        if [status for status, left in ends.items() if left] != [now.get(key)]:
            yield f"V01 {key} is {now.get(key)} after {real}"
    for key in now.keys() - history.keys():
        yield f"V01 {key} has no history"


def _numbers() -> Iterable[str]:
    """V03: one row for each name, over all merchants for the numbers that providers see."""
    for table, name in (
        ("payment_orders", "id"),
        ("refunds", "id"),
        ("payment_orders", "merchant_id, external_order_id"),
        ("refunds", "merchant_id, external_refund_id"),
    ):
        for row in fetch_all(
            f"SELECT {name}, count(*) AS n FROM {table} GROUP BY {name} HAVING count(*) > 1"
        ):
            yield f"V03 {table} {row}"


def reservations() -> Iterable[str]:
    """V04, at one instant."""
    for row in fetch_all(
        """
        SELECT o.id, o.status, o.amount_fen, o.paid_amount_fen, o.refund_reserved_fen, o.refunded_fen,
            coalesce(sum(r.amount_fen) FILTER (WHERE r.status <> 'FAILED'), 0) AS held,
            coalesce(sum(r.amount_fen) FILTER (WHERE r.status = 'SUCCEEDED'), 0) AS gone
        FROM payment_orders o LEFT JOIN refunds r ON (r.merchant_id, r.order_id) = (o.merchant_id, o.id)
        GROUP BY o.merchant_id, o.id
        """
    ):
        paid = row["amount_fen"] if row["status"] == "SUCCEEDED" else 0
        if row["paid_amount_fen"] != paid or row["refund_reserved_fen"] > paid:
            yield f"V04 {row}"
        if (row["refund_reserved_fen"], row["refunded_fen"]) != (row["held"], row["gone"]):
            yield f"V04 {row}"


def _deliveries() -> Iterable[str]:
    """V09: one delivery for each terminal event when callbacks are wanted, none otherwise."""
    wanted = """
        SELECT e.order_id, coalesce(e.refund_id, e.order_id) AS subject, e.after_status AS status,
            coalesce(o.callback_url, m.callback_base) IS NOT NULL AND m.callback_enabled
            AND (e.refund_id IS NULL OR m.refund_callback_enabled) AS wanted
        FROM payment_events e
        JOIN payment_orders o ON (o.merchant_id, o.id) = (e.merchant_id, e.order_id)
        JOIN merchants m ON m.id = e.merchant_id
        WHERE e.after_status IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND e.before_status IS DISTINCT FROM e.after_status
    """
    expected = Counter((r["subject"], r["status"]) for r in fetch_all(wanted) if r["wanted"])
    found = Counter(
        (row["subject_id"], row["resulting_status"])
        for row in fetch_all("SELECT subject_id, resulting_status FROM deliveries")
    )
    for key in expected.keys() | found.keys():
        if expected[key] != found[key]:
            yield f"V09 {key}: {found[key]} deliveries for {expected[key]} events"


def _ledger() -> Iterable[str]:
    """V13 and every check of the product itself."""
    for check in finance.verify_books().checks:
        if check.violations:
            yield f"V13 verify_books {check.name}: {check.violations}"
    (sums,) = fetch_all(
        """
        SELECT (SELECT coalesce(sum(amount_fen), 0) FROM journal_lines) AS everything,
            (SELECT coalesce(sum(l.amount_fen), 0) FROM journal_lines l JOIN journals j
                ON (j.merchant_id, j.id) = (l.merchant_id, l.journal_id)
                WHERE l.account = 'provider_balance' AND j.kind <> 'DUPLICATE') AS balance,
            (SELECT coalesce(sum(amount_fen), 0) FROM payment_orders WHERE status = 'SUCCEEDED')
            - (SELECT coalesce(sum(amount_fen), 0) FROM refunds WHERE status = 'SUCCEEDED') AS owned
        """
    )
    if sums["everything"] != 0 or sums["balance"] != sums["owned"]:
        yield f"V13 {sums}"
    for row in fetch_all(
        "SELECT source, count(*) FROM journals GROUP BY merchant_id, source HAVING count(*) > 1"
    ):
        yield f"V13 {row}"


def _guards() -> Iterable[str]:
    """V02, V14: nobody switched off what keeps these rows as they were written."""
    on = {
        row["relname"]
        for row in fetch_all(
            "SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE t.tgname IN ('append_only', 'guard') AND t.tgenabled = 'O'"
        )
    }
    for table in {
        *APPEND_ONLY,
        "payment_orders",
        "refunds",
        "deliveries",
        "delivery_attempts",
    } - on:
        yield f"V14 {table} is not guarded"


def _provider_agrees(books: ProviderBooks) -> Iterable[str]:
    """V05, V06, V07."""
    money, gone = dict(books.money()), dict(books.refunded())
    orders = {
        row["id"]: row for row in fetch_all("SELECT id, status, amount_fen FROM payment_orders")
    }
    paid = {key: row["amount_fen"] for key, row in orders.items() if row["status"] == "SUCCEEDED"}
    if paid != money:
        yield f"V05 the provider holds {money}, we say {paid}"
    refunds = fetch_all("SELECT id, order_id, status, amount_fen FROM refunds")
    ours = {row["id"]: row["amount_fen"] for row in refunds if row["status"] == "SUCCEEDED"}
    if ours != gone:
        yield f"V06 the provider refunded {gone}, we say {ours}"
    by_order: Counter[str] = Counter()
    for row in refunds:
        by_order[row["order_id"]] += gone.get(row["id"], 0)
    for order_id, amount_fen in by_order.items():
        if amount_fen > money.get(order_id, 0):
            yield f"V07 {order_id}: {amount_fen} went back"


def _answers_stand(told: Told) -> Iterable[str]:
    """V08, V15, V16, V17: what was answered is true."""
    orders = {
        row["id"]: row["status"] for row in fetch_all("SELECT id, status FROM payment_orders")
    }
    refunds = {row["id"]: row["status"] for row in fetch_all("SELECT id, status FROM refunds")}
    for order_id in told.payments_acknowledged:
        if orders.get(order_id) != "SUCCEEDED":
            yield f"V08 {order_id} was acknowledged and is {orders.get(order_id)}"
    for kind, answers, current, legal in (
        ("order", told.orders, orders, LEGAL_ORDER_MOVES),
        ("refund", told.refunds, refunds, LEGAL_REFUND_MOVES),
    ):
        for number, status in answers:
            if current.get(number) not in _successors(status, legal):
                yield f"V17 {kind} {number} was told as {status} and is {current.get(number)}"
    yield from _once_each(told)


def _once_each(told: Told) -> Iterable[str]:
    """V15, V16."""
    answers_of = defaultdict(set)
    for key, response in told.keyed:
        answers_of[key].add(response)
    for key, responses in answers_of.items():
        if len(responses) > 1:
            yield f"V15 {key} has {len(responses)} answers"
    for nonce, times in Counter(told.nonces_accepted).items():
        if times > 1:
            yield f"V16 {nonce} passed {times} times"


def _successors(status: str, legal: set[Any]) -> set[str]:
    known, grown = {status}, True
    while grown:
        more = {after for before, after in legal if before in known} - known
        known |= more
        grown = bool(more)
    return known
