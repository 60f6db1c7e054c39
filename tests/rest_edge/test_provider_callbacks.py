"""Provider notifications: bytes in, bytes out."""

import json

import pytest

from core_service.errors import CoreError
from novapay.payments.v1 import payment_service_pb2 as payments
from tests.rest_edge.conftest import Edge, RecordingCore

ALIPAY = "/api/payments/callback/alipay/acc_1/tok-1"
WXPAY = "/api/payments/callback/wxpay/acc_1/tok-1"


def answer(
    status: int, content_type: str = "", body: bytes = b""
) -> payments.HandleProviderNotificationResponse:
    return payments.HandleProviderNotificationResponse(
        status=status, content_type=content_type, body=body
    )


def test_everything_is_forwarded_as_it_came(edge: Edge, core: RecordingCore) -> None:
    core.answer("HandleProviderNotification", answer(200, "text/plain", b"success"))
    body = b"a=%E4%B8%AD&sign=x+y\x00\xff"
    answered = edge.request("POST", ALIPAY + "?q=%20+&q=2", body, {"Wechatpay-Nonce": b"\xe9 n"})
    request = core.only_call.request
    assert ("alipay", "acc_1", "tok-1", "POST") == (
        request.provider,
        request.account_id,
        request.token,
        request.method,
    )
    assert (b"q=%20+&q=2", body) == (request.query, request.body)
    headers = {header.name: header.value for header in request.headers}
    assert b"\xe9 n" == headers["wechatpay-nonce"]
    assert (200, b"success") == (answered.status, answered.body)
    assert "text/plain" == answered.headers["content-type"]


def test_query_string_notification(edge: Edge, core: RecordingCore) -> None:
    core.answer("HandleProviderNotification", answer(200, "text/plain", b"success"))
    assert b"success" == edge.request("GET", ALIPAY + "?a=1").body
    assert ("GET", b"a=1", b"") == (
        core.only_call.request.method,
        core.only_call.request.query,
        core.only_call.request.body,
    )


def test_no_content(edge: Edge, core: RecordingCore) -> None:
    core.answer("HandleProviderNotification", answer(204))
    answered = edge.request("POST", WXPAY, b"{}")
    assert (204, b"") == (answered.status, answered.body)
    assert "wxpay" == core.only_call.request.provider


def test_wechat_is_only_posted(edge: Edge) -> None:
    assert 405 == edge.request("GET", WXPAY).status


@pytest.mark.parametrize(
    ("reason", "status"),
    [("INVALID_NOTIFICATION", 400), ("NOT_FOUND", 404), ("DATABASE_UNAVAILABLE", 503)],
)
def test_refusals(edge: Edge, core: RecordingCore, reason: str, status: int) -> None:
    core.answer("HandleProviderNotification", CoreError(reason))
    alipay, wxpay = edge.request("POST", ALIPAY, b"a=1"), edge.request("POST", WXPAY, b"{}")
    assert (status, status) == (alipay.status, wxpay.status)
    assert reason == alipay.json["code"]
    assert {"error", "code", "details"} == set(alipay.json)
    assert ("FAIL", wxpay.json["error"]) == (wxpay.json["code"], wxpay.json["message"])
    assert (status == 503) == ("retry-after" in wxpay.headers)


def test_refusal_made_by_the_core_itself_is_passed_on(edge: Edge, core: RecordingCore) -> None:
    refusal = json.dumps({"code": "FAIL", "message": "x"}).encode()
    core.answer("HandleProviderNotification", answer(400, "application/json", refusal))
    answered = edge.request("POST", WXPAY, b"{}")
    assert (400, refusal) == (answered.status, answered.body)


@pytest.mark.usefixtures("core")
def test_tokens_are_not_logged(edge: Edge) -> None:
    edge.request("POST", "/api/payments/callback/wxpay/acc_1/canary-token", b"{}")
    assert "canary-token" not in edge.log.read_text()


def test_what_the_edge_itself_refuses_wechat_has_its_words_too(edge: Edge) -> None:
    path = "/api/payments/callback/wxpay/acc_1/token"
    refused = [edge.request("GET", path), edge.request("POST", path, b"x" * (256 * 1024 + 1))]
    assert [answer.status for answer in refused] == [405, 413]
    for answer in refused:
        assert ("FAIL", answer.json["error"]) == (answer.json["code"], answer.json["message"])
