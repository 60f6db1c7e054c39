"""Operators' sessions, CSRF, and what reaches the core from operator routes."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from core_service.errors import CoreError
from novapay.access.v1 import access_service_pb2 as access
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from tests.rest_edge.conftest import Answered, Edge, RecordingCore, running_edge

SESSION = "/api/admin/session"
MERCHANTS = "/api/admin/merchants"
TOKEN = "test-session-token-0123456789abcdef"  # a test token
COOKIE = f"novapay_admin_session={TOKEN}"
CSRF = hashlib.sha256(f"csrf:{TOKEN}".encode()).hexdigest()
HERE = "http://pay.example.test"


@pytest.fixture(scope="module")
def https_edge(
    recording_core: RecordingCore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    with running_edge(
        tmp_path_factory.mktemp("https"),
        NOVAPAY_GRPC_BIND=recording_core.address,
        NOVAPAY_PUBLIC_BASE_URL="https://pay.example.test",
    ) as running:
        yield running


def sign_in(edge: Edge, core: RecordingCore, **headers: str) -> Answered:
    core.answer(
        "SignIn",
        access.SignInResponse(
            session_token=TOKEN,
            csrf_token=CSRF,
            operator=access.Operator(email="a@example.com", role=access.OPERATOR_ROLE_OPS_ADMIN),
            expires_at=Timestamp(seconds=1_780_286_400),
        ),
    )
    body = {"email": "a@example.com", "password": "p", "otp": "123456"}
    return edge.request("POST", SESSION, body, {"content-type": "application/json", **headers})


def change(
    edge: Edge, body: Any = None, method: str = "POST", path: str = MERCHANTS, **headers: str
) -> Answered:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return edge.request(method, path, body or {"code": "acme", "name": "A"}, names)


def test_a13_sign_in_sets_a_cookie_and_hides_the_token(edge: Edge, core: RecordingCore) -> None:
    answer = sign_in(edge, core)
    assert f"{COOKIE}; Path=/; HttpOnly; SameSite=Lax" == answer.headers["set-cookie"]
    assert TOKEN.encode() not in answer.body
    assert ("OPS_ADMIN", CSRF) == (answer.json["operator"]["role"], answer.json["csrfToken"])
    assert "2026-06-01T04:00:00.000Z" == answer.json["expiresAt"]
    assert ("a@example.com", "p", "123456") == (
        core.only_call.request.email,
        core.only_call.request.password,
        core.only_call.request.otp,
    )


def test_a13_cookie_on_https(https_edge: Edge, core: RecordingCore) -> None:
    answer = sign_in(https_edge, core)
    cookie = f"__Host-novapay_admin_session={TOKEN}; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert cookie == answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"]
    assert 401 == https_edge.request("GET", MERCHANTS, headers={"cookie": COOKIE}).status


def test_a13_sign_out_ends_the_session_on_the_server(edge: Edge, core: RecordingCore) -> None:
    answer = edge.request("DELETE", SESSION, headers={"cookie": COOKIE, "origin": HERE})
    assert 204 == answer.status
    assert answer.headers["set-cookie"].startswith("novapay_admin_session=; ")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert ("SignOut", TOKEN.encode()) == (
        core.only_call.method,
        core.only_call.metadata["x-novapay-session-bin"],
    )


def test_show_session(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetSession", access.GetSessionResponse(csrf_token=CSRF))
    assert CSRF == edge.request("GET", SESSION, headers={"cookie": COOKIE}).json["csrfToken"]
    assert 401 == edge.request("GET", SESSION).status


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "INVALID_JSON"), (b"[]", "INVALID_JSON"), (b'{"email":5}', "INVALID_REQUEST")],
)
def test_sign_in_with_a_broken_body(
    edge: Edge, core: RecordingCore, body: bytes, code: str
) -> None:
    answer = edge.request("POST", SESSION, body, {"content-type": "application/json"})
    assert (400, code) == (answer.status, answer.json["code"])
    assert [] == core.calls


def test_a15_refused_sign_in_sets_no_cookie(edge: Edge, core: RecordingCore) -> None:
    core.answer("SignIn", CoreError("ADMIN_UNAUTHENTICATED"))
    answer = edge.request(
        "POST", SESSION, {"email": "a", "password": "b"}, {"content-type": "application/json"}
    )
    assert 401 == answer.status
    assert "set-cookie" not in answer.headers


def test_a14_sign_in_from_another_site(edge: Edge, core: RecordingCore) -> None:
    answer = sign_in(edge, core, origin="https://evil.example")
    assert (403, "CSRF_REJECTED") == (answer.status, answer.json["code"])
    assert [] == core.calls
    assert 200 == sign_in(edge, core, origin=HERE).status


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "novapay_admin_session=",
        "novapay_admin_session=short",
        f"other={TOKEN}",
        f"{COOKIE}; {COOKIE}x",
        "novapay_admin_session=" + "x" * 129,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_session(edge: Edge, core: RecordingCore, cookie: str, method: str) -> None:
    headers = {"cookie": cookie, "origin": HERE, "content-type": "application/json"}
    answer = edge.request(method, MERCHANTS, {"code": "a"} if method == "POST" else None, headers)
    assert (401, "ADMIN_UNAUTHENTICATED") == (answer.status, answer.json["code"])
    assert [] == core.calls


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "https://pay.example.test"},
        {"origin": "http://pay.example.test.evil.example"},
        {"origin": "http://pay.example.test@evil.example"},
        {"origin": "http://pay.example.test:81"},
        {"referer": "https://evil.example/?http://pay.example.test/"},
        {"origin": "https://evil.example", "referer": HERE + "/x"},
        {"x_csrf_token": "wrong"},
        {"x_csrf_token": ""},
        {"x_csrf_token": hashlib.sha256(b"csrf:").hexdigest()},
        {"x_csrf_token": "\xe9"},
    ],
)
def test_a14_changes_from_elsewhere_are_refused(
    edge: Edge, core: RecordingCore, headers: dict[str, str]
) -> None:
    answer = change(edge, cookie=COOKIE, content_type="application/json", **headers)
    assert (403, "CSRF_REJECTED") == (answer.status, answer.json["code"])
    assert [] == core.calls


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": HERE},
        {"origin": HERE.upper()},
        {"referer": HERE + "/admin/merchants?x=1"},
        {"x_csrf_token": CSRF},
    ],
)
def test_a14_changes_from_here_pass(
    edge: Edge, core: RecordingCore, headers: dict[str, str]
) -> None:
    answer = change(edge, cookie=COOKIE, content_type="application/json; charset=utf-8", **headers)
    assert 201 == answer.status
    assert TOKEN.encode() == core.only_call.metadata["x-novapay-session-bin"]


@pytest.mark.usefixtures("core")
def test_a14_origin_of_the_host_that_was_asked(edge: Edge) -> None:
    origin = f"http://127.0.0.1:{edge.port}"
    assert 201 == change(edge, cookie=COOKIE, content_type="application/json", origin=origin).status


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_changes_need_json(edge: Edge, core: RecordingCore, content_type: str) -> None:
    answer = change(edge, cookie=COOKIE, origin=HERE, content_type=content_type)
    assert (400, "content-type") == (answer.status, answer.json["details"][0]["field"])
    assert [] == core.calls


def test_change_without_a_body_needs_no_content_type(edge: Edge, core: RecordingCore) -> None:
    headers = {"cookie": COOKIE, "origin": HERE}
    assert (
        200
        == edge.request(
            "POST", "/api/admin/payment-orders/po_1/retry-callback", headers=headers
        ).status
    )
    assert "po_1" == core.only_call.request.id


def test_answer_is_the_merchant_itself(edge: Edge, core: RecordingCore) -> None:
    core.answer(
        "CreateMerchant", merchants.CreateMerchantResponse(merchant=merchants.Merchant(id="mch_1"))
    )
    assert (
        "mch_1"
        == change(edge, cookie=COOKIE, origin=HERE, content_type="application/json").json["id"]
    )


def test_put_names_the_fields_it_has(edge: Edge, core: RecordingCore) -> None:
    change(
        edge,
        {"legalName": None, "id": "mch_1"},
        "PUT",
        MERCHANTS + "/mch_1",
        cookie=COOKIE,
        origin=HERE,
        content_type="application/json",
    )
    request = core.only_call.request
    assert ("mch_1", ["legal_name"]) == (request.id, list(request.update_mask.paths))


def test_queries_by_either_name(edge: Edge, core: RecordingCore) -> None:
    edge.request(
        "GET",
        MERCHANTS + "?code=a%20b&page_size=2&page_token=t&unknown=1",
        headers={"cookie": COOKIE},
    )
    request = core.only_call.request
    assert ("a b", 2, "t") == (request.code, request.page_size, request.page_token)
    core.calls.clear()
    edge.request(
        "GET",
        "/api/admin/merchant-channel-bindings?merchantCode=x&pageSize=3",
        headers={"cookie": COOKIE},
    )
    assert ("x", 3) == (core.only_call.request.merchant_code, core.only_call.request.page_size)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=x", "pageSize"),
        ("page_size=", "pageSize"),
        ("code=a&code=b", "code"),
        ("page_size=1e1", "pageSize"),
    ],
)
def test_i06_wrong_queries_are_violations(
    edge: Edge, core: RecordingCore, query: str, field: str
) -> None:
    edge.request("GET", f"{MERCHANTS}?{query}", headers={"cookie": COOKIE})
    assert [field] == [name for name, _ in core.only_call.violations]


@pytest.mark.parametrize(
    ("query", "violations"),
    [("code=%00", ["code"]), ("code=a%7f", ["code"]), ("code=%ff", []), ("%00=1", [])],
)
def test_i08_odd_bytes_in_queries(
    edge: Edge, core: RecordingCore, query: str, violations: list[str]
) -> None:
    assert 200 == edge.request("GET", f"{MERCHANTS}?{query}", headers={"cookie": COOKIE}).status
    assert violations == [name for name, _ in core.only_call.violations]


def test_credentials_of_merchants_do_not_travel_on_operator_routes(
    edge: Edge, core: RecordingCore
) -> None:
    edge.request("GET", MERCHANTS, headers={"cookie": COOKIE, "x-novapay-key": "npk_1"})
    assert "x-novapay-key-bin" not in core.only_call.metadata
    assert "x-novapay-body-bin" not in core.only_call.metadata
