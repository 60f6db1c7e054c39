"""Who may call what, over real gRPC: credentials, nonces, field rules, and what goes back beside the answer."""

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from core_service import metadata
from core_service.client import EdgeChannels, service_channel
from core_service.errors import CoreError, FieldViolation
from core_service.rpc.interceptors import call_of
from core_service.rpc.server import CoreServer
from core_service.storage.database import execute
from core_service.storage.secret_box import SecretBox
from novapay.merchants.v1 import merchant_service_pb2, merchant_service_pb2_grpc
from novapay.payments.v1 import payment_service_pb2
from tests.core_service.merchant_rows import KnownMerchant, change, insert_merchant
from tests.core_service.rpc.running import (
    CHANNELS,
    CREATE,
    MERCHANTS,
    QUERY,
    TOKEN,
    channel_to,
    invoke,
    order_request,
    reason,
    running_server,
    signed_metadata,
    spend_in_transaction,
)


@pytest.fixture
def merchant(core_database: str, box: SecretBox) -> KnownMerchant:
    return insert_merchant(box)


@pytest.fixture
def channel(core_database: str) -> Iterator[grpc.Channel]:
    """To a server whose create spends the nonce in its transaction; its query leaves it."""
    with (
        running_server({CREATE: spend_in_transaction(lambda: None)}) as server,
        channel_to(server) as channel,
    ):
        yield channel


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (CREATE, "API_KEY_REQUIRED"),
        (MERCHANTS, "ADMIN_UNAUTHENTICATED"),
        (CHANNELS, "OK"),
    ],
)
def test_s05_without_credentials(channel: grpc.Channel, path: str, expected: str) -> None:
    assert reason(invoke(channel, path)[0]) == expected


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer wrong", TOKEN, f"bearer {TOKEN}x"])
@pytest.mark.parametrize("path", [CREATE, MERCHANTS, CHANNELS])
def test_s05_a_wrong_service_token_opens_nothing(
    channel: grpc.Channel, path: str, value: str
) -> None:
    assert reason(invoke(channel, path, sent=[("authorization", value)])[0]) == "UNAUTHENTICATED"


def test_unauthenticated_is_the_grpc_code(channel: grpc.Channel) -> None:
    stub = merchant_service_pb2_grpc.MerchantServiceStub(channel)
    with pytest.raises(grpc.RpcError) as refusal:
        stub.ListMerchants(merchant_service_pb2.ListMerchantsRequest(), timeout=5)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_service_token_opens_every_rpc(core_database: str, merchant: KnownMerchant) -> None:
    with running_server() as server, service_channel(f"127.0.0.1:{server.port}", TOKEN) as channel:
        for path in (MERCHANTS, CHANNELS):
            assert reason(invoke(channel, path)[0]) == "OK"
        assert reason(invoke(channel, CREATE, order_request(merchant))[0]) == "OK"


def test_merchant_call(channel: grpc.Channel, merchant: KnownMerchant) -> None:
    answer, trailing = invoke(channel, CREATE, order_request(merchant), signed_metadata(merchant))
    assert answer.created
    assert re.fullmatch("[0-9a-f]{32}", trailing[metadata.REQUEST_ID])
    assert trailing[metadata.PROCESS]


@pytest.mark.parametrize("path", [CREATE, QUERY])
def test_a01_a_replay_fails_whether_or_not_the_handler_spends_the_nonce(
    channel: grpc.Channel, merchant: KnownMerchant, path: str
) -> None:
    request: Any = order_request(merchant)
    if path == QUERY:
        request = payment_service_pb2.QueryPaymentOrderRequest(
            merchant_code=merchant.code, order_reference="x"
        )
    sent = signed_metadata(merchant)
    assert reason(invoke(channel, path, request, sent)[0]) == "OK"
    assert reason(invoke(channel, path, request, sent)[0]) == "NONCE_REPLAYED"


def test_a01_one_of_many_at_once_passes(channel: grpc.Channel, merchant: KnownMerchant) -> None:
    sent = signed_metadata(merchant)
    with ThreadPoolExecutor(8) as pool:
        reasons = list(
            pool.map(
                lambda _: reason(invoke(channel, CREATE, order_request(merchant), sent)[0]),
                range(8),
            )
        )
    assert sorted(reasons) == ["NONCE_REPLAYED"] * 7 + ["OK"]


def test_a_replay_wins_over_wrong_fields(channel: grpc.Channel, merchant: KnownMerchant) -> None:
    request = order_request(merchant)
    request.subject = ""
    sent = signed_metadata(merchant)
    assert reason(invoke(channel, CREATE, request, sent)[0]) == "INVALID_REQUEST"
    assert reason(invoke(channel, CREATE, request, sent)[0]) == "NONCE_REPLAYED"


def test_a_refused_effect_still_spends_the_nonce(
    core_database: str, merchant: KnownMerchant
) -> None:
    def refuse() -> None:
        raise CoreError("AMOUNT_TOO_SMALL")

    with (
        running_server({CREATE: spend_in_transaction(refuse)}) as server,
        channel_to(server) as channel,
    ):
        sent = signed_metadata(merchant)
        first = invoke(channel, CREATE, order_request(merchant), sent)[0]
        second = invoke(channel, CREATE, order_request(merchant), sent)[0]
    assert [reason(first), reason(second)] == ["AMOUNT_TOO_SMALL", "NONCE_REPLAYED"]


def test_a_503_leaves_the_nonce_for_the_next_try(
    core_database: str, merchant: KnownMerchant
) -> None:
    failures = [CoreError("OVERLOADED")]

    def sometimes() -> None:
        if failures:
            raise failures.pop()

    with (
        running_server({CREATE: spend_in_transaction(sometimes)}) as server,
        channel_to(server) as channel,
    ):
        sent = signed_metadata(merchant)
        first = invoke(channel, CREATE, order_request(merchant), sent)[0]
        second = invoke(channel, CREATE, order_request(merchant), sent)[0]
    assert [reason(first), reason(second)] == ["OVERLOADED", "OK"]


def test_authentication_comes_before_field_rules(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    sent = [pair for pair in signed_metadata(merchant) if pair[0] != metadata.SIGNATURE]
    request = payment_service_pb2.CreatePaymentOrderRequest(merchant_code=merchant.code)
    assert reason(invoke(channel, CREATE, request, sent)[0]) == "SIGNATURE_REQUIRED"
    request.merchant_code = ""
    assert reason(invoke(channel, CREATE, request, sent)[0]) == "INVALID_REQUEST"


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "{}x", "[" * 8_000])
def test_json_text_of_internal_callers_must_be_an_object(channel: grpc.Channel, text: str) -> None:
    """It stands in answers and callbacks as it is."""
    request = payment_service_pb2.CreatePaymentOrderRequest(metadata=text)
    refusal, _ = invoke(channel, CREATE, request, [(metadata.SERVICE_TOKEN, f"Bearer {TOKEN}")])
    assert FieldViolation("metadata", "must be a JSON object") in refusal.violations


def test_field_rules_and_forwarded_violations_are_one_list(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    forwarded = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field="externalOrderId", description="must be a string"
            )
        ]
    )
    request = order_request(merchant)
    request.external_order_id = ""
    request.currency = "USD"
    request.return_url = "https://shop.example/\0"
    sent = signed_metadata(merchant)
    sent.append((metadata.FIELD_VIOLATIONS, forwarded.SerializeToString()))
    refusal = invoke(channel, CREATE, request, sent)[0]
    assert reason(refusal) == "INVALID_REQUEST"
    assert refusal.violations[0] == FieldViolation("externalOrderId", "must be a string")
    assert [violation.field for violation in refusal.violations] == [
        "externalOrderId",
        "currency",
        "returnUrl",
    ]


def test_a_credential_that_comes_twice_counts_as_absent(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    sent = [*signed_metadata(merchant), (metadata.SIGNATURE, b"0" * 64)]
    refusal = invoke(channel, CREATE, order_request(merchant), sent)[0]
    assert reason(refusal) == "SIGNATURE_REQUIRED"


def test_a_merchant_changed_since_it_was_read_is_read_again(
    core_database: str, merchant: KnownMerchant
) -> None:
    """The second run of the handler sees the new name, and the order is created once."""
    seen: list[str] = []
    effects: list[str] = []

    def create(request: Any, context: grpc.ServicerContext) -> Any:
        seen.append(call_of(context).merchant.facts.name)
        return spend_in_transaction(lambda: effects.append("created"))(request, context)

    with running_server({CREATE: create}) as server, channel_to(server) as channel:
        invoke(channel, CREATE, order_request(merchant), signed_metadata(merchant))
        change(merchant.id, "UPDATE merchants SET name = 'New' WHERE id = %s", (merchant.id,))
        answer, _ = invoke(channel, CREATE, order_request(merchant), signed_metadata(merchant))
    assert answer.created
    assert seen == ["Test", "Test", "New"]
    assert effects == ["created", "created"]


def test_a08_a_key_revoked_elsewhere_stops_at_once(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    request = order_request(merchant)
    assert reason(invoke(channel, CREATE, request, signed_metadata(merchant))[0]) == "OK"
    change(
        merchant.id,
        "UPDATE credentials SET enabled = false WHERE key_id = %s",
        (merchant.key.key_id,),
    )
    refusal = invoke(channel, CREATE, request, signed_metadata(merchant))[0]
    assert reason(refusal) == "INVALID_API_KEY"


def test_a_sane_request_id_is_kept_also_with_an_error(channel: grpc.Channel) -> None:
    for sane in ("trace-0001", "7", "a" * 128):  # the edge keeps the same ones
        _, trailing = invoke(channel, MERCHANTS, sent=[(metadata.REQUEST_ID, sane)])
        assert trailing[metadata.REQUEST_ID] == sane
    _, trailing = invoke(channel, MERCHANTS, sent=[(metadata.REQUEST_ID, "no good")])
    assert re.fullmatch("[0-9a-f]{32}", trailing[metadata.REQUEST_ID])


def test_trailing_metadata_of_the_use_case_goes_back_with_an_error(core_database: str) -> None:
    def conflict(request: Any, context: grpc.ServicerContext) -> Any:
        call_of(context).trailing[metadata.IDEMPOTENCY_STATUS] = "conflict"
        raise CoreError("IDEMPOTENCY_CONFLICT", details={"key": "ü"})

    with running_server({CHANNELS: conflict}) as server, channel_to(server) as channel:
        refusal, trailing = invoke(channel, CHANNELS)
    assert trailing[metadata.IDEMPOTENCY_STATUS] == "conflict"
    assert refusal.reason == "IDEMPOTENCY_CONFLICT"
    assert refusal.details == {"key": "ü"}


def test_s03_an_unexpected_failure_says_nothing_but_is_logged(
    core_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(request: Any, context: grpc.ServicerContext) -> Any:
        execute("SELECT 'canary-secret' FROM nowhere")

    from core_service import logs

    logs.configure()
    with running_server({CHANNELS: fail}) as server, channel_to(server) as channel:
        refusal, trailing = invoke(channel, CHANNELS)
    assert refusal.reason == "INTERNAL"
    assert "canary" not in repr(trailing)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {line["request_id"] for line in lines} == {trailing[metadata.REQUEST_ID]}
    assert {line["event"] for line in lines} == {"unexpected failure", "rpc"}
    assert "UndefinedTable" in repr(lines)
    assert "canary" not in repr(lines)


def test_too_little_time_is_refused_before_any_work(core_database: str) -> None:
    ran = threading.Event()

    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        ran.set()
        return payment_service_pb2.ListChannelsResponse()

    with running_server({CHANNELS: handle}) as server, channel_to(server) as channel:
        assert reason(invoke(channel, CHANNELS, timeout=0.12)[0]) == "OVERLOADED"
        assert not ran.is_set()
        assert reason(invoke(channel, CHANNELS, timeout=None)[0]) == "OK"


def test_the_handlers_deadline_is_the_callers_less_the_margin(core_database: str) -> None:
    left: list[float] = []

    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        left.append(call_of(context).seconds_left())
        return payment_service_pb2.ListChannelsResponse()

    with running_server({CHANNELS: handle}) as server, channel_to(server) as channel:
        invoke(channel, CHANNELS, timeout=5)
        invoke(channel, CHANNELS, timeout=None)
    assert left[0] < 4.99
    assert 5 < left[1] < 9.95


def test_k10_while_the_database_is_known_to_be_away(core_database: str) -> None:
    with running_server(database_is_up=lambda: False) as server, channel_to(server) as channel:
        refusal = invoke(channel, CHANNELS)[0]
    assert (reason(refusal), refusal.retry_after_seconds) == ("DATABASE_UNAVAILABLE", 1)


def test_over_a_unix_socket(core_database: str, merchant: KnownMerchant, data_dir: Path) -> None:
    """Callers on this host may speak for others there too; the address is the forwarded one."""
    change(
        merchant.id,
        "UPDATE merchants SET api_ip_whitelist = '192.0.2.0/24' WHERE id = %s",
        (merchant.id,),
    )
    bind = f"unix:{data_dir}/core.sock"
    with running_server(bind=bind), grpc.insecure_channel(bind) as channel:
        request = order_request(merchant)
        assert reason(invoke(channel, CREATE, request, signed_metadata(merchant))[0]) == "OK"
        elsewhere = [
            (name, "198.51.100.1" if name == metadata.CLIENT_ADDRESS else value)
            for name, value in signed_metadata(merchant)
        ]
        assert reason(invoke(channel, CREATE, request, elsewhere)[0]) == "IP_NOT_ALLOWED"


async def _ask(server: CoreServer, merchant: KnownMerchant) -> Any:
    channels = EdgeChannels(f"127.0.0.1:{server.port}", count=2)
    sent = [pair for pair in signed_metadata(merchant) if pair[0] != metadata.CLIENT_ADDRESS]
    try:
        answer, _ = await channels.call(
            CREATE,
            order_request(merchant),
            payment_service_pb2.CreatePaymentOrderResponse,
            client_address="192.0.2.7",
            call_metadata=sent,
            timeout_seconds=5,
        )
    finally:
        await channels.close()
    return answer


def test_the_edges_channels(core_database: str, merchant: KnownMerchant) -> None:
    import asyncio

    create = spend_in_transaction(lambda: None)
    with running_server({CREATE: create}) as server:
        assert asyncio.run(_ask(server, merchant)).created
