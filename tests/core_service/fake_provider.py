"""A provider for tests that keeps books of its own in a file, so that they survive a killed process.

It knows money by the order's and the refund's number, as the real ones do: a repeated number is the same
thing. What it does next can be scripted for each operation; without a script it behaves.
"""

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core_service.domain.account_check import Code, Finding
from core_service.providers.base import (
    AccountField,
    AskedTooOften,
    Checkout,
    HttpAnswer,
    Notification,
    NotificationRejected,
    NotificationRequest,
    PaymentReport,
    PaymentRequest,
    PaymentState,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
    RefundReport,
    RefundRequest,
    RefundState,
)

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS payments
    (order_id TEXT PRIMARY KEY, amount_fen INTEGER, state TEXT, gateway TEXT, paid_at TEXT)""",
    """CREATE TABLE IF NOT EXISTS refunds
    (refund_id TEXT PRIMARY KEY, order_id TEXT, amount_fen INTEGER, state TEXT)""",
    "CREATE TABLE IF NOT EXISTS calls (n INTEGER PRIMARY KEY, operation TEXT, number TEXT)",
)

Behaviour = Callable[[Callable[[], Any]], Any]
"""Gets what the provider would do, and does what it likes with it."""


def refuse(code: str = "NO", message: str = "no") -> Behaviour:
    """A definite no, without effect."""

    def behave(_effect: Callable[[], Any]) -> Any:
        raise ProviderRefused(code, message)

    return behave


def unknown_before(reason: str = "PROVIDER_UNAVAILABLE") -> Behaviour:
    """The request never arrives."""

    def behave(_effect: Callable[[], Any]) -> Any:
        raise ProviderUnknown(reason, "no connection")

    return behave


def unknown_after(reason: str = "PROVIDER_TIMEOUT") -> Behaviour:
    """The request has its effect, the answer never arrives."""

    def behave(effect: Callable[[], Any]) -> Any:
        effect()
        raise ProviderUnknown(reason, "no answer")

    return behave


def too_often(_effect: Callable[[], Any]) -> Any:
    """The request is turned away because there were too many, without effect."""
    raise AskedTooOften("HTTP 429")


def kill_after(effect: Callable[[], Any]) -> Any:
    """Our own process dies between the request's effect and its answer."""
    effect()
    os.kill(os.getpid(), signal.SIGKILL)


def answer_with(value: Any) -> Behaviour:
    """Just this, without effect."""
    return lambda _effect: value


def first_do(step: Callable[[], Any]) -> Behaviour:
    """Something happens elsewhere before the provider acts."""

    def behave(effect: Callable[[], Any]) -> Any:
        step()
        return effect()

    return behave


def then_do(step: Callable[[], Any]) -> Behaviour:
    """Something happens elsewhere while the answer is on its way."""

    def behave(effect: Callable[[], Any]) -> Any:
        answer = effect()
        step()
        return answer

    return behave


class Gate:
    """Holds a call at the provider until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, effect: Callable[[], Any]) -> Any:
        self.reached.set()
        assert self.opened.wait(20)
        return effect()


class Books:
    """What the provider holds, in a file that several processes may open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self.writing() as database:
            for statement in _SCHEMA:
                database.execute(statement)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=20, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def rows(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self.writing() as database:
            return database.execute(statement, parameters).fetchall()

    def note_call(self, operation: str, number: str) -> None:
        self.rows("INSERT INTO calls (operation, number) VALUES (?, ?)", (operation, number))

    def calls(self, operation: str, number: str | None = None) -> int:
        """How many calls of an operation arrived."""
        found = self.rows("SELECT number FROM calls WHERE operation = ?", (operation,))
        return sum(number in (None, name) for (name,) in found)

    def open_payment(self, order_id: str, amount_fen: int) -> None:
        """What a prepay does: the payer can pay from now on."""
        self.rows(
            "INSERT INTO payments VALUES (?, ?, 'UNPAID', ?, NULL) ON CONFLICT DO NOTHING",
            (order_id, amount_fen, f"gw{order_id[-20:]}"),
        )

    def pay(self, order_id: str, amount_fen: int | None = None) -> bool:
        """The payer pays; False when the provider does not take it (closed, paid already)."""
        if amount_fen is not None:
            self.open_payment(order_id, amount_fen)
        paid = self.rows(
            "UPDATE payments SET state = 'PAID', paid_at = ? WHERE order_id = ? AND state = 'UNPAID' RETURNING 1",
            (datetime.now(UTC).isoformat(), order_id),
        )
        return bool(paid)

    def close(self, order_id: str) -> PaymentState:
        self.rows(
            "UPDATE payments SET state = 'CLOSED' WHERE order_id = ? AND state = 'UNPAID'",
            (order_id,),
        )
        found = self.rows("SELECT state FROM payments WHERE order_id = ?", (order_id,))
        return PaymentState(found[0][0]) if found else PaymentState.UNPAID

    def payment(self, order_id: str) -> PaymentReport:
        found = self.rows(
            "SELECT amount_fen, state, gateway, paid_at FROM payments WHERE order_id = ?",
            (order_id,),
        )
        if not found:
            return PaymentReport(order_id, PaymentState.UNPAID, "NOT_EXIST")
        amount_fen, state, gateway, paid_at = found[0]
        return PaymentReport(
            order_id, PaymentState(state), state, gateway, amount_fen, "CNY",
            paid_at and datetime.fromisoformat(paid_at),
        )  # fmt: skip

    def refund(self, request: RefundRequest, state: RefundState) -> RefundReport:
        """Executes a refund number once; a repeat gets what is known of it."""
        self.rows(
            "INSERT INTO refunds VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (request.refund_id, request.order_id, request.amount_fen, state),
        )
        return self.known_refund(request)

    def end_refund(self, refund_id: str, state: RefundState) -> None:
        self.rows("UPDATE refunds SET state = ? WHERE refund_id = ?", (state, refund_id))

    def known_refund(self, request: RefundRequest) -> RefundReport:
        found = self.rows(
            "SELECT amount_fen, state FROM refunds WHERE refund_id = ?", (request.refund_id,)
        )
        if not found:
            return RefundReport(
                request.refund_id, request.order_id, RefundState.NOT_FOUND, "NOT_EXIST"
            )
        amount_fen, state = found[0]
        return RefundReport(
            request.refund_id, request.order_id, RefundState(state), state,
            provider_refund_id=f"gr{request.refund_id[-20:]}", amount_fen=amount_fen,
            refunded_at=datetime.now(UTC) if state == RefundState.SUCCEEDED else None,
        )  # fmt: skip

    def money(self) -> dict[str, int]:
        """What was paid, by order."""
        return dict(self.rows("SELECT order_id, amount_fen FROM payments WHERE state = 'PAID'"))

    def refunded(self) -> dict[str, int]:
        """What went back, by refund."""
        return dict(
            self.rows("SELECT refund_id, amount_fen FROM refunds WHERE state = 'SUCCEEDED'")
        )


class FakeProvider:
    """Implements the protocol of `providers/base.py` over its own books."""

    display_name = "Fake"
    description = "For tests"
    account_fields: tuple[AccountField, ...] = ()

    def __init__(self, books: Books, *, channel_code: str, provider_code: str) -> None:
        self.books = books
        self.channel_code = channel_code
        self.provider_code = provider_code
        self.creates_locally = channel_code == "alipay.page"
        self.payment_mode = "redirect" if self.creates_locally else "qr_code"
        self.can_close = True
        self.can_refund = True
        self.refund_state = RefundState.SUCCEEDED
        self._scripts: dict[str, list[Behaviour]] = {}
        self._lock = threading.Lock()

    def script(self, operation: str, *behaviours: Behaviour) -> None:
        """What the next calls of create, query, close, refund or query_refund do, one each."""
        with self._lock:
            self._scripts.setdefault(operation, []).extend(behaviours)

    def _do(self, operation: str, number: str, effect: Callable[[], Any]) -> Any:
        self.books.note_call(operation, number)
        with self._lock:
            waiting = self._scripts.get(operation)
            behaviour = waiting.pop(0) if waiting else None
        return effect() if behaviour is None else behaviour(effect)

    def validate_config(self, config: Mapping[str, Any], *, allow_custom_base_url: bool) -> None:
        """Takes any."""

    def check_account(self, account: ProviderAccount, **_timing: Any) -> list[Finding]:
        """Whatever the script says; all is well without one."""
        del account
        return self._do("check", "", lambda: [Finding(Code.PROVIDER_ACCEPTS)])  # type: ignore[no-any-return]

    def create_payment(
        self,
        account: ProviderAccount,
        request: PaymentRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> Checkout:
        def effect() -> Checkout:
            if not self.creates_locally:
                self.books.open_payment(request.order_id, request.amount_fen)
            url = f"https://cashier.example/{request.order_id}"
            return Checkout(self.payment_mode, url)

        made: Checkout = self._do("create", request.order_id, effect)
        return made

    def query_payment(
        self,
        account: ProviderAccount,
        order_id: str,
        *,
        amount_fen: int,
        now: datetime,
        timeout_seconds: float,
    ) -> PaymentReport:
        report: PaymentReport = self._do("query", order_id, lambda: self.books.payment(order_id))
        return report

    def close_payment(
        self, account: ProviderAccount, order_id: str, *, now: datetime, timeout_seconds: float
    ) -> PaymentState:
        state: PaymentState = self._do("close", order_id, lambda: self.books.close(order_id))
        return state

    def create_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        report: RefundReport = self._do(
            "refund", request.refund_id, lambda: self.books.refund(request, self.refund_state)
        )
        return report

    def query_refund(
        self,
        account: ProviderAccount,
        request: RefundRequest,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> RefundReport:
        report: RefundReport = self._do(
            "query_refund", request.refund_id, lambda: self.books.known_refund(request)
        )
        return report

    def parse_notification(
        self, account: ProviderAccount, request: NotificationRequest, *, now: datetime
    ) -> Notification:
        """Bodies are those of `payment_notice` and `refund_notice`."""
        try:
            told = json.loads(request.body)
        except ValueError:
            raise NotificationRejected("malformed") from None
        if told.get("rejected"):
            raise NotificationRejected(told["rejected"])
        payment = told.get("payment")
        refund = told.get("refund")
        return Notification(
            event_id=told.get("event_id"),
            payment=payment and PaymentReport(**_typed(payment, PaymentState)),
            refund=refund and RefundReport(**_typed(refund, RefundState)),
            needs_query=told.get("needs_query", False),
            contradicts_itself=told.get("contradicts_itself", False),
        )

    def acknowledge(self) -> HttpAnswer:
        return HttpAnswer(200, "text/plain", b"success")

    def reject(
        self,
        http_status: int,
        message: str,
        *,
        code: str = "INVALID_NOTIFICATION",
        details: Any = None,
    ) -> HttpAnswer:
        return HttpAnswer(http_status, "application/json", json.dumps({"code": code}).encode())


def payment_notice(report: PaymentReport, **more: Any) -> bytes:
    """A notification that tells what `report` says."""
    return json.dumps({"payment": report.__dict__, **more}, default=str).encode()


def refund_notice(report: RefundReport, **more: Any) -> bytes:
    """The same for a refund."""
    return json.dumps({"refund": report.__dict__, **more}, default=str).encode()


def _typed(told: dict[str, Any], state: type) -> dict[str, Any]:
    times = {
        name: datetime.fromisoformat(value)
        for name, value in told.items()
        if name.endswith("_at") and value is not None
    }
    return {**told, **times, "state": state(told["state"])}
