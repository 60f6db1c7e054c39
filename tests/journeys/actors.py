"""Who does things in a schedule over real processes: merchants, payers, an operator; and what they remember."""

import secrets
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

import urllib3

from tests.journeys.rough import RoughStack
from tests.stack import AdminSession, Answer, Merchant

CREATE = "/api/payment-orders"
CHANNELS = ("alipay.page", "wxpay.native")
INTERNAL_URLS = ("http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::ffff:10.0.0.1]/")
NOT_YET = {"IDEMPOTENCY_IN_PROGRESS", "PROVIDER_TIMEOUT", "PROVIDER_UNAVAILABLE"}
"""Answers besides 503 after which the same request is to be sent again."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Sent:
    """A request, and every answer that it got under its key."""

    path: str
    body: dict[str, Any]
    key: str
    subject: str
    """The external id that it makes, if any."""
    answers: list[Answer] = field(default_factory=list)
    lost: int = 0
    """How often no answer came: nobody knows what it did."""

    @property
    def had_no_effect(self) -> bool:
        """Every time it was answered that nothing was done; a 503 may hide a process that died just after."""
        return not self.lost and all(400 <= answer.status < 500 for answer in self.answers)


@dataclass
class History:
    """What all actors of all schedules on one stack did and were told."""

    told_orders: set[tuple[str, str]] = field(default_factory=set)
    """Id and status that answers with 200 told."""
    told_refunds: set[tuple[str, str]] = field(default_factory=set)
    sent: list[Sent] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    """As the create answers showed them."""
    answers: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    resent: Counter[str] = field(default_factory=Counter)
    """Order id → how often an operator was told that its callback is sent again."""
    resend_tries: Counter[str] = field(default_factory=Counter)
    """The same, whatever was answered."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, answer: Answer) -> Answer:
        """V24: whatever happens, an answer is one of the contract's."""
        with self._lock:
            said = str(answer.status) if answer.status == 200 else f"{answer.status} {answer.code}"
            self.answers[said] += 1
            if answer.status != 200 and not answer.code:
                self.findings.append(f"V24 {answer.status} {answer.raw[:200]!r}")
            if answer.code == "INTERNAL":
                self.findings.append(f"V24 {answer.raw[:200]!r}")
            if answer.status == 200 and answer.raw.startswith(b"{"):
                self._remember(answer.json)
        return answer

    def _remember(self, body: dict[str, Any]) -> None:
        # Callers overlap and old answers are replayed: only what each says and what is true at the end can be compared.
        for kind, told in (("order", self.told_orders), ("refund", self.told_refunds)):
            if kind in body:
                told.add((body[kind]["id"], body[kind]["status"]))

    def nobody_knows(self) -> None:
        """A request went out and no answer came."""
        with self._lock:
            self.answers["no answer"] += 1


class MerchantClient:
    """One of the merchant's machines."""

    def __init__(
        self, rough: RoughStack, stranger: Merchant, history: History, chance: Random
    ) -> None:
        self._rough, self._history, self._chance = rough, history, chance
        self._merchant, self._stranger = rough.merchant, stranger
        self._own: list[Sent] = []

    def step(self) -> None:
        self._chance.choices(
            (self._create, self._again, self._query, self._close, self._refund, self._replay, self._snoop, self._trick),
            (5, 3, 2, 1, 3, 1, 1, 1),
        )[0]()  # fmt: skip

    def send(self, sent: Sent) -> Answer | None:
        """Sends it under its key with a fresh nonce."""
        try:
            answer = self._merchant.post(sent.path, sent.body, idempotency_key=sent.key)
        except urllib3.exceptions.HTTPError:
            sent.lost += 1
            self._history.nobody_knows()
            return None
        sent.answers.append(self._history.hear(answer))
        if answer.status == 200 and sent.path == CREATE:
            self._history.orders.append(answer.json["order"])
        return answer

    def _begin(self, path: str, body: dict[str, Any], subject: str = "") -> None:
        sent = Sent(path, body, f"key-{secrets.token_hex(8)}", subject)
        self._own.append(sent)
        self._history.sent.append(sent)
        self.send(sent)

    def _create(self) -> None:
        name = f"sched-{secrets.token_hex(8)}"
        body = {
            "channelCode": self._chance.choice(CHANNELS), "externalOrderId": name,
            "amount": self._chance.choice(("30.00", "12.50")), "subject": "schedule",
            "callbackUrl": self._rough.receiver.url,
        }  # fmt: skip
        self._begin(CREATE, body, name)

    def _again(self) -> None:
        if self._own:
            self.send(self._chance.choice(self._own))

    def _some_order(self) -> str | None:
        orders = self._history.orders
        return str(self._chance.choice(orders[-12:])["id"]) if orders else None

    def _query(self) -> None:
        if order := self._some_order():
            self._ask(self._merchant, f"{CREATE}/{order}", {"sync": self._chance.random() < 0.6})

    def _close(self) -> None:
        if order := self._some_order():
            self._begin(f"{CREATE}/{order}/close", {})

    def _refund(self) -> None:
        if order := self._some_order():
            name = f"back-{secrets.token_hex(8)}"
            amount = self._chance.choice(("3.00", "10.00", "15.00"))
            path = f"{CREATE}/{order}/refunds"
            self._begin(path, {"externalRefundId": name, "amount": amount}, name)

    def _replay(self) -> None:
        """V16: what was answered once is not answered again, whichever process is asked."""
        order = self._some_order()
        if order is None:
            return
        nonce, path = secrets.token_hex(12), f"{CREATE}/{order}"
        first = self._ask(self._merchant, path, {"sync": False}, nonce=nonce)
        again = self._ask(self._merchant, path, {"sync": False}, nonce=nonce)
        if first and again and first.status == again.status == 200:
            self._history.findings.append(f"V16 {nonce} passed twice")

    def _snoop(self) -> None:
        """V19: to another merchant these orders do not exist."""
        order = self._some_order()
        if order is None:
            return
        verb = self._chance.choice(("", "/close"))
        answer = self._ask(self._stranger, f"{CREATE}/{order}{verb}", {})
        if answer and answer.status not in (404, 503):
            self._history.findings.append(
                f"V19 a stranger got {answer.status} {answer.raw[:200]!r}"
            )

    def _trick(self) -> None:
        """V21: callbacks go to nobody's inside."""
        body = {
            "channelCode": CHANNELS[0], "externalOrderId": f"trick-{secrets.token_hex(8)}",
            "amount": "1.00", "subject": "trick", "callbackUrl": self._chance.choice(INTERNAL_URLS),
        }  # fmt: skip
        answer = self._ask(self._merchant, CREATE, body)
        if answer and answer.status == 200:
            self._history.findings.append(f"V21 {body['callbackUrl']} was taken")

    def _ask(
        self, merchant: Merchant, path: str, body: dict[str, Any], nonce: str | None = None
    ) -> Answer | None:
        try:
            return self._history.hear(merchant.post(path, body, nonce=nonce))
        except urllib3.exceptions.HTTPError:
            self._history.nobody_knows()
            return None


class PayingPerson:
    """Pays what can be paid, in whatever state NovaPay believes it to be."""

    def __init__(self, rough: RoughStack, history: History, chance: Random) -> None:
        self._rough, self._history, self._chance = rough, history, chance

    def step(self) -> None:
        if self._history.orders:
            order = self._chance.choice(self._history.orders[-8:])
            # A provider that refuses (closed, paid already) is no finding: its books are compared at the end.
            self._rough.stack.sandbox.post_json("/control/pay", {"url": order["checkoutUrl"]})


class Operator:
    """Sends callbacks again by hand."""

    def __init__(self, admin: AdminSession, history: History, chance: Random) -> None:
        self._admin, self._history, self._chance = admin, history, chance

    def step(self) -> None:
        if not self._history.orders:
            return
        order = self._chance.choice(self._history.orders)["id"]
        self._history.resend_tries[order] += 1
        try:
            answer = self._admin.send(
                "POST", f"/api/admin/payment-orders/{order}/retry-callback", {}
            )
        except urllib3.exceptions.HTTPError:
            return
        self._history.hear(answer)
        if answer.status == 200 and not answer.json.get("skipped"):
            self._history.resent[order] += 1


def break_socket(merchant: Merchant, body: bytes, *, whole: bool) -> None:
    """A client that goes away: in the middle of its request, or (`whole`) before the answer; by a reset."""
    address = urlsplit(merchant.http.base)
    assert address.hostname is not None
    head = [f"POST {CREATE} HTTP/1.1", f"host: {address.netloc}", f"content-length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in merchant.sign(body).items()]
    head += ["content-type: application/json", "", ""]
    request = "\r\n".join(head).encode() + body
    with socket.create_connection((address.hostname, address.port or 80), timeout=5) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        one.sendall(request if whole else request[: len(request) // 2])
