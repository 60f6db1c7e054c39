"""Two-step sign-in over real gRPC: switching it on and off, one-time codes, recovery codes."""

import base64
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
import pytest

from core_service import metadata
from core_service.domain import one_time_code
from core_service.storage.access import OperatorRow
from core_service.storage.database import connection_scope, execute, fetch_all
from novapay.access.v1 import access_service_pb2 as pb
from tests.core_service.rpc.operator_sessions import PASSWORD, ask, new_operator, open_session
from tests.core_service.rpc.running import Metadata, channel_to, reason, running_server

STEP = one_time_code.STEP_SECONDS


@pytest.fixture
def channel(core_database: str) -> Iterator[grpc.Channel]:
    with running_server() as server, channel_to(server) as channel:
        yield channel


@pytest.fixture
def operator(core_database: str) -> OperatorRow:
    return new_operator()


def begin(channel: grpc.Channel, sent: Metadata, password: str = PASSWORD) -> Any:
    return ask(channel, "AccessService.BeginTotp", pb.BeginTotpRequest(password=password), sent)


def confirm(channel: grpc.Channel, sent: Metadata, code: str) -> Any:
    return ask(channel, "AccessService.ConfirmTotp", pb.ConfirmTotpRequest(code=code), sent)


def disable(channel: grpc.Channel, sent: Metadata, code: str, password: str = PASSWORD) -> Any:
    request = pb.DisableTotpRequest(password=password, code=code)
    return ask(channel, "AccessService.DisableTotp", request, sent)


def sign_in(channel: grpc.Channel, operator: OperatorRow, otp: str | None = None) -> Any:
    request = pb.SignInRequest(email=operator.email, password=PASSWORD, otp=otp)
    sent: Metadata = [(metadata.CLIENT_ADDRESS, "192.0.2.7")]
    return ask(channel, "AccessService.SignIn", request, sent)


def code_of(secret: str, *, later: int = 0) -> str:
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return one_time_code.code_at(key, int(time.time()) // STEP + later)


def switched_on(channel: grpc.Channel, sent: Metadata) -> tuple[str, list[str]]:
    """The key and the recovery codes; the code that confirmed belongs to the step before now."""
    secret = begin(channel, sent).secret
    codes = confirm(channel, sent, code_of(secret, later=-1)).recovery_codes
    return secret, list(codes)


def violations(refusal: Any) -> list[str]:
    return [item.field for item in refusal.violations]


def test_a_key_counts_once_it_is_confirmed(channel: grpc.Channel, operator: OperatorRow) -> None:
    sent, other = open_session(operator), open_session(operator)
    key = begin(channel, sent)
    address = urlsplit(key.uri)
    assert ("otpauth", "totp") == (address.scheme, address.netloc)
    assert f"/NovaPay:{operator.email}" == unquote(address.path)
    assert {"secret": [key.secret], "issuer": ["NovaPay"]} == parse_qs(address.query)
    assert "OK" == reason(sign_in(channel, operator))
    codes = confirm(channel, sent, code_of(key.secret, later=-1)).recovery_codes
    assert 10 == len(set(codes))
    assert all(re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", code) for code in codes)
    assert "ADMIN_UNAUTHENTICATED" == reason(sign_in(channel, operator))
    assert "OK" == reason(sign_in(channel, operator, code_of(key.secret)))
    session = ask(channel, "AccessService.GetSession", pb.GetSessionRequest(), sent)
    assert (True, 10) == (session.operator.totp_enabled, session.recovery_codes_left)
    ended = ask(channel, "AccessService.GetSession", pb.GetSessionRequest(), other)
    assert "ADMIN_UNAUTHENTICATED" == reason(ended)


def test_the_code_that_confirmed_opens_nothing(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    sent = open_session(operator)
    secret = begin(channel, sent).secret
    code = code_of(secret)
    assert "OK" == reason(confirm(channel, sent, code))
    assert "ADMIN_UNAUTHENTICATED" == reason(sign_in(channel, operator, code))


def test_a_key_needs_the_password_and_the_newest_one_counts(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    sent = open_session(operator)
    assert ["password"] == violations(begin(channel, sent, "wrong"))
    assert ["code"] == violations(confirm(channel, sent, "123456"))
    first, second = begin(channel, sent).secret, begin(channel, sent).secret
    assert ["code"] == violations(confirm(channel, sent, code_of(first)))
    assert "OK" == reason(confirm(channel, sent, code_of(second)))
    assert ["code"] == violations(confirm(channel, sent, code_of(second, later=1)))
    assert "PERMISSION_DENIED" == reason(begin(channel, sent))


MAY_ANSWER = {"OK", "ADMIN_UNAUTHENTICATED", "OVERLOADED"}


def test_a_recovery_code_signs_in_once(channel: grpc.Channel, operator: OperatorRow) -> None:
    sent = open_session(operator)
    _, codes = switched_on(channel, sent)
    typed = f" {codes[3].upper().replace('-', ' ')} "
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: reason(sign_in(channel, operator, typed)), range(4)))
    # Few passwords are looked at at once: who waits too long for that is told to come again.
    assert 1 == answers.count("OK")
    assert {"OK", "ADMIN_UNAUTHENTICATED"} <= set(answers) <= MAY_ANSWER
    session = ask(channel, "AccessService.GetSession", pb.GetSessionRequest(), sent)
    assert 9 == session.recovery_codes_left
    with connection_scope():
        kept = fetch_all("SELECT after FROM audit_records WHERE actor = %s", (operator.email,))
    assert 1 == sum("recovery_code" in (row["after"] or "") for row in kept)


def test_somebody_elses_recovery_code_opens_nothing(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    other = new_operator()
    _, codes = switched_on(channel, open_session(other))
    switched_on(channel, open_session(operator))
    assert "ADMIN_UNAUTHENTICATED" == reason(sign_in(channel, operator, codes[0]))
    assert "OK" == reason(sign_in(channel, other, codes[0]))


def test_only_hashes_of_recovery_codes_are_kept(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    _, codes = switched_on(channel, open_session(operator))
    with connection_scope():
        kept = repr(fetch_all("SELECT * FROM operator_recovery_codes"))
        kept += repr(fetch_all("SELECT * FROM audit_records"))
    assert not [code for code in codes if code in kept or code.replace("-", "") in kept]


def test_new_recovery_codes_replace_the_old_ones(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    sent = open_session(operator)
    _, codes = switched_on(channel, sent)
    request = pb.ReplaceRecoveryCodesRequest(password=PASSWORD, code=codes[0])
    fresh = ask(channel, "AccessService.ReplaceRecoveryCodes", request, sent).recovery_codes
    assert 10 == len(set(fresh) - set(codes))
    assert "ADMIN_UNAUTHENTICATED" == reason(sign_in(channel, operator, codes[1]))
    assert "OK" == reason(sign_in(channel, operator, fresh[0]))


def test_switching_off_needs_password_and_code(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    sent = open_session(operator)
    assert ["code"] == violations(disable(channel, sent, "123456"))
    secret, _ = switched_on(channel, sent)
    assert ["password"] == violations(disable(channel, sent, code_of(secret), "wrong"))
    assert ["code"] == violations(disable(channel, sent, "000000"))
    assert "OK" == reason(disable(channel, sent, code_of(secret)))
    assert "OK" == reason(sign_in(channel, operator))
    with connection_scope():
        left = fetch_all(
            "SELECT 1 FROM operator_recovery_codes WHERE operator_id = %s", (operator.id,)
        )
    assert [] == left


def test_a15_guessing_passwords_and_codes_is_limited(
    channel: grpc.Channel, operator: OperatorRow
) -> None:
    """Also for whoever has a session; the right answer does not help while it lasts."""
    sent = open_session(operator)
    secret = begin(channel, sent).secret
    answers = [reason(confirm(channel, sent, "wrong")) for _ in range(9)]
    assert {"INVALID_REQUEST"} == set(answers)
    assert ["password"] == violations(begin(channel, sent, "wrong"))
    assert "RATE_LIMITED" == reason(confirm(channel, sent, code_of(secret)))
    with connection_scope():
        execute(
            "UPDATE sign_in_failures SET window_ends_at = now() WHERE subject = %s",
            (f"two_step:{operator.id}",),
        )
    assert "OK" == reason(confirm(channel, sent, code_of(secret)))


def test_every_change_is_in_the_audit_log(channel: grpc.Channel, operator: OperatorRow) -> None:
    sent = open_session(operator)
    secret, _ = switched_on(channel, sent)
    disable(channel, sent, code_of(secret))
    with connection_scope():
        rows = fetch_all(
            "SELECT action FROM audit_records WHERE actor = %s ORDER BY sequence", (operator.email,)
        )
    assert [
        "operator.begin_totp", "operator.enable_totp", "operator.disable_totp",
    ] == [row["action"] for row in rows]  # fmt: skip
