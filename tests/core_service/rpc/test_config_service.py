"""Runtime settings and the audit log through a real server."""

import json
from collections.abc import Iterator

import pytest

from core_service.application import system_config
from core_service.settings import SYSTEM_CONFIG_DEFAULTS
from novapay.config.v1 import config_service_pb2 as pb
from novapay.merchants.v1 import merchant_service_pb2 as merchants_pb
from tests.core_service.rpc.admin_server import (
    AdminServer,
    named_fields,
    refusal_of,
    running_admin_server,
)


@pytest.fixture
def server(database_url: str) -> Iterator[AdminServer]:
    with running_admin_server(database_url) as running:
        yield running
    system_config.configure({key: str(value) for key, value in SYSTEM_CONFIG_DEFAULTS.items()})


def update(*changes: tuple[str, str]) -> pb.UpdateSystemConfigsRequest:
    return pb.UpdateSystemConfigsRequest(
        configs=[pb.SystemConfigChange(key=key, value=value) for key, value in changes]
    )


def test_settings_are_shown_and_changed(server: AdminServer) -> None:
    changed = server.config.UpdateSystemConfigs(
        update(("PAYMENT_EXPIRE_MINUTES", "45"), ("SETTLEMENT_HOLD_DAYS", "0"))
    )
    assert (changed.success, changed.updated) == (True, 2)
    assert system_config.current().payment_expire_minutes == 45
    listed = server.config.ListSystemConfigs(pb.ListSystemConfigsRequest()).configs
    assert [config.key for config in listed] == list(SYSTEM_CONFIG_DEFAULTS)
    values = {config.key: config.value for config in listed}
    assert (values["PAYMENT_EXPIRE_MINUTES"], values["CALLBACK_TIMEOUT_MS"]) == ("45", "10000")
    assert all(config.group and config.label and config.updated_at.seconds for config in listed)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (update(("CALLBACK_MAX_ATTEMPTS", "3"), ("NO_SUCH_KEY", "1")), "configs[1].key"),
        (update(("CALLBACK_MAX_ATTEMPTS", "3"), ("SETTLEMENT_HOLD_DAYS", "")), "configs[1].value"),
        (update(), "configs"),
    ],
)
def test_wrong_settings_are_named(
    server: AdminServer, request_: pb.UpdateSystemConfigsRequest, field: str
) -> None:
    assert named_fields(refusal_of(server.config.UpdateSystemConfigs, request_)) == [field]
    assert system_config.current().callback_max_attempts == 14


def test_audit_log_pages_and_filters(server: AdminServer) -> None:
    made = [
        server.merchants.CreateMerchant(
            merchants_pb.CreateMerchantRequest(code=f"shop-{index}", name="店 \u202e")
        ).merchant
        for index in range(3)
    ]
    server.config.UpdateSystemConfigs(update(("CALLBACK_MAX_ATTEMPTS", "3")))
    seen: list[str] = []
    request = pb.ListAuditRecordsRequest(page_size=3)
    while True:
        page = server.config.ListAuditRecords(request)
        seen += [record.target for record in page.records]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == ["system_config", *(f"merchant:{merchant.id}" for merchant in made[::-1])]

    target = f"merchant:{made[1].id}"
    (record,) = server.config.ListAuditRecords(pb.ListAuditRecordsRequest(target=target)).records
    assert (record.actor, record.action) == ("service", "merchant.create")
    assert not record.HasField("before")
    assert json.loads(record.after)["name"] == "店 \u202e"
    assert record.request_id
    nothing = server.config.ListAuditRecords(pb.ListAuditRecordsRequest(target="merchant:\n"))
    assert not nothing.records
