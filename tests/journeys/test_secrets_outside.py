"""What payers, merchants' endpoints and callers get to see holds none of a merchant's secrets: S04."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.payer import Payer
from tests.stack import Merchant, Receiver, Stack, wait_until

pytestmark = pytest.mark.slow


def strings_of(value: Any) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings_of(item)


@pytest.mark.parametrize("channel", ["alipay.page", "wxpay.native"])
def test_s04_payloads_pages_and_callbacks_hold_no_secret(
    stack: Stack, merchant: Merchant, payer: Payer, receiver: Receiver, notify_secret: str,
    configurations: Mapping[str, Any], channel: str,
) -> None:  # fmt: skip
    config = configurations[channel]
    canaries = {text for text in strings_of(config) if len(text) > 20} - public_texts(config)
    canaries |= {merchant.secret, notify_secret, stack.service_token}
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


def public_texts(config: Mapping[str, Any]) -> set[str]:
    """Names and addresses, which the provider shows as well, and public keys."""
    shown = ("appId", "mchId", "mchSerialNo", "sellerId", "gatewayUrl", "apiBaseUrl")
    return {
        text for name, value in config.items() if name in shown or "ublic" in name
        for text in strings_of(value)
    }  # fmt: skip


def parts_of(canary: str) -> Iterator[str]:
    """The text, or each line of a PEM."""
    yield from (line for line in canary.splitlines() if len(line) > 15 and "-----" not in line)
