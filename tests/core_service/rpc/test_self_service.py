"""What a merchant's people do for themselves: profile, test event, secrets, request log, signature explainer."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from core_service import metadata
from core_service.application import callback_settings, merchant_cache, request_log
from core_service.domain import callback
from core_service.storage.database import connection_scope, execute, fetch_all, fetch_one
from core_service.storage.secret_box import SecretBox
from novapay.merchants.v1 import merchant_service_pb2 as pb
from tests.core_service.merchant_rows import KnownMerchant, insert_key, insert_merchant
from tests.core_service.rpc.running import (
    CREATE,
    QUERY,
    Metadata,
    invoke,
    order_request,
    reason,
    signed_metadata,
)
from tests.core_service.staff_rows import as_staff
from tests.core_service.whole_core import whole_core
from tests.core_service.workers.receiver import Receiver, answer, receiver
from tests.stack import wait_until

MERCHANT = "/novapay.merchants.v1.MerchantService/"


@pytest.fixture(scope="module")
def channel(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[grpc.Channel]:
    with whole_core(module_database_url, tmp_path_factory.mktemp("core")) as channel:
        yield channel


@pytest.fixture
def merchant(channel: grpc.Channel, box: SecretBox) -> KnownMerchant:
    return insert_merchant(box)


@pytest.fixture
def owner(merchant: KnownMerchant) -> Metadata:
    return as_staff(merchant)


@pytest.fixture
def shop() -> Iterator[Receiver]:
    with receiver() as shop:
        yield shop


def ask(channel: grpc.Channel, name: str, request: Any, sent: Metadata) -> Any:
    return invoke(channel, MERCHANT + name, request, sent)[0]


def update(channel: grpc.Channel, merchant: KnownMerchant, sent: Metadata, **fields: Any) -> Any:
    return ask(
        channel, "UpdateMerchant", pb.UpdateMerchantRequest(id=merchant.code, **fields), sent
    )


def column(merchant: KnownMerchant, name: str) -> Any:
    with connection_scope():
        row = fetch_one(f"SELECT {name} FROM merchants WHERE id = %s", (merchant.id,))
    assert row is not None
    return row[name]


def has_callback_base(merchant: KnownMerchant, url: str) -> None:
    with connection_scope():
        execute(
            "UPDATE merchants SET callback_base = %s, version = version + 1 WHERE id = %s",
            (url, merchant.id),
        )


# Profile ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "fields", "expected"),
    [
        ("OWNER", {"contact_name": "Li"}, "OK"),
        ("OWNER", {"callback_base": "https://shop.example.com/pay"}, "OK"),
        ("OWNER", {"return_delay_seconds": 3}, "OK"),
        ("DEVELOPER", {"api_ip_whitelist": "192.0.2.0/24"}, "OK"),
        ("DEVELOPER", {"contact_name": "Li"}, "PERMISSION_DENIED"),
        ("OPERATIONS", {"contact_name": "Li"}, "PERMISSION_DENIED"),
        ("VIEWER", {"contact_name": "Li"}, "PERMISSION_DENIED"),
        ("OWNER", {"code": "other"}, "PERMISSION_DENIED"),
        ("OWNER", {"status": pb.MERCHANT_STATUS_APPROVED}, "PERMISSION_DENIED"),
        ("OWNER", {"review_note": "fine"}, "PERMISSION_DENIED"),
        ("OWNER", {"notify_secret": "whsec_of-my-own-making"}, "PERMISSION_DENIED"),
    ],
)
def test_what_staff_may_change_about_their_merchant(
    channel: grpc.Channel, merchant: KnownMerchant, role: str, fields: Any, expected: str
) -> None:
    assert reason(update(channel, merchant, as_staff(merchant, role), **fields)) == expected


def test_who_the_merchant_is_stays_as_it_was_approved(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    """What is still empty may be filled in."""
    assert reason(update(channel, merchant, owner, legal_name="Tea Ltd")) == "OK"
    refusal = update(channel, merchant, owner, legal_name="Other Ltd", name="Other")
    assert [violation.field for violation in refusal.violations] == ["legalName", "name"]
    assert column(merchant, "legal_name") == "Tea Ltd"


def test_a_rejected_merchant_asks_again_with_a_changed_profile(
    channel: grpc.Channel, box: SecretBox
) -> None:
    merchant = insert_merchant(box, status="REJECTED", legal_name="Tea", review_note="Full name?")
    sent = as_staff(merchant)
    seen = ask(channel, "GetMerchant", pb.GetMerchantRequest(id=merchant.code), sent).merchant
    assert seen.review_note == "Full name?"
    answer = update(channel, merchant, sent, callback_base="https://shop.example.com/")
    assert answer.merchant.status == pb.MERCHANT_STATUS_REJECTED
    answer = update(channel, merchant, sent, legal_name="Tea Ltd")
    assert answer.merchant.status == pb.MERCHANT_STATUS_PENDING


def test_staff_are_not_told_which_operator_approved(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    with connection_scope():
        execute(
            "UPDATE merchants SET approved_by = 'ops@example.com' WHERE id = %s", (merchant.id,)
        )
    for seen in (
        ask(channel, "GetMerchant", pb.GetMerchantRequest(id=merchant.code), owner),
        update(channel, merchant, owner, contact_name="Li"),
    ):
        assert not seen.merchant.HasField("approved_by")


# Test event ---------------------------------------------------------------------------------------


def test_a_test_event_is_signed_and_confirms_the_address(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, shop: Receiver
) -> None:
    has_callback_base(merchant, shop.url)
    sent = ask(channel, "SendTestCallback", pb.SendTestCallbackRequest(), owner)
    (received,) = shop.wait_for(1)
    assert sent.delivered
    assert (sent.http_status, sent.response_body, sent.url) == (200, "ok", shop.url)
    assert received.body.decode() == sent.request_body
    assert received.json["event"] == "merchant.test"
    shown = {header.name: header.value for header in sent.request_headers}
    assert shown.items() <= received.headers.items()
    assert received.headers["x-novapay-event"] == "merchant.test"
    assert "x-novapay-order-id" not in received.headers
    assert received.is_signed_with("notify")
    assert column(merchant, "callback_confirmed_at") is not None
    update(channel, merchant, owner, callback_base=f"{shop.url}/other")
    assert column(merchant, "callback_confirmed_at") is None
    with connection_scope():
        records = fetch_all(
            "SELECT after FROM audit_records WHERE action = 'merchant.test_callback' "
            "AND target = %s",
            (f"merchant:{merchant.id}",),
        )
    assert len(records) == 1
    assert json.loads(records[0]["after"])["httpStatus"] == 200


def test_a_test_event_that_fails_shows_how(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, shop: Receiver
) -> None:
    shop.behaviour = answer(500, body=b"broken \xff")
    has_callback_base(merchant, shop.url)
    sent = ask(channel, "SendTestCallback", pb.SendTestCallbackRequest(), owner)
    assert (sent.delivered, sent.http_status, sent.response_body) == (False, 500, "broken �")
    has_callback_base(merchant, "http://127.0.0.1:1/callback")
    sent = ask(channel, "SendTestCallback", pb.SendTestCallbackRequest(), owner)
    assert not sent.HasField("http_status")
    assert sent.error
    assert column(merchant, "callback_confirmed_at") is None


def test_a_test_event_needs_an_address(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    refusal = ask(channel, "SendTestCallback", pb.SendTestCallbackRequest(), owner)
    assert [violation.field for violation in refusal.violations] == ["callbackBase"]


def test_test_events_are_limited(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, shop: Receiver
) -> None:
    has_callback_base(merchant, shop.url)
    with connection_scope():
        execute(
            "INSERT INTO sign_in_failures VALUES (%s, %s, now() + interval '1 minute')",
            (f"test-callback:{merchant.id}", callback_settings.TESTS_AT_ONCE),
        )
    refusal = ask(channel, "SendTestCallback", pb.SendTestCallbackRequest(), owner)
    assert reason(refusal) == "RATE_LIMITED"
    assert shop.received == []


# Secret rotation ----------------------------------------------------------------------------------


def headers_now(merchant: KnownMerchant, body: bytes, now: datetime) -> dict[str, str]:
    """What a callback of this moment carries."""
    with connection_scope():
        snapshot = merchant_cache.by_id(merchant.id)
    envelope = callback.Envelope("dlv_1", callback.ORDER_UPDATED, "po_1", merchant.code)
    return callback.signed_headers(envelope, body, snapshot.signing_secrets(now), now=now)


def verifies(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """By the public library that merchants use."""
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def rotate(channel: grpc.Channel, sent: Metadata, hours: int) -> Any:
    return ask(
        channel, "RotateNotifySecret", pb.RotateNotifySecretRequest(overlap_hours=hours), sent
    )


def test_both_secrets_verify_while_they_overlap(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    first = rotate(channel, owner, 0).secret
    second = rotate(channel, owner, 24).secret
    now, body = datetime.now(UTC), b'{"event":"x"}'
    headers = headers_now(merchant, body, now)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verifies(first, headers, body)
    assert verifies(second, headers, body)
    message = headers["x-novapay-timestamp"].encode() + b"." + body
    by_new = hmac.new(second.encode(), message, hashlib.sha256).hexdigest()
    assert headers["x-novapay-signature"] == by_new


def test_the_old_secret_ends(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    """At once without an overlap, with its end otherwise, and when a third one comes."""
    body = b"{}"
    first = rotate(channel, owner, 0).secret
    second = rotate(channel, owner, 1).secret
    with connection_scope():
        snapshot = merchant_cache.by_id(merchant.id)
    assert len(snapshot.signing_secrets(datetime.now(UTC) + timedelta(minutes=59))) == 2
    assert snapshot.signing_secrets(datetime.now(UTC) + timedelta(minutes=61)) == (second,)
    third = rotate(channel, owner, 1).secret
    headers = headers_now(merchant, body, datetime.now(UTC))
    assert [verifies(secret, headers, body) for secret in (first, second, third)] == [
        False,
        True,
        True,
    ]
    fourth = rotate(channel, owner, 0).secret
    headers = headers_now(merchant, body, datetime.now(UTC))
    assert [verifies(secret, headers, body) for secret in (third, fourth)] == [False, True]


def test_a_secret_is_shown_once_and_never_again(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    made = rotate(channel, owner, 24)
    seen = ask(channel, "GetMerchant", pb.GetMerchantRequest(id=merchant.code), owner).merchant
    assert seen.notify_secret == made.merchant.notify_secret
    assert "****" in seen.notify_secret
    assert seen.HasField("previous_notify_secret_until")
    with connection_scope():
        audit = fetch_all("SELECT * FROM audit_records")
        stored = fetch_one("SELECT * FROM merchants WHERE id = %s", (merchant.id,))
    assert made.secret not in repr(audit)
    assert made.secret not in repr(stored)


# Request log --------------------------------------------------------------------------------------


def logged(channel: grpc.Channel, sent: Metadata, **chosen: Any) -> Any:
    request = pb.ListSignedRequestsRequest(**chosen)
    return ask(channel, "ListSignedRequests", request, sent)


def test_signed_requests_are_logged_with_what_was_wrong(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    wrong = [
        (name, b"0" * 64 if name == metadata.SIGNATURE else value)
        for name, value in signed_metadata(merchant)
    ]
    unpriced = order_request(merchant)
    unpriced.subject = ""
    for request, sent in (
        (order_request(merchant), wrong),
        (unpriced, signed_metadata(merchant)),
        (order_request(merchant), signed_metadata(merchant)),
    ):
        invoke(channel, CREATE, request, sent)
    wait_until(lambda: len(logged(channel, owner).requests) == 3, what="the log")
    newest, middle, oldest = logged(channel, owner).requests
    assert [item.outcome for item in (newest, middle, oldest)] == [
        "MERCHANT_PROFILE_INCOMPLETE",
        "INVALID_REQUEST",
        "INVALID_SIGNATURE",
    ]
    assert "subject" in middle.detail
    assert {item.key_id for item in (newest, middle, oldest)} == {merchant.key.key_id}
    assert (oldest.operation, oldest.client_address) == ("CreatePaymentOrder", "192.0.2.7")
    page = logged(channel, owner, page_size=2)
    rest = logged(channel, owner, page_size=2, page_token=page.next_page_token)
    assert [item.request_id for item in (*page.requests, *rest.requests)] == [
        newest.request_id,
        middle.request_id,
        oldest.request_id,
    ]
    assert not rest.next_page_token


def test_the_log_is_chosen_from(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, box: SecretBox
) -> None:
    other = KnownMerchant(merchant.id, merchant.code, insert_key(box, merchant.id))
    for key in (merchant, other):
        invoke(channel, QUERY, None, signed_metadata(key))
    wait_until(lambda: len(logged(channel, owner).requests) == 2, what="the log")
    (chosen,) = logged(channel, owner, key_id=other.key.key_id).requests
    assert chosen.key_id == other.key.key_id
    assert len(logged(channel, owner, refused=True).requests) == 2


def test_a_flood_with_one_key_is_dropped_and_counted(
    merchant: KnownMerchant, channel: grpc.Channel, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = request_log._Waiting()
    noted = request_log.Noted(
        id="",
        at=datetime.now(UTC),
        operation="X",
        outcome="INVALID_SIGNATURE",
        detail=None,
        key_id=merchant.key.key_id.encode(),
        client_address=None,
        request_id="r",
        duration_ms=1,
    )
    for _ in range(request_log.MOST_WAITING + 5):
        waiting.note(noted)
    taken, dropped = waiting.take()
    assert (len(taken), dropped) == (request_log.MOST_WAITING, 5)
    assert waiting.take() == ([], 0)


def test_requests_with_unknown_keys_are_nobodys(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    unknown = [
        (name, b"npk_nobody" if name == metadata.API_KEY else value)
        for name, value in signed_metadata(merchant)
    ]
    assert reason(invoke(channel, CREATE, order_request(merchant), unknown)[0]) != "OK"
    invoke(channel, CREATE, order_request(merchant), signed_metadata(merchant))
    wait_until(lambda: len(logged(channel, owner).requests) == 1, what="the log")
    with connection_scope():
        assert fetch_one("SELECT 1 FROM signed_requests WHERE key_id = 'npk_nobody'") is None


# Signature explainer ------------------------------------------------------------------------------


def attempt(merchant: KnownMerchant, message: bytes | None = None, **fields: Any) -> Any:
    """A request signed over `message`, by default rightly."""
    timestamp, nonce = str(int(time.time())), "nonce-of-a-test"
    body = json.dumps({"merchantCode": merchant.code, "name": "茶"}).encode()
    whole = f"{timestamp}.{nonce}.".encode() + body
    signed = hmac.new(merchant.key.secret.encode(), message or whole, hashlib.sha256).hexdigest()
    values = {
        "key_id": merchant.key.key_id,
        "timestamp": timestamp,
        "nonce": nonce,
        "signature": signed,
        "body": body,
    }
    return pb.ExplainSignatureRequest(**{**values, **fields})


def explain(channel: grpc.Channel, sent: Metadata, request: Any) -> Any:
    return ask(channel, "ExplainSignature", request, sent)


def first_failure(found: Any) -> str | None:
    return next(
        (check.code for check in found.checks if check.HasField("holds") and not check.holds), None
    )


def test_a_right_signature(channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata) -> None:
    request = attempt(merchant)
    found = explain(channel, owner, request)
    assert found.string_to_sign == (f"{request.timestamp}.{request.nonce}.".encode() + request.body)
    assert all(check.holds for check in found.checks)
    assert not found.findings


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"body": b"["}, "INVALID_REQUEST"),
        ({"body": b'{"merchantCode":"other"}'}, "INVALID_SIGNATURE"),
        ({"key_id": ""}, "API_KEY_REQUIRED"),
        ({"key_id": "npk_nobody"}, "INVALID_API_KEY"),
        ({"nonce": ""}, "SIGNATURE_REQUIRED"),
        ({"nonce": "short"}, "INVALID_SIGNATURE_NONCE"),
        ({"timestamp": "yesterday"}, "INVALID_SIGNATURE_TIMESTAMP"),
        ({"timestamp": "1700000000"}, "SIGNATURE_EXPIRED"),
        ({"signature": "0" * 64}, "INVALID_SIGNATURE"),
    ],
)
def test_the_first_check_that_fails_is_the_one_that_a_request_gets(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, change: Any, expected: str
) -> None:
    assert first_failure(explain(channel, owner, attempt(merchant, **change))) == expected


def test_where_the_callers_string_differs(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    request = attempt(merchant)
    whole = f"{request.timestamp}.{request.nonce}.".encode() + request.body
    request.string_to_sign = whole.replace(b'": "', b'":"')
    found = explain(channel, owner, request).difference
    assert found.position == whole.index(b'": "') + 2
    assert found.expected.startswith(b' "')
    assert found.actual.startswith(b'"')
    request.string_to_sign = whole + b"\n"
    found = explain(channel, owner, request).difference
    assert (found.position, found.expected, found.actual) == (len(whole), b"", b"\n")
    request.string_to_sign = whole
    assert not explain(channel, owner, request).HasField("difference")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("{body}", "BODY_ONLY"),
        ("{timestamp}.{body}", "WITHOUT_NONCE"),
        ("{nonce}.{timestamp}.{body}", "NONCE_FIRST"),
        ("{timestamp}{nonce}{body}", "WITHOUT_DOTS"),
        ("{timestamp}.{nonce}.{body}\n", "BODY_WITH_NEWLINE"),
        ("{timestamp}.{nonce}.{compact}", "OTHER_JSON"),
        ("{timestamp}.{nonce}.", "EMPTY_BODY"),
    ],
)
def test_common_mistakes_are_named(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, message: str, expected: str
) -> None:
    right = attempt(merchant)
    compact = json.dumps(json.loads(right.body), separators=(",", ":"), ensure_ascii=False)
    text = message.format(
        timestamp=right.timestamp, nonce=right.nonce, body=right.body.decode(), compact=compact
    )
    wrong = attempt(merchant, text.encode(), timestamp=right.timestamp)
    assert explain(channel, owner, wrong).findings == [expected]


def test_a_signature_with_another_key_of_the_merchant(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata, box: SecretBox
) -> None:
    second = insert_key(box, merchant.id)
    request = attempt(merchant)
    request.key_id = second.key_id
    assert explain(channel, owner, request).findings == ["OTHER_KEY"]


def test_somebody_elses_key_is_an_unknown_one(
    channel: grpc.Channel, owner: Metadata, box: SecretBox
) -> None:
    """Nothing is said about its signature, right or wrong."""
    found = explain(channel, owner, attempt(insert_merchant(box)))
    checks = {check.code: check for check in found.checks}
    assert not checks["INVALID_API_KEY"].holds
    assert not checks["INVALID_SIGNATURE"].HasField("holds")
    assert not found.findings


def test_a_spent_nonce_is_noticed(
    channel: grpc.Channel, merchant: KnownMerchant, owner: Metadata
) -> None:
    invoke(channel, CREATE, order_request(merchant), signed_metadata(merchant, nonce="spent-nonce"))
    found = explain(channel, owner, attempt(merchant, nonce="spent-nonce"))
    checks = {check.code: check for check in found.checks}
    assert not checks["NONCE_REPLAYED"].holds
