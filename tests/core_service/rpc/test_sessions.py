"""Operators signing in, over real gRPC: tokens, limits, guessing, one-time codes, roles."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from core_service import metadata
from core_service.application import passwords, sessions
from core_service.domain import one_time_code
from core_service.domain.ids import new_id
from core_service.errors import CoreError
from core_service.storage import access, sealed_places
from core_service.storage.database import connection_scope, execute, fetch_all, fetch_one
from core_service.storage.secret_box import SecretBox
from novapay.access.v1 import access_service_pb2
from tests.core_service.rpc.running import (
    MERCHANTS,
    TOKEN,
    Metadata,
    channel_to,
    invoke,
    reason,
    running_server,
)

SIGN_IN = "/novapay.access.v1.AccessService/SignIn"
SIGN_OUT = "/novapay.access.v1.AccessService/SignOut"
GET_SESSION = "/novapay.access.v1.AccessService/GetSession"
SET_CONFIG = "/novapay.config.v1.ConfigService/UpdateSystemConfigs"
PASSWORD = "a test password"


@pytest.fixture(scope="module")
def password_hash() -> str:
    return passwords.hash_password(PASSWORD)


@pytest.fixture
def channel(core_database: str) -> Iterator[grpc.Channel]:
    with running_server() as server, channel_to(server) as channel:
        yield channel


@pytest.fixture
def email(core_database: str, password_hash: str) -> str:
    """Of a new operator who may see everything and change nothing."""
    operator_id = new_id("op")
    address = f"{operator_id}@example.com"
    now = datetime.now(UTC)
    with connection_scope():
        execute(
            "INSERT INTO operators (id, email, name, role, password_hash, created_at, updated_at) "
            "VALUES (%s, %s, 'Test', 'VIEWER', %s, %s, %s)",
            (operator_id, address, password_hash, now, now),
        )
    return address


def sign_in(
    channel: grpc.Channel,
    email: str,
    password: str = PASSWORD,
    *,
    address: str = "192.0.2.1",
    otp: str | None = None,
) -> Any:
    request = access_service_pb2.SignInRequest(email=email, password=password, otp=otp)
    return invoke(channel, SIGN_IN, request, [(metadata.CLIENT_ADDRESS, address)])[0]


def with_session(token: str) -> Metadata:
    return [(metadata.SESSION_TOKEN, token.encode()), (metadata.CLIENT_ADDRESS, "192.0.2.1")]


def count_failures(subject: str, times: int) -> None:
    """As if somebody had guessed wrong that often."""
    now = datetime.now(UTC)
    with connection_scope():
        for _ in range(times):
            access.count_sign_in(
                subject, limit=sessions.MAX_TRIES, now=now, window_ends_at=now + sessions.LOCKED_FOR
            )


def change_session(token: str, column: str, at: datetime) -> None:
    with connection_scope():
        execute(
            f"UPDATE operator_sessions SET {column} = %s WHERE token_hash = %s",
            (at, sessions.token_hash(token.encode())),
        )


def test_a13_sign_in_use_and_sign_out(channel: grpc.Channel, email: str) -> None:
    first = sign_in(channel, email.upper())
    shown = invoke(channel, GET_SESSION, sent=with_session(first.session_token))[0]
    assert (shown.operator, shown.csrf_token) == (first.operator, first.csrf_token)
    second = sign_in(channel, email)
    assert first.session_token != second.session_token
    assert first.operator.email == email
    assert first.csrf_token == sessions.csrf_token(first.session_token.encode())
    assert reason(invoke(channel, SIGN_OUT, sent=with_session(first.session_token))[0]) == "OK"
    for path in (GET_SESSION, SIGN_OUT, MERCHANTS):
        ended = invoke(channel, path, sent=with_session(first.session_token))[0]
        assert reason(ended) == "ADMIN_UNAUTHENTICATED"
    assert reason(invoke(channel, MERCHANTS, sent=with_session(second.session_token))[0]) == "OK"


def test_a13_only_a_hash_is_stored(channel: grpc.Channel, email: str) -> None:
    token = sign_in(channel, email).session_token
    with connection_scope():
        stored = fetch_all("SELECT token_hash FROM operator_sessions")
    assert token.encode() not in b"".join(bytes(row["token_hash"]) for row in stored)


@pytest.mark.parametrize(
    ("column", "ago", "expected"),
    [
        ("last_seen_at", timedelta(minutes=16), "ADMIN_UNAUTHENTICATED"),
        ("last_seen_at", timedelta(minutes=14), "OK"),
        ("expires_at", timedelta(seconds=1), "ADMIN_UNAUTHENTICATED"),
    ],
)
def test_a13_idle_and_absolute_limit(
    channel: grpc.Channel, email: str, column: str, ago: timedelta, expected: str
) -> None:
    token = sign_in(channel, email).session_token
    change_session(token, column, datetime.now(UTC) - ago)
    assert reason(invoke(channel, MERCHANTS, sent=with_session(token))[0]) == expected


def test_a13_use_keeps_a_session_alive_but_not_for_ever(channel: grpc.Channel, email: str) -> None:
    opened = sign_in(channel, email)
    change_session(opened.session_token, "last_seen_at", datetime.now(UTC) - timedelta(minutes=14))
    invoke(channel, MERCHANTS, sent=with_session(opened.session_token))
    with connection_scope():
        row = fetch_one(
            "SELECT now() - last_seen_at AS idle, expires_at - created_at AS life "
            "FROM operator_sessions WHERE token_hash = %s",
            (sessions.token_hash(opened.session_token.encode()),),
        )
    assert row is not None
    assert row["idle"] < timedelta(minutes=1)
    assert row["life"] == timedelta(hours=12)


def test_the_role_is_read_on_each_request(channel: grpc.Channel, email: str) -> None:
    token = sign_in(channel, email).session_token
    assert reason(invoke(channel, SET_CONFIG, sent=with_session(token))[0]) == "PERMISSION_DENIED"
    with connection_scope():
        execute("UPDATE operators SET role = 'SUPER_ADMIN' WHERE email = %s", (email,))
    answer = reason(invoke(channel, SET_CONFIG, sent=with_session(token))[0])
    assert answer not in ("PERMISSION_DENIED", "ADMIN_UNAUTHENTICATED")
    with connection_scope():
        execute("UPDATE operators SET enabled = false WHERE email = %s", (email,))
    ended = invoke(channel, SET_CONFIG, sent=with_session(token))[0]
    assert reason(ended) == "ADMIN_UNAUTHENTICATED"


def test_a15_one_answer_whichever_part_was_wrong(channel: grpc.Channel, email: str) -> None:
    answers = {
        (refusal.reason, refusal.message)
        for refusal in (
            sign_in(channel, email, "wrong", address="192.0.2.20"),
            sign_in(channel, "nobody@example.com", address="192.0.2.20"),
        )
    }
    assert answers == {
        ("ADMIN_UNAUTHENTICATED", "E-mail address, password or one-time code is wrong.")
    }


def test_a15_the_eleventh_try_on_an_account_waits(
    channel: grpc.Channel, email: str, core_database: str
) -> None:
    """From a new source each time; the right password does not help while it is locked."""
    count_failures(f"account:{email}", 9)
    refusal = sign_in(channel, email, "wrong", address="198.51.100.1")
    assert reason(refusal) == "ADMIN_UNAUTHENTICATED"
    refusal = sign_in(channel, email, address="198.51.100.99")
    assert refusal.reason == "RATE_LIMITED"
    assert 1790 <= refusal.retry_after_seconds <= 1800
    with connection_scope():
        execute(
            "UPDATE sign_in_failures SET window_ends_at = now() WHERE subject = %s",
            (f"account:{email}",),
        )
    assert reason(sign_in(channel, email, address="198.51.100.99")) == "OK"


@pytest.mark.parametrize(
    ("subject", "tenth", "eleventh"),
    [
        ("source:203.0.113.5/32", "203.0.113.5", "::ffff:203.0.113.5"),
        ("source:2001:db8:5::/64", "2001:db8:5::1", "2001:db8:5::ffff"),
    ],
)
def test_a15_the_eleventh_try_from_a_source_waits(
    channel: grpc.Channel, email: str, subject: str, tenth: str, eleventh: str
) -> None:
    """Whoever is tried; an IPv6 caller has a whole network of addresses."""
    count_failures(subject, 9)
    refusal = sign_in(channel, "nobody@example.com", "wrong", address=tenth)
    assert reason(refusal) == "ADMIN_UNAUTHENTICATED"
    assert reason(sign_in(channel, email, address=eleventh)) == "RATE_LIMITED"


def test_a15_what_a_locked_source_tries_counts_for_no_account(
    channel: grpc.Channel, email: str
) -> None:
    count_failures("source:203.0.113.9/32", 10)
    for _ in range(11):
        assert reason(sign_in(channel, email, "wrong", address="203.0.113.9")) == "RATE_LIMITED"
    assert reason(sign_in(channel, email, address="198.51.100.7")) == "OK"


@pytest.mark.parametrize(
    "change",
    ["enabled = false", "password_hash = 'another'", "totp_sealed = 'another'"],
)
def test_who_signs_in_while_the_credentials_change_gets_no_session(
    channel: grpc.Channel, email: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    is_password = passwords.is_password

    def changed_meanwhile(password: str, kept: str | None) -> bool:
        is_right = is_password(password, kept)
        execute(f"UPDATE operators SET {change} WHERE email = %s", (email,))
        return is_right

    monkeypatch.setattr(passwords, "is_password", changed_meanwhile)
    assert reason(sign_in(channel, email, address="192.0.2.30")) == "ADMIN_UNAUTHENTICATED"
    with connection_scope():
        assert (
            fetch_all(
                "SELECT 1 FROM operator_sessions s JOIN operators o ON o.id = s.operator_id WHERE email = %s",
                (email,),
            )
            == []
        )


def test_a15_tries_at_once_do_not_slip_through(channel: grpc.Channel, email: str) -> None:
    count_failures(f"account:{email}", 8)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: reason(sign_in(channel, email, "wrong")), range(6)))
    assert sorted(answers) == ["ADMIN_UNAUTHENTICATED"] * 2 + ["RATE_LIMITED"] * 4


def test_a15_success_forgives(channel: grpc.Channel, email: str) -> None:
    for subject in (f"account:{email}", "source:203.0.113.77/32"):
        count_failures(subject, 9)
    assert reason(sign_in(channel, email, address="203.0.113.77")) == "OK"
    with connection_scope():
        rows = fetch_all(
            "SELECT subject, failures FROM sign_in_failures WHERE subject IN (%s, %s)",
            (f"account:{email}", "source:203.0.113.77/32"),
        )
    assert rows == [{"subject": "source:203.0.113.77/32", "failures": 9}]


def test_one_time_codes(channel: grpc.Channel, email: str, box: SecretBox) -> None:
    key = bytes(range(20))
    with connection_scope():
        row = fetch_one("SELECT id FROM operators WHERE email = %s", (email,))
        assert row is not None
        execute(
            "UPDATE operators SET totp_sealed = %s WHERE email = %s",
            (box.seal(key, sealed_places.operator_totp(row["id"])), email),
        )
    code = one_time_code.code_at(key, int(time.time()) // 30)
    wrong = f"{(int(code) + 1) % 1000000:06d}"
    assert reason(sign_in(channel, email)) == "ADMIN_UNAUTHENTICATED"
    assert reason(sign_in(channel, email, otp=wrong)) == "ADMIN_UNAUTHENTICATED"
    assert reason(sign_in(channel, email, otp=code)) == "OK"
    assert reason(sign_in(channel, email, otp=code)) == "ADMIN_UNAUTHENTICATED"


def test_signing_in_and_out_is_in_the_audit_log(channel: grpc.Channel, email: str) -> None:
    token = sign_in(channel, email).session_token
    invoke(channel, SIGN_OUT, sent=with_session(token))
    with connection_scope():
        rows = fetch_all(
            "SELECT action, client_address FROM audit_records WHERE actor = %s ORDER BY id",
            (email,),
        )
    assert [(row["action"], row["client_address"]) for row in rows] == [
        ("operator.sign_in", "192.0.2.1"),
        ("operator.sign_out", "192.0.2.1"),
    ]


def test_a_service_has_no_session(channel: grpc.Channel) -> None:
    sent: Metadata = [(metadata.SERVICE_TOKEN, f"Bearer {TOKEN}")]
    assert reason(invoke(channel, GET_SESSION, sent=sent)[0]) == "ADMIN_UNAUTHENTICATED"


def test_an_unknown_token_opens_nothing(channel: grpc.Channel) -> None:
    for token in ("", "x", "é"):
        refusal = invoke(channel, MERCHANTS, sent=with_session(token))[0]
        assert reason(refusal) == "ADMIN_UNAUTHENTICATED"


def test_hashing_is_bounded() -> None:
    """A flood of sign-ins waits in turn and does not take all memory."""
    held = [passwords._places.acquire() for _ in range(passwords.HASHES_AT_ONCE)]
    try:
        with pytest.raises(CoreError, match="OVERLOADED"):
            passwords.is_password("x", None)
    finally:
        for _ in held:
            passwords._places.release()
