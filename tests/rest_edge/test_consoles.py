"""What the consoles do with sessions, forms and files, through a real edge before a recording core."""

import re
from urllib.parse import urlencode

import pytest

from core_service.errors import CoreError
from novapay.access.v1 import access_service_pb2 as access
from tests.rest_edge.conftest import Answered, Edge, RecordingCore

TOKEN = "t" * 43
CSRF = "c" * 64
ORIGIN = "http://pay.example.test"
SIGNED_IN = {"cookie": f"novapay_admin_session={TOKEN}", "accept-language": "en"}


@pytest.fixture(autouse=True)
def session(core: RecordingCore) -> None:
    operator = access.Operator(
        email="a@example.com", name="A <b>", role=access.OPERATOR_ROLE_SUPER_ADMIN
    )
    core.answer("GetSession", access.GetSessionResponse(operator=operator, csrf_token=CSRF))
    core.answer("SignIn", access.SignInResponse(session_token=TOKEN, operator=operator))


def post(edge: Edge, path: str, fields: dict[str, str], **headers: str) -> Answered:
    return edge.request(
        "POST",
        path,
        urlencode(fields).encode(),
        {
            "content-type": "application/x-www-form-urlencoded",
            "origin": ORIGIN,
            **SIGNED_IN,
            **headers,
        },
    )


def test_without_a_session_every_page_leads_to_sign_in_and_back(edge: Edge) -> None:
    answer = edge.request("GET", "/admin/settings?a=b%20c")
    assert 303 == answer.status
    assert "/admin/sign-in?next=%2Fadmin%2Fsettings%3Fa%3Db%2Bc" == answer.headers["location"]


def test_a_session_that_is_over_leads_to_sign_in(edge: Edge, core: RecordingCore) -> None:
    core.answer("GetSession", CoreError("ADMIN_UNAUTHENTICATED"))
    assert "/admin/sign-in" in edge.request("GET", "/admin", headers=SIGNED_IN).headers["location"]


def test_signing_in_sets_the_cookie_and_goes_on(edge: Edge, core: RecordingCore) -> None:
    fields = {"action": "sign_in", "email": " a@example.com ", "password": " p ", "otp": ""}
    answer = post(edge, "/admin/sign-in?next=/admin/settings?a=b", fields)
    assert (303, "/admin/settings?a=b") == (answer.status, answer.headers["location"])
    assert (
        f"novapay_admin_session={TOKEN}; Path=/; HttpOnly; SameSite=Lax"
        == answer.headers["set-cookie"]
    )
    request = core.only_call.request
    assert ("a@example.com", " p ", False) == (
        request.email, request.password, request.HasField("otp"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.test/", "//evil.test", "/\\evil.test", "/admin/..//evil", "/administrator",
     "/pay/1", "/admin\n", "javascript:alert(1)", "/admin/sign-in", "admin"],
)  # fmt: skip
def test_signing_in_leads_to_no_other_place(edge: Edge, wanted: str) -> None:
    fields = {"action": "sign_in", "email": "a@example.com", "password": "p"}
    answer = post(edge, f"/admin/sign-in?{urlencode({'next': wanted})}", fields)
    assert (303, "/admin") == (answer.status, answer.headers["location"])


def test_a_refused_sign_in_shows_why_and_keeps_the_address(edge: Edge, core: RecordingCore) -> None:
    core.answer("SignIn", CoreError("RATE_LIMITED", retry_after_seconds=77))
    answer = post(
        edge, "/admin/sign-in", {"action": "sign_in", "email": '"><x>', "password": "p&q"}
    )
    page = answer.body.decode()
    assert 429 == answer.status
    assert "77" in page
    assert answer.headers["x-request-id"] in page
    assert 'value="&#34;&gt;&lt;x&gt;"' in page
    assert "p&amp;q" not in page


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "http://pay.example.test.evil"},
    ],
)
def test_a_form_of_another_site_does_nothing(
    edge: Edge, core: RecordingCore, headers: dict[str, str]
) -> None:
    fields = {"action": "sign_out", "csrfToken": CSRF}
    assert 403 == post(edge, "/admin/sign-out", fields, **headers).status
    assert ["GetSession"] == [call.method for call in core.calls]
    core.calls.clear()
    sign_in = {"action": "sign_in", "email": "a@example.com", "password": "p"}
    assert 403 == post(edge, "/admin/sign-in", sign_in, **headers).status
    assert [] == core.calls


@pytest.mark.parametrize("token", ["", "d" * 64, "é"])
def test_a_form_without_the_token_does_nothing(edge: Edge, core: RecordingCore, token: str) -> None:
    answer = post(edge, "/admin/sign-out", {"action": "sign_out", "csrfToken": token})
    assert 403 == answer.status
    assert ["GetSession"] == [call.method for call in core.calls]


def test_signing_out_ends_the_session_and_says_so_once(edge: Edge, core: RecordingCore) -> None:
    answer = post(edge, "/admin/sign-out", {"action": "sign_out", "csrfToken": CSRF})
    assert ["GetSession", "SignOut"] == [call.method for call in core.calls]
    cookies = answer.headers.get_all("set-cookie")
    assert (303, "/admin/sign-in") == (answer.status, answer.headers["location"])
    assert any(c.startswith("novapay_admin_session=;") and "Max-Age=0" in c for c in cookies)
    flash = next(c for c in cookies if c.startswith("novapay_flash=")).partition(";")[0]
    shown = edge.request(
        "GET", "/admin/sign-in", headers={"cookie": flash, "accept-language": "en"}
    )
    assert b"You are signed out." in shown.body
    assert shown.headers["set-cookie"].startswith("novapay_flash=;")


@pytest.mark.parametrize("flash", ["x", "W10=", "WyJmcmFtZS5ub3RoaW5nX2hlcmUiLCB7fV0=", "bnVsbA=="])
def test_a_message_that_is_none_of_ours_is_not_shown(edge: Edge, flash: str) -> None:
    answer = edge.request("GET", "/admin/sign-in", headers={"cookie": f"novapay_flash={flash}"})
    assert 200 == answer.status
    assert b'role="status"' not in answer.body


def test_language_and_appearance_are_kept(edge: Edge) -> None:
    answer = edge.request("GET", "/admin/sign-in?lang=en&next=/admin")
    assert (303, "/admin/sign-in?next=%2Fadmin") == (answer.status, answer.headers["location"])
    assert answer.headers["set-cookie"].startswith("novapay_language=en;")
    answer = edge.request("GET", "/admin/sign-in?theme=dark")
    kept = answer.headers["set-cookie"].partition(";")[0]
    shown = edge.request(
        "GET", "/admin/sign-in", headers={"cookie": f"novapay_language=en; {kept}"}
    )
    assert b'<html lang="en" data-theme="dark">' in shown.body
    ignored = edge.request("GET", "/admin/sign-in?lang=xx&theme=x")
    assert 200 == ignored.status


def test_pages_have_a_strict_policy_and_are_not_kept(edge: Edge) -> None:
    headers = edge.request("GET", "/admin/sign-in").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert ("no-store", "same-origin", "DENY") == (
        headers["cache-control"], headers["referrer-policy"], headers["x-frame-options"],
    )  # fmt: skip


def test_static_files_are_kept_for_ever_and_nothing_else_is_served(edge: Edge) -> None:
    page = edge.request("GET", "/admin/sign-in").body.decode()
    addresses = re.findall(r'(?:href|src)="(/admin/static/[^"]+)"', page)
    assert {"css", "js", "svg"} == {address.rpartition(".")[2] for address in addresses}
    for address in addresses:
        answer = edge.request("GET", address)
        assert 200 == answer.status
        assert "public, max-age=31536000, immutable" == answer.headers["cache-control"]
    for name in (
        "console.css",
        "..%2f..%2fapp.py",
        "%2e%2e",
        "vendored",
        "pico.min.css%00",
        "%C3%A9",
    ):
        assert 404 == edge.request("GET", f"/admin/static/{name}").status, name


def test_an_unknown_page_is_a_page_and_an_unknown_route_is_json(edge: Edge) -> None:
    for path in ("/admin/nowhere", "/admin/settings/x"):
        answer = edge.request("GET", path, headers={"accept-language": "en"})
        assert (404, "text/html; charset=utf-8") == (answer.status, answer.headers["content-type"])
        assert answer.headers["x-request-id"].encode() in answer.body
    assert 405 == edge.request("DELETE", "/admin/settings").status
    assert "NOT_FOUND" == edge.request("GET", "/administrator").json["code"]
    assert "NOT_FOUND" == edge.request("GET", "/adminx/").json["code"]


def test_names_are_escaped(edge: Edge) -> None:
    page = edge.request("GET", "/admin/nothing", headers=SIGNED_IN).body
    assert b"<b>" not in page
