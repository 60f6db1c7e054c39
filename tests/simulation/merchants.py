"""Merchants' requests: new ones, the same again, the same number with other contents, other people's orders."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf.message import Message

from core_service.application import idempotency, payment_order_creation, payment_orders, refunds
from core_service.application.idempotency import Replay
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.application.payment_order_creation import CreateOrder
from core_service.application.payment_orders import OrderResult, References
from core_service.application.refunds import CreateRefund, RefundResult
from core_service.calls import Call
from core_service.domain.signature import LARGEST_MAX_AGE_SECONDS
from core_service.errors import CoreError, Family
from core_service.rpc.payment_messages import order_message, refund_message
from core_service.storage.database import CommitUnknown
from tests.core_service.shop import BASE, LOCAL, REMOTE
from tests.simulation.world import Entry, Request, World

WITH_EFFECT = (Family.PROVIDER_FAILURE, Family.INTERNAL)
PASSED = (Family.NOT_FOUND, Family.CONFLICT, Family.UNPROCESSABLE, Family.PROVIDER_FAILURE)
"""Families of answers that only a request gets whose nonce was accepted."""
SIGNATURE_SECONDS = 300
"""An older request is refused for its age, before its nonce is looked at."""
NONCE_SECONDS = LARGEST_MAX_AGE_SECONDS
"""How long a nonce is remembered: longer than any request may be on its way."""
ORDERS = 4
"""How many orders each merchant has to do with in a schedule."""


def _comes_of_unknown_commit(refusal: BaseException | None) -> bool:
    """Whether it was raised because nobody could say if a COMMIT stands: then its nonce may have been refused too."""
    while refusal is not None:
        if isinstance(refusal, CommitUnknown):
            return True
        refusal = refusal.__cause__ or refusal.__context__
    return False


class MerchantClient:
    """One of a merchant's machines; several of them do not know of each other."""

    def __init__(self, world: World, merchant: str, chance: Random) -> None:
        self._world, self._merchant, self._chance = world, merchant, chance
        self._sent = 0
        self._name = f"{merchant}{chance.randrange(10**6)}"

    def step(self) -> bool:
        """One request."""
        own = self._own()
        repeats = [entry for entry in own if not entry.had_no_effect]
        young = [e for e in own if self._world.clock.seconds - e.sent_at < SIGNATURE_SECONDS]
        if young and self._world.faults.strikes("caller.replays"):
            replayed = self._chance.choice(young)
            self.send(replayed.request, replayed)
        elif (
            repeats and self._chance.random() < 0.3 and self._world.faults.strikes("caller.repeats")
        ):
            self.send(self._chance.choice(repeats).request)
        elif self._sent < 2:
            self._create()
        else:
            self._chance.choices(
                (self._create, self._close, self._refund, self._query, self._query_refund, self._snoop),
                (4, 2, 5, 2, 2, 1),
            )[0]()  # fmt: skip
        return True

    def send(self, request: Request, replayed: Entry | None = None) -> Entry:
        """Sends a request with a fresh nonce, or somebody's with the very nonce it had."""
        self._sent += 1
        nonce = f"nonce-{self._name}-{self._sent}"
        if replayed is not None:
            nonce = replayed.nonce
        entry = Entry(request, nonce, replayed.sent_at if replayed else self._world.clock.seconds)
        self._world.history.append(entry)
        call = self._world.call(self._chance, entry)
        try:
            response = self._use_case(call, request)
        except CoreError as refusal:
            idempotency.forget_unstored(call, refusal)
            entry.outcome = refusal.reason
            entry.had_no_effect = refusal.family not in WITH_EFFECT
            if refusal.family is Family.INTERNAL:
                self._world.findings.append(f"V24 {request}: {refusal}")
            details = json.dumps([refusal.reason, refusal.message, refusal.details]).encode()
            passed = refusal.family in PASSED and not _comes_of_unknown_commit(refusal)
            self._keep_answer(call, request, details, passed=passed, entry=entry)
        else:
            entry.outcome = "OK"
            self._keep_answer(call, request, response, passed=True, entry=entry)
        return entry

    def _own(self) -> list[Entry]:
        return [entry for entry in self._world.history if entry.request.merchant == self._merchant]

    def _keep_answer(
        self, call: Call, request: Request, response: bytes, *, passed: bool, entry: Entry
    ) -> None:
        told = self._world.told
        mark = call.trailing.get("x-novapay-idempotency-status")
        entry.mark = mark
        if passed and self._world.clock.seconds - entry.sent_at < NONCE_SECONDS:
            told.nonces_accepted.append(f"{self._merchant}/{entry.nonce}")
        if request.key is None:
            return
        scope = (self._merchant, request.operation, request.key)
        if entry.outcome == "OK":
            asked = self._world.answers.setdefault(scope, set())
            asked.add((request.name, *request.arguments))
            if len(asked) > 1:
                self._world.findings.append(f"V15 {scope} answered {asked}")
        if mark in ("created", "replayed"):
            told.keyed.append((("/".join(scope[:2]), request.key), response))

    def _key(self, name: str) -> str | None:
        return f"k-{name}" if self._chance.random() < 0.75 else None

    def _create(self) -> None:
        number = self._chance.randrange(ORDERS)
        key = self._key(f"A{number}")
        contents = number if self._chance.random() < 0.9 else (number + 1) % ORDERS
        amount = "30.00" if self._chance.random() < 0.93 else "31.00"
        channel = (LOCAL, REMOTE)[contents % 2]
        self.send(Request(self._merchant, "create", f"A{contents}", key, (channel, amount)))

    def _reference(self) -> str:
        created = [e.request.name for e in self._own() if e.request.operation == "create"]
        return self._chance.choice(created) if created else "A0"

    def _close(self) -> None:
        name = self._reference()
        self.send(Request(self._merchant, "close", name, self._key(name), ()))

    def _refund(self) -> None:
        order = self._reference()
        name = f"R{order}{self._chance.randrange(4)}"
        amount = self._chance.choice(("3.00", "10.00", "15.00"))
        key = self._key(name)
        self.send(Request(self._merchant, "refund", name, key, (order, amount)))

    def _query(self) -> None:
        self.send(Request(self._merchant, "query", self._reference(), None, ()))

    def _query_refund(self) -> None:
        asked = [e.request.name for e in self._own() if e.request.operation == "refund"]
        name = self._chance.choice(asked) if asked else "R"
        self.send(Request(self._merchant, "query_refund", name, None, ()))

    def _snoop(self) -> None:
        """Other people's orders do not exist (A12)."""
        own = self._world.ground.merchants[self._merchant].id
        strange = [o for o in self._world.orders() if o["merchant_id"] != own]
        self._world.pick(self._chance, strange, self._snoop_at)

    def _snoop_at(self, order: dict[str, Any]) -> bool:
        operation = self._chance.choice(("close", "query", "refund"))
        arguments = (order["id"], "1.00") if operation == "refund" else ()
        name = "snooped" if operation == "refund" else str(order["id"])
        request = Request(self._merchant, operation, name, None, arguments)
        entry = self.send(request)
        self._world.history.remove(entry)
        if entry.outcome == "OK":
            self._world.findings.append(f"V19 {request} got an answer")
        return True

    def _use_case(self, call: Call, request: Request) -> bytes:
        now, merchant = self._world.clock.now(), call.merchant
        encode = self._encoder(merchant)
        answer: Any
        if request.operation == "create":
            channel, amount = request.arguments
            command = CreateOrder(channel, request.name, amount, "Tea", None, None, None, None)
            answer = payment_order_creation.create(
                call, merchant, command, public_base_url=BASE, encode=encode, now=now
            )
        elif request.operation == "close":
            names = References.of(orderReference=request.name)
            answer = payment_orders.close(call, merchant, names, encode=encode, now=now)
        elif request.operation == "refund":
            order, amount = request.arguments
            names = References.of(orderReference=order)
            refund = CreateRefund(names, request.name, amount, None, None)
            answer = refunds.create(call, merchant, refund, encode=encode, now=now)
        elif request.operation == "query":
            names = References.of(orderReference=request.name)
            sync = self._chance.random() < 0.7
            view = payment_orders.query(call, merchant, names, sync=sync, now=now)
            answer = OrderResult(view, created=False)
        else:
            names = References.of(refundReference=request.name)
            answer = refunds.query(call, merchant, names, sync=True, now=now)
        return answer.response if isinstance(answer, Replay) else encode(self._held_to(answer))

    def _held_to(self, answer: Any) -> Any:
        """What the merchant gets to see; it will hold us to it."""
        if isinstance(answer, OrderResult):
            self._world.told.orders.append((answer.view.order.id, answer.view.order.status))
        else:
            self._world.told.refunds.append((answer.refund.id, answer.refund.status))
        return answer

    def _encoder(self, merchant: MerchantSnapshot) -> Callable[[Any], bytes]:
        def encode(result: OrderResult | RefundResult) -> bytes:
            if isinstance(result, OrderResult):
                message: Message = order_message(result.view, merchant, BASE)
            else:
                message = refund_message(result.refund, result.order, merchant)
            return b"%d" % result.created + message.SerializeToString(deterministic=True)

        return encode
