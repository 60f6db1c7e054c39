"""A merchant's logo and return delay, and finding merchants, through a real server."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from core_service.storage.database import fetch_all
from novapay.merchants.v1 import merchant_service_pb2 as pb
from tests.core_service.rpc.admin_server import (
    AdminServer,
    named_fields,
    refusal_of,
    running_admin_server,
)
from tests.pictures import png, webp_lossy


@pytest.fixture(scope="module")
def server(module_database_url: str) -> Iterator[AdminServer]:
    with running_admin_server(module_database_url) as running:
        yield running


def make(server: AdminServer, **fields: Any) -> pb.Merchant:
    code = f"shop-{secrets.token_hex(5)}"
    request = pb.CreateMerchantRequest(**{"code": code, "name": "Shop", **fields})
    merchant: pb.Merchant = server.merchants.CreateMerchant(request).merchant
    return merchant


def set_logo(server: AdminServer, merchant: pb.Merchant, content: bytes) -> pb.Merchant:
    request = pb.SetMerchantLogoRequest(id=merchant.code, content=content)
    changed: pb.Merchant = server.merchants.SetMerchantLogo(request).merchant
    return changed


def audits(merchant: pb.Merchant) -> list[dict[str, Any]]:
    rows = fetch_all(
        "SELECT after FROM audit_records WHERE target = %s ORDER BY id",
        (f"merchant:{merchant.id}",),
    )
    return [json.loads(row["after"]) for row in rows]


def test_logo_is_set_replaced_and_removed(server: AdminServer) -> None:
    merchant = make(server)
    assert merchant.logo_etag == ""
    first = set_logo(server, merchant, png(64, 64))
    again = set_logo(server, merchant, png(64, 64))
    assert first == again
    shown = server.merchants.GetMerchantLogo(pb.GetMerchantLogoRequest(id=merchant.id))
    assert (shown.content_type, shown.content) == ("image/png", png(64, 64))
    assert shown.etag == first.logo_etag != ""
    second = set_logo(server, merchant, webp_lossy(64, 64))
    assert second.logo_etag not in ("", first.logo_etag)
    assert set_logo(server, merchant, b"").logo_etag == ""
    gone = refusal_of(server.merchants.GetMerchantLogo, pb.GetMerchantLogoRequest(id=merchant.id))
    assert gone.reason == "NOT_FOUND"
    # One record for each change, none for the repeat, and never the picture itself.
    _, *changes = audits(merchant)
    assert changes == [
        {"logoEtag": first.logo_etag},
        {"logoEtag": second.logo_etag},
        {"logoEtag": None},
    ]


def test_what_is_no_picture_is_refused_and_changes_nothing(server: AdminServer) -> None:
    merchant = make(server)
    for content in (b"<svg onload='x()'/>", png(8, 8), png(64, 64) + bytes(33000)):
        request = pb.SetMerchantLogoRequest(id=merchant.id, content=content)
        assert named_fields(refusal_of(server.merchants.SetMerchantLogo, request)) == ["content"]
    assert len(audits(merchant)) == 1
    request = pb.SetMerchantLogoRequest(id="no-such", content=png(64, 64))
    assert refusal_of(server.merchants.SetMerchantLogo, request).reason == "MERCHANT_NOT_FOUND"


def change_delay(server: AdminServer, merchant: pb.Merchant, seconds: int) -> pb.Merchant:
    request = pb.UpdateMerchantRequest(
        id=merchant.id,
        return_delay_seconds=seconds,
        update_mask=FieldMask(paths=["return_delay_seconds"]),
    )
    changed: pb.Merchant = server.merchants.UpdateMerchant(request).merchant
    return changed


def test_return_delay_is_five_seconds_until_it_is_changed(server: AdminServer) -> None:
    merchant = make(server)
    assert merchant.return_delay_seconds == 5
    assert change_delay(server, merchant, 0).return_delay_seconds == 0
    assert change_delay(server, merchant, 60).return_delay_seconds == 60
    assert audits(merchant)[1:] == [{"returnDelaySeconds": 0}, {"returnDelaySeconds": 60}]
    for seconds in (-1, 61):
        request = pb.UpdateMerchantRequest(id=merchant.id, return_delay_seconds=seconds)
        error = refusal_of(server.merchants.UpdateMerchant, request)
        assert named_fields(error) == ["returnDelaySeconds"]
    cleared = pb.UpdateMerchantRequest(
        id=merchant.id, update_mask=FieldMask(paths=["return_delay_seconds"])
    )
    assert named_fields(refusal_of(server.merchants.UpdateMerchant, cleared)) == [
        "returnDelaySeconds"
    ]


def found(server: AdminServer, **chosen: Any) -> list[str]:
    page = server.merchants.ListMerchants(pb.ListMerchantsRequest(**chosen))
    return [merchant.code for merchant in page.merchants]


def test_merchants_are_found_by_any_of_their_names(server: AdminServer) -> None:
    mark = secrets.token_hex(4)
    tea = make(server, name=f"Tea {mark}", legal_name="茶叶有限公司" + mark)
    silk = make(server, contact_email=f"Silk_{mark}@example.com")
    pending = pb.MerchantStatus.Value("MERCHANT_STATUS_PENDING")
    waiting = server.merchants.CreateMerchant(
        pb.CreateMerchantRequest(code=f"wait-{mark}", name="Waiting", status=pending)
    ).merchant
    assert found(server, search=mark.upper()) == [waiting.code, silk.code, tea.code]
    assert found(server, search=f"公司{mark}") == [tea.code]
    assert found(server, search=f"silk_{mark}@") == [silk.code]
    assert found(server, search=f"silk%{mark}") == []  # a wildcard is a character like others
    page = server.merchants.ListMerchants(pb.ListMerchantsRequest(search=mark, status=pending))
    assert [merchant.code for merchant in page.merchants] == [waiting.code]
