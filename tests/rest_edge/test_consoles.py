"""What the consoles do with sessions, forms and files, through a real edge before a recording core."""

import re
from urllib.parse import urlencode

import pytest

from admin.console import ACCOUNT
from admin.operator import OperatorConsole
from admin.page import Page
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.schema import method_named
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


def pages() -> list[type[Page]]:
    return [page for family in OperatorConsole.families for page in family.pages if page.rpc]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.path)
def test_a_page_is_open_to_whoever_may_call_its_rpc(
    edge: Edge, core: RecordingCore, page: type[Page]
) -> None:
    """The recording core refuses nobody: it is the page that looks at the role."""
    allowed = method_named(page.rpc).roles
    for role in ("SUPER_ADMIN", "OPS_ADMIN", "FINANCE_ADMIN", "VIEWER"):
        number = access.OperatorRole.Value(f"OPERATOR_ROLE_{role}")
        operator = access.Operator(email="a@example.com", role=number)
        core.answer("GetSession", access.GetSessionResponse(operator=operator, csrf_token=CSRF))
        core.calls.clear()
        answer = edge.request("GET", re.sub(r"{\w+}", "x", page.path), headers=SIGNED_IN)
        assert (role in allowed) == (answer.status != 403), role
        if role not in allowed:
            assert ["GetSession"] == [call.method for call in core.calls]


@pytest.mark.parametrize("role", ["SUPER_ADMIN", "VIEWER"])
def test_the_navigation_shows_what_the_operator_may_open(
    edge: Edge, core: RecordingCore, role: str
) -> None:
    number = access.OperatorRole.Value(f"OPERATOR_ROLE_{role}")
    operator = access.Operator(email="a@example.com", role=number)
    core.answer("GetSession", access.GetSessionResponse(operator=operator, csrf_token=CSRF))
    page = edge.request("GET", "/admin/account", headers=SIGNED_IN).body.decode()
    shown = page.partition('<nav class="side"')[2].partition("</nav>")[0]
    for family in OperatorConsole.families:
        if family.group in ("", ACCOUNT):
            continue
        may = role in method_named(family.pages[0].rpc).roles
        assert may == (f'href="{family.path}"' in shown), family.name


def test_names_are_escaped(edge: Edge) -> None:
    page = edge.request("GET", "/admin/account", headers=SIGNED_IN).body
    assert b"A &lt;b&gt;" in page
    assert b"<b>" not in page


def test_whoever_must_change_their_password_is_led_there(edge: Edge, core: RecordingCore) -> None:
    core.answer("ListSystemConfigs", CoreError("PASSWORD_CHANGE_REQUIRED"))
    answer = edge.request("GET", "/admin/settings", headers=SIGNED_IN)
    assert (303, "/admin/account") == (answer.status, answer.headers["location"])


def test_a_reason_goes_along(edge: Edge, core: RecordingCore) -> None:
    fields = {
        "action": "change",
        "csrfToken": CSRF,
        "key": "K",
        "value": " 7 ",
        "auditReason": " 因为 ",
    }
    answer = post(edge, "/admin/settings", fields)
    assert (303, "/admin/settings") == (answer.status, answer.headers["location"])
    call = core.calls[-1]
    assert "UpdateSystemConfigs" == call.method
    assert ("K", "7") == (call.request.configs[0].key, call.request.configs[0].value)
    assert "因为".encode() == call.metadata["x-novapay-reason-bin"]


def test_what_is_wrong_stands_beside_the_field_and_nothing_is_lost(
    edge: Edge, core: RecordingCore
) -> None:
    refusal = invalid_request(FieldViolation("email", "must be at least 3 characters"))
    core.answer("CreateOperator", refusal)
    fields = {"action": "create", "csrfToken": CSRF, "email": "x", "name": "N", "dialog": "add",
              "role": "OPS_ADMIN"}  # fmt: skip
    answer = post(edge, "/admin/operators", fields)
    page = answer.body.decode()
    assert 400 == answer.status
    assert re.search(r'<dialog id="add"[^>]* data-open>', page)
    assert re.search(r'name="email" value="x"[^>]*aria-invalid="true"', page)
    assert '<option value="OPS_ADMIN" selected>' in page
    assert "INVALID_REQUEST" in page


def test_a_password_that_was_made_is_shown_once(edge: Edge, core: RecordingCore) -> None:
    core.answer("CreateOperator", access.CreateOperatorResponse(first_password="made-<once>"))
    fields = {"action": "create", "csrfToken": CSRF, "email": "x@example.com", "role": "VIEWER"}
    answer = post(edge, "/admin/operators", fields)
    assert 200 == answer.status
    assert b"made-&lt;once&gt;" in answer.body
    assert "no-store" == answer.headers["cache-control"]
    assert "set-cookie" not in answer.headers
