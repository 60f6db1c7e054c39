"""`novapay demo`: takes a payment on each channel, shows the signed callback, refunds a part, and tells the story.

Uses the running stack, or starts one for the time of the demo. Every line is something that was seen: the
exit status is 0 only if all of it happened.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3

from sandbox.seed import base_url, env_path, read_env
from sandbox.settings import load_settings
from sandbox.shop import Shop

CHANNELS = ("alipay.page", "wxpay.native")
AMOUNT, REFUND = "88.10", "8.10"
START_SECONDS = 180
STEP_SECONDS = 30
_HTTP = urllib3.PoolManager(retries=False, timeout=10)


class StepFailed(Exception):
    """Something that should have happened did not; the text says what."""


class Story:
    """Prints each step with the time since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._began:7.2f} s  {text}\n")
        sys.stdout.flush()


def main() -> int:
    """0 when the whole story happened, 1 otherwise."""
    story = Story()
    try:
        with _running_stack(story):
            shop = Shop.from_environment(read_env())
            for channel in CHANNELS:
                _channel_story(story, shop, channel)
            _books(story)
    except StepFailed as failure:
        story.tell(f"FAILED  {failure}")
        return 1
    story.tell("done: paid, told and partly refunded on every channel")
    return 0


def _channel_story(story: Story, shop: Shop, channel: str) -> None:
    story.tell(f"--- {channel}")
    created = shop.post(
        "/api/payment-orders",
        {
            "channelCode": channel,
            "externalOrderId": f"demo-{time.time_ns()}",
            "amount": AMOUNT,
            "subject": "演示商品 Demo goods",
        },
    )
    _expect(created.status == 200, f"create answered {created.status}: {created.json}")
    order = created.json["order"]
    story.tell(
        f"order       {order['id']}  {order['amount']} {order['currency']}  {order['status']}"
    )
    story.tell(f"cashier     {order['hostedCheckoutUrl']}")

    _control("pay", {"url": order["checkoutUrl"]})
    story.tell("payer       paid in the sandbox's cashier")
    notification = _wait(
        lambda: _accepted_notification(order["id"]), "an accepted provider notification"
    )
    story.tell(f"notified    provider notification accepted with HTTP {notification['httpStatus']}")
    paid = _wait(
        lambda: _order_with_status(shop, order["id"], "SUCCEEDED"), "the order to become SUCCEEDED"
    )
    story.tell(f"paid        {paid['status']}, provider number {paid['gatewayOrderId']}")
    callback = _wait(
        lambda: _callback(order["id"], "payment.order.updated"), "a verified merchant callback"
    )
    story.tell(
        f"told        callback {callback['deliveryId']}, both signatures {callback['novapay']}"
    )

    refund = shop.post(
        f"/api/payment-orders/{order['id']}/refunds",
        {
            "externalRefundId": f"demo-{time.time_ns()}",
            "amount": REFUND,
            "reason": "演示退款 Demo refund",
        },
    )
    _expect(refund.status == 200, f"refund answered {refund.status}: {refund.json}")
    refund_id = refund.json["refund"]["id"]
    done = _wait(lambda: _refund_with_status(shop, refund_id, "SUCCEEDED"), "the refund to succeed")
    story.tell(f"refunded    {refund_id}  {done['amount']} of {AMOUNT}  {done['status']}")
    _wait(lambda: _callback(order["id"], "payment.refund.updated"), "the refund's callback")
    story.tell("told        refund callback, both signatures valid")


def _books(story: Story) -> None:
    """Asks the core whether every invariant that can be read from its rows holds."""
    done = subprocess.run(
        [sys.executable, "-m", "core_service.cli", "books", "verify", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    _expect(bool(done.stdout), f"novapay books: {done.stderr.strip()}")
    books = json.loads(done.stdout)
    broken = [check["name"] for check in books["checks"] if not check["holds"]]
    _expect(books["balanced"], f"the books are not in balance: {', '.join(broken)}")
    story.tell(
        f"books       ledger in balance: captured {books['capturedFen']} fen, refunded "
        f"{books['refundedFen']} fen, {len(books['checks'])} checks hold"
    )


def _accepted_notification(order_id: str) -> Any:
    url = f"http://{load_settings().bind}/control/books?outTradeNo={order_id}"
    for trade in json.loads(_HTTP.request("GET", url).data)["trades"]:
        for push in trade["notifications"]:
            for attempt in push["attempts"]:
                if attempt["accepted"]:
                    return attempt
    return None


def _order_with_status(shop: Shop, order_id: str, status: str) -> Any:
    order = shop.post(f"/api/payment-orders/{order_id}", {"sync": False}).json["order"]
    return order if order["status"] == status else None


def _refund_with_status(shop: Shop, refund_id: str, status: str) -> Any:
    refund = shop.post(f"/api/payment-refunds/{refund_id}", {}).json["refund"]
    return refund if refund["status"] == status else None


def _callback(order_id: str, event: str) -> Any:
    answer = _HTTP.request("GET", f"{read_env()['NOVAPAY_DEMO_CALLBACKS']}?orderId={order_id}")
    for delivery in json.loads(answer.data)["deliveries"]:
        verdicts = {delivery["novapay"], delivery["standardWebhooks"]}
        if delivery["event"] == event and verdicts == {"valid"}:
            return delivery
    return None


def _control(path: str, body: dict[str, Any]) -> None:
    answer = _HTTP.request("POST", f"http://{load_settings().bind}/control/{path}", json=body)
    _expect(answer.status < 300, f"the sandbox's {path} answered {answer.status}: {answer.data!r}")


def _wait(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + STEP_SECONDS
    while True:
        value = condition()
        if value:
            return value
        _expect(time.monotonic() < end, f"waited {STEP_SECONDS} s in vain for {what}")
        time.sleep(0.1)


def _expect(holds: object, text: str) -> None:
    if not holds:
        raise StepFailed(text)


@contextmanager
def _running_stack(story: Story) -> Iterator[None]:
    """The stack that runs already, or one of our own that is stopped at the end."""
    base = base_url()
    if read_env() and _is_up(base):
        story.tell(f"using the stack at {base}")
        yield
        return
    log = env_path().with_name("demo-stack.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    story.tell(f"starting the stack; it logs to {log}")
    command = [sys.executable, "-m", "core_service.cli", "up"]
    with log.open("ab") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        _await_ready(process)
        story.tell(f"stack ready at {base}")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _await_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    end = time.monotonic() + START_SECONDS
    for line in process.stdout:
        if line.startswith("ready"):
            return
        _expect(time.monotonic() < end, f"the stack was not ready within {START_SECONDS} s")
    raise StepFailed("the stack ended before it was ready; its log says why")


def _is_up(base: str) -> bool:
    try:
        return _HTTP.request("GET", f"{base}/api/health").status == 200
    except urllib3.exceptions.HTTPError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
