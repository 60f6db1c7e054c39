"""Attempts against real endpoints: what is sent, what is kept, and what follows each misbehaviour."""

import base64
import hashlib
import hmac
import json
import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core_service.application import callback_attempts
from core_service.outbound_http import CallbackClient
from core_service.storage import sealed_places
from core_service.storage.database import execute
from tests.core_service.certificates import self_signed_context
from tests.core_service.raw_server import raw_server
from tests.core_service.workers.callback_steps import (
    announce,
    attempts_of,
    configure,
    delivery_of,
    let_pauses_pass,
    outcomes_of,
    paid_order,
    send_due,
)
from tests.core_service.workers.receiver import (
    Behaviour,
    Receiver,
    answer,
    drip,
    endless,
    hang,
    hang_up,
    receiver,
    reset,
)
from tests.factories import TEST_BOX, make_merchant, make_order

pytestmark = pytest.mark.usefixtures("wired")


def test_v10_v11_a_2xx_is_delivered_and_everything_is_kept(shop: Receiver) -> None:
    merchant, order_id = paid_order(shop.url)
    shop.behaviour = answer(204, body=b"")
    assert [result.delivered for result in send_due() if result] == [True]

    (request,) = shop.received
    delivery = delivery_of(order_id)
    assert request.body == bytes(delivery["body"])
    assert request.json["order"]["merchantCode"] == merchant.code
    assert request.is_signed_with(merchant.notify_secret)
    assert verified_by_standard_webhooks(request.headers, request.body, merchant.notify_secret)
    assert request.delivery_id == delivery["id"] == request.headers["webhook-id"]
    assert (delivery["status"], delivery["lease_until"]) == ("DELIVERED", None)
    assert delivery["delivered_at"] is not None
    (attempt,) = attempts_of(order_id)
    assert (attempt["number"], attempt["outcome"], attempt["http_status"]) == (1, "delivered", 204)
    assert (attempt["url"], attempt["error"]) == (shop.url, None)
    kept = json.loads(attempt["request_headers"])
    assert kept["x-novapay-signature"] == request.headers["x-novapay-signature"]
    assert merchant.notify_secret not in attempt["request_headers"]
    assert attempt["finished_at"] >= attempt["started_at"]
    assert send_due() == []


def test_the_orders_own_address_comes_first(shop: Receiver) -> None:
    merchant = make_merchant(callback_base="http://127.0.0.1:9/never")
    announce(make_order(merchant, status="FAILED", callback_url=f"{shop.url}?own=1"))
    send_due()
    assert [request.path for request in shop.received] == ["/callback?own=1"]


@pytest.mark.parametrize(
    ("behaviour", "http_status", "error"),
    [
        (answer(500), 500, "the merchant answered 500"),
        (answer(404), 404, "the merchant answered 404"),
        (answer(410), 410, "the merchant answered 410"),
        (reset, None, "reset"),
        (hang_up, None, "reset"),
    ],
)
def test_m03_failures_are_kept_and_tried_again(
    shop: Receiver, behaviour: Behaviour, http_status: int | None, error: str
) -> None:
    _, order_id = paid_order(shop.url)
    shop.behaviour = behaviour
    send_due()
    delivery = delivery_of(order_id)
    assert (delivery["status"], delivery["lease_until"]) == ("PENDING", None)
    assert 12 - 1 <= delivery["pause"].total_seconds() <= 18
    (attempt,) = attempts_of(order_id)
    assert (attempt["outcome"], attempt["http_status"]) == ("failed", http_status)
    assert error in attempt["error"]

    shop.behaviour = answer(200)
    assert send_due() == []  # not before its time
    let_pauses_pass()
    send_due()
    assert outcomes_of(order_id) == ["failed", "delivered"]
    assert len({(request.delivery_id, request.body) for request in shop.received}) == 1


@pytest.mark.parametrize("behaviour", [hang, drip])
def test_m01_an_answer_that_is_not_whole_in_time_is_none(
    shop: Receiver, behaviour: Behaviour
) -> None:
    configure(callback_timeout_ms=300)
    _, order_id = paid_order(shop.url)
    shop.behaviour = behaviour
    send_due()
    (attempt,) = attempts_of(order_id)
    assert (attempt["outcome"], attempt["http_status"]) == ("failed", None)
    assert "timeout" in attempt["error"]
    assert delivery_of(order_id)["status"] == "PENDING"


def test_m02_redirects_are_failures_and_never_followed(shop: Receiver) -> None:
    with receiver() as elsewhere:
        shop.behaviour = answer(307, headers={"Location": elsewhere.url})
        _, order_id = paid_order(shop.url)
        send_due()
        assert elsewhere.received == []
    assert attempts_of(order_id)[0]["http_status"] == 307
    assert delivery_of(order_id)["status"] == "PENDING"


@pytest.mark.parametrize(("status", "wish", "pause"), [(429, "300", 300), (503, "86400", 43200)])
def test_m04_retry_after_sets_the_due_time(
    shop: Receiver, status: int, wish: str, pause: int
) -> None:
    shop.behaviour = answer(status, headers={"Retry-After": wish})
    _, order_id = paid_order(shop.url)
    send_due()
    assert pause - 5 <= delivery_of(order_id)["pause"].total_seconds() <= pause


def test_m05_of_an_endless_answer_four_kib_are_kept(shop: Receiver) -> None:
    shop.behaviour = endless
    _, order_id = paid_order(shop.url)
    send_due()
    (attempt,) = attempts_of(order_id)
    assert (attempt["http_status"], bytes(attempt["response_body"])) == (200, b"x" * 4096)


def test_m06_a_certificate_that_nobody_vouches_for_fails(tmp_path: Path) -> None:
    def ok(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with raw_server(ok, self_signed_context(tmp_path, "localhost")) as server:
        _, order_id = paid_order(f"https://localhost:{server.port}/")
        send_due()
        assert server.heads == []
    (attempt,) = attempts_of(order_id)
    assert (attempt["outcome"], attempt["http_status"]) == ("failed", None)
    assert "tls" in attempt["error"]


def test_one_log_line_for_each_attempt_with_ids_and_no_bodies(shop: Receiver) -> None:
    shop.behaviour = answer(500, body=b"canary of the merchant's answer")
    merchant, order_id = paid_order(shop.url)
    with capture_logs() as lines:
        send_due()
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "callback_attempt",
        "log_level": "info",
        "merchant_id": merchant.id,
        "order_id": order_id,
        "refund_id": None,
        "delivery_id": delivery_of(order_id)["id"],
        "event_type": "payment.order.updated",
        "attempt": 1,
        "delivered": False,
        "http_status": 500,
        "error": "the merchant answered 500",
        "next_status": "PENDING",
        "recorded": True,
    }


@pytest.fixture
def no_exceptions(wired: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Public addresses only; every name is internal."""
    client = CallbackClient((), resolver=lambda _host, _port: ["10.0.0.7"])
    monkeypatch.setattr(callback_attempts, "_client", client)
    return wired


@pytest.mark.usefixtures("no_exceptions")
@pytest.mark.parametrize("host", ["127.0.0.1", "shop.example"])
def test_m08_internal_addresses_are_not_called(shop: Receiver, host: str) -> None:
    _, order_id = paid_order(shop.url.replace("127.0.0.1", host))
    send_due()
    assert shop.received == []
    assert "forbidden" in attempts_of(order_id)[0]["error"]
    assert delivery_of(order_id)["status"] == "PENDING"


def test_an_address_that_cannot_be_parsed_fails_like_any_other() -> None:
    _, order_id = paid_order("ftp://shop.example")
    send_due()
    assert outcomes_of(order_id) == ["failed"]


def test_m10_down_for_two_hours_then_back(shop: Receiver) -> None:
    with receiver() as closed:
        down = closed.url
    merchant, order_id = paid_order(down)
    for _ in range(6):  # 15 + 45 + … + 3645 s
        send_due()
        let_pauses_pass()
    execute(
        "UPDATE merchants SET callback_base = %s, version = version + 1 WHERE id = %s",
        (shop.url, merchant.id),
    )
    send_due()
    assert outcomes_of(order_id) == ["failed"] * 6 + ["delivered"]
    delivery = delivery_of(order_id)
    assert shop.received[0].body == bytes(delivery["body"])
    assert shop.received[0].delivery_id == delivery["id"]
    assert [attempt["number"] for attempt in attempts_of(order_id)] == [1, 2, 3, 4, 5, 6, 7]


def test_m11_all_attempts_used_up_and_a_later_event_counts_anew(shop: Receiver) -> None:
    shop.behaviour = answer(500)
    merchant = make_merchant(callback_base=shop.url)
    order_id = make_order(merchant, status="CANCELLED")
    announce(order_id)
    for _ in range(14):
        assert len(send_due()) == 1
        let_pauses_pass()
    assert send_due() == []
    delivery = delivery_of(order_id)
    assert (delivery["status"], delivery["attempt_count"]) == ("FAILED", 14)

    execute(
        """
        UPDATE payment_orders SET status = 'SUCCEEDED', paid_amount_fen = amount_fen, paid_at = now()
        WHERE id = %s
        """,
        (order_id,),
    )
    announce(order_id)
    send_due()
    assert len(shop.received) == 15
    assert shop.received[14].delivery_id != shop.received[13].delivery_id


def test_m12_each_attempt_uses_the_secret_and_address_of_its_time(shop: Receiver) -> None:
    shop.behaviour = answer(500)
    merchant, order_id = paid_order(shop.url)
    send_due()
    let_pauses_pass()
    with receiver() as moved:
        secret = "another test secret"
        sealed = TEST_BOX.seal(secret.encode(), sealed_places.notify_secret(merchant.id))
        execute(
            """
            UPDATE merchants SET callback_base = %s, notify_secret_sealed = %s, version = version + 1
            WHERE id = %s
            """,
            (moved.url, sealed, merchant.id),
        )
        send_due()
        (request,) = moved.received
        assert request.is_signed_with(secret)
        assert not request.is_signed_with(merchant.notify_secret)
    assert shop.received[0].is_signed_with(merchant.notify_secret)
    assert outcomes_of(order_id) == ["failed", "delivered"]


def test_m12_switched_off_meanwhile_is_a_failed_attempt_without_a_request(shop: Receiver) -> None:
    merchant, order_id = paid_order(shop.url)
    switch = "UPDATE merchants SET callback_enabled = %s, version = version + 1 WHERE id = %s"
    execute(switch, (False, merchant.id))
    send_due()
    assert shop.received == []
    (attempt,) = attempts_of(order_id)
    assert (attempt["outcome"], attempt["url"]) == ("failed", None)
    assert "switched off" in attempt["error"]

    execute(switch, (True, merchant.id))
    let_pauses_pass()
    send_due()
    assert delivery_of(order_id)["status"] == "DELIVERED"


def verified_by_standard_webhooks(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """The verification of standardwebhooks.com, written from its text."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def test_m04_a_wish_that_no_calendar_has_is_an_attempt_like_any_other(shop: Receiver) -> None:
    configure(callback_max_attempts=2)
    shop.behaviour = answer(503, headers={"Retry-After": "Mon, 01 Jan 99999999999999 00:00:00 GMT"})
    _, order_id = paid_order(shop.url)
    for _ in range(2):
        send_due()
        let_pauses_pass()
    assert outcomes_of(order_id) == ["failed", "failed"]
    assert delivery_of(order_id)["status"] == "FAILED"


def test_our_own_failure_after_sending_counts_as_an_attempt(
    shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> callback_attempts.Posted:
        raise ZeroDivisionError

    configure(callback_max_attempts=1)
    _, order_id = paid_order(shop.url)
    monkeypatch.setattr(callback_attempts, "post", fail)
    send_due()
    (attempt,) = attempts_of(order_id)
    assert (attempt["outcome"], attempt["error"]) == (
        "failed",
        "NovaPay's own failure: ZeroDivisionError",
    )
    assert delivery_of(order_id)["status"] == "FAILED"
