"""Requests made from the served document by Schemathesis, right ones and wrong ones: every answer is in the document.

`NOVAPAY_GENERATED_REQUESTS` says how many (`make generated-requests` sends many more), `NOVAPAY_GENERATED_SEED` which.
Merchant requests are signed over the bytes that are sent; a share of them names real orders and refunds.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.payer import Payer
from tests.proof_line import tell
from tests.stack import AdminSession, Merchant, Stack
from tests.stack_fixtures import open_shop

COUNT = int(os.environ.get("NOVAPAY_GENERATED_REQUESTS", "240"))
SEED = int(os.environ.get("NOVAPAY_GENERATED_SEED", "20260101"))
NOT_HERE = {
    "signIn": "wrong passwords lock the operator out, and the tests that follow",
    "signOut": "ends the session that the others need",
}
OF_THE_SERVER = ("414", "431")  # the HTTP server refuses so before it knows the operation
SKIPPED_PREFIXES = ("/pay/", "/docs", "/openapi", "/api/openapi")  # pages and the document itself


@dataclass
class Sender:
    """Makes a generated case real, sends it, and compares the answer with the document."""

    stack: Stack
    shop: Merchant
    admin: AdminSession
    known: dict[str, list[Any]]
    """Name of a path or body field → values that exist."""
    findings: dict[tuple[str, str], str] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    session: requests.Session = field(default_factory=requests.Session)

    def send(self, case: Any, draw: st.DataObject) -> None:
        raw = case.operation.definition.raw
        is_signed = any(item["name"] == "x-novapay-key" for item in raw.get("parameters", ()))
        if draw.draw(st.booleans()):
            self._make_likelier(case, draw, raw)
        request = self._request(case, is_signed=is_signed and draw.draw(st.integers(0, 7)) > 0)
        answer = self.session.send(request, timeout=30, allow_redirects=False)
        self.statuses[str(answer.status_code)] += 1
        for problem in problems(raw["responses"], answer):
            what = f"{request.method} {request.url} {request.body!r} answered {answer.text[:400]}"
            self.findings.setdefault((raw["operationId"], problem), what)

    def _make_likelier(self, case: Any, draw: st.DataObject, raw: Any) -> None:
        """Name real things, and take some fields from the document's sample, so that more than the form is tried."""
        path = case.path_parameters or {}
        for name in path:
            values = self.known.get(f"{raw['operationId']}.{name}") or self.known.get(name)
            if values:
                path[name] = draw.draw(st.sampled_from(values))
        if not isinstance(case.body, dict):
            return
        sample = raw["requestBody"]["content"]["application/json"]["example"]
        for name in case.body:
            if name in self.known:
                case.body[name] = draw.draw(st.sampled_from(self.known[name]))
            elif name in sample and draw.draw(st.integers(0, 3)):
                case.body[name] = sample[name]

    def _request(self, case: Any, *, is_signed: bool) -> requests.PreparedRequest:
        parts = case.as_transport_kwargs(base_url=self.stack.base)
        for unused in ("cookies", "timeout", "verify", "cert", "proxies", "allow_redirects"):
            parts.pop(unused, None)
        request = requests.Request(**parts).prepare()
        for name in list(request.headers):
            if name.lower().startswith("x-novapay-") or name.lower() == "cookie":
                del request.headers[name]
        body: Any = request.body or b""
        if is_signed:
            signed = self.shop.sign(body.encode() if isinstance(body, str) else body)
            request.headers.update(signed)
        if case.operation.path.startswith("/api/admin/"):
            request.headers.update({"cookie": self.admin.cookie, "origin": self.admin.origin})
        return request


def problems(documented: Any, answer: requests.Response) -> Iterator[str]:
    """In what an answer differs from the document; a provider may fail, we may not."""
    status = str(answer.status_code)
    response = documented.get(status)
    if status in OF_THE_SERVER:
        return
    if response is None:
        yield f"{status} is not in the document"
        return
    media = response.get("content", {}).get("application/json")
    if media is None:
        return
    try:
        body = answer.json()
        jsonschema.validate(body, media["schema"])
    except (ValueError, jsonschema.ValidationError) as error:
        yield f"the body of {status} does not fit the document: {str(error).splitlines()[0]}"
        return
    if status >= "400":
        if body["code"] not in response["x-codes"]:
            yield f"{status} {body['code']} is not in the document"
        if status >= "500" and not body["code"].startswith("PROVIDER_"):
            yield f"{status} {body['code']}"


@pytest.fixture(scope="module")
def sender(stack: Stack, configurations: Any, admin: AdminSession) -> Sender:
    """A shop of its own, so that nobody else's merchant is changed, with an order and a refund."""
    shop, opened = open_shop(stack, configurations)
    accounts: dict[str, Any] = dict(opened)
    payer = Payer(stack, accounts)
    paid = payer.paid_alipay(shop)
    refund = shop.refund(paid["id"], "1.00").json["refund"]
    unpaid = shop.create_order("wxpay.native").json["order"]
    orders = [paid["id"], unpaid["id"], paid["externalOrderId"]]
    known: dict[str, list[Any]] = {
        "merchantCode": [shop.code],
        "amount": ["88.10", "0.01", 12.3, "1e2", "0", "100000000.01"],
        "orderReference": orders,
        "orderId": orders,
        "refundReference": [refund["id"], refund["externalRefundId"]],
        "refundId": [refund["id"]],
        "retryCallback.id": orders,
        "getMerchant.id": [shop.code],
        "updateMerchant.id": [stack.new_merchant().code],
        "accountId": [account["id"] for account in accounts.values()],
        "token": [account["callbackToken"] for account in accounts.values()],
    }
    return Sender(stack, shop, admin, known)


def operations(document: Any) -> list[Any]:
    schema = schemathesis.openapi.from_dict(document)
    results: Any = schema.get_all_operations()
    found = [result.ok() for result in results]
    return [
        operation
        for operation in found
        if not operation.path.startswith(SKIPPED_PREFIXES)
        and operation.definition.raw["operationId"] not in NOT_HERE
    ]


ENOUGH_TO_CREATE = 20


@pytest.mark.slow
@pytest.mark.timeout(max(120, COUNT))
def test_every_answer_is_in_the_document(sender: Sender) -> None:
    document = json.loads(sender.stack.http.request("GET", "/openapi.json").raw)
    chosen = operations(document)
    each = max(1, COUNT // (len(chosen) * len(GenerationMode)))
    for operation in chosen:
        for mode in GenerationMode:

            @hypothesis.seed(SEED)
            @settings(
                max_examples=each,
                phases=[Phase.generate],
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode), draw=st.data())
            def send(case: Any, draw: st.DataObject) -> None:
                sender.send(case, draw)

            try:
                send()
            except hypothesis.errors.Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, operation.path  # nothing can be wrong
    tell(
        "generated requests",
        seed=SEED,
        requests=sum(sender.statuses.values()),
        statuses=dict(sender.statuses),
    )
    assert not sender.findings, "\n".join(
        f"{name}: {problem}: {what}" for (name, problem), what in sender.findings.items()
    )
    # A short run draws too few requests of each operation to be sure that one of them makes something.
    wanted = {"200", "400", "401", "404", *(["201"] if each >= ENOUGH_TO_CREATE else [])}
    assert wanted <= set(sender.statuses)
