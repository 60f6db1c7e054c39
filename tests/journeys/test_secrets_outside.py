"""What payers, merchants' endpoints and callers get to see holds none of a merchant's secrets: S04."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.journeys.canaries import canaries_of, parts_of
from tests.payer import Payer
from tests.stack import Merchant, Receiver, Stack, wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("channel", ["alipay.page", "wxpay.native"])
def test_s04_payloads_pages_and_callbacks_hold_no_secret(
    stack: Stack, merchant: Merchant, payer: Payer, receiver: Receiver, notify_secret: str,
    configurations: Mapping[str, Any], channel: str,
) -> None:  # fmt: skip
    config = configurations[channel]
    canaries = canaries_of(config) | {merchant.secret, notify_secret, stack.service_token}
    # The address for notifications is part of what is signed for Alipay; its token is shown to nobody else.
    token = stack.accounts_of[merchant.code][channel]["callbackToken"]
    created = merchant.create_order(channel, callbackUrl=receiver.url)
    order = created.json["order"]
    pages = (f"/pay/{order['id']}", f"/pay/{order['id']}/return")
    seen = [created.raw, *(stack.http.request("GET", page).raw for page in pages)]
    payer.pay(order)
    wait_until(lambda: receiver.about(order["id"]), what="the callback")
    for headers, body in receiver.received:
        seen += [json.dumps(headers).encode(), body]
    assert merchant.refund(order["id"], "1.00").status == 200
    seen.append(json.dumps(merchant.order(order["id"])).encode())
    for text in seen:
        for canary in (*canaries, *([] if channel == "alipay.page" else [token])):
            for part in parts_of(canary):
                assert part.encode() not in text
