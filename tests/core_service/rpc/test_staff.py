"""Merchants' staff over real gRPC: sign-in, sessions, the team and its last owner, registration."""

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from core_service import metadata
from core_service.application import passwords, registration, sessions
from core_service.storage import access
from core_service.storage.database import connection_scope, execute, fetch_all, fetch_one
from core_service.storage.secret_box import SecretBox
from core_service.storage.staff import StaffRow
from novapay.access.v1 import access_service_pb2 as pb
from tests.core_service.merchant_rows import KnownMerchant, insert_merchant
from tests.core_service.rpc.running import (
    MERCHANTS,
    TOKEN,
    Metadata,
    channel_to,
    invoke,
    reason,
    running_server,
)
from tests.core_service.staff_rows import as_staff, insert_staff, open_session

ACCESS = "/novapay.access.v1.AccessService/"
PASSWORD = "a test password"
NEW_PASSWORD = "another test password"
SERVICE: Metadata = [(metadata.SERVICE_TOKEN, f"Bearer {TOKEN}")]


@pytest.fixture(scope="module")
def password_hash() -> str:
    return passwords.hash_password(PASSWORD)


@pytest.fixture
def channel(core_database: str) -> Iterator[grpc.Channel]:
    with running_server() as server, channel_to(server) as channel:
        yield channel


@pytest.fixture
def merchant(core_database: str, box: SecretBox) -> KnownMerchant:
    return insert_merchant(box)


@pytest.fixture
def owner(merchant: KnownMerchant, password_hash: str) -> StaffRow:
    return insert_staff(merchant, password_hash=password_hash)


def ask(channel: grpc.Channel, name: str, request: Any = None, sent: Metadata | None = None) -> Any:
    return invoke(channel, ACCESS + name, request, sent)[0]


def sign_in(
    channel: grpc.Channel, email: str, password: str = PASSWORD, *, address: str = "192.0.2.1"
) -> Any:
    request = pb.SignInStaffRequest(email=email, password=password)
    return ask(channel, "SignInStaff", request, [(metadata.CLIENT_ADDRESS, address)])


def with_session(token: str) -> Metadata:
    return [
        (metadata.STAFF_SESSION_TOKEN, token.encode()),
        (metadata.CLIENT_ADDRESS, "192.0.2.1"),
    ]


def rows(statement: str, *parameters: Any) -> list[dict[str, Any]]:
    with connection_scope():
        return fetch_all(statement, parameters)


def test_a13_sign_in_use_and_sign_out(channel: grpc.Channel, owner: StaffRow) -> None:
    first, second = sign_in(channel, owner.email.upper()), sign_in(channel, owner.email)
    assert first.session_token != second.session_token
    assert first.staff.id == owner.id
    shown = ask(channel, "GetSession", sent=with_session(first.session_token))
    assert (shown.staff.email, shown.csrf_token) == (owner.email, first.csrf_token)
    assert not shown.HasField("operator")
    ask(channel, "SignOut", sent=with_session(first.session_token))
    for name in ("GetSession", "SignOut", "ListStaff"):
        refusal = ask(channel, name, sent=with_session(first.session_token))
        assert reason(refusal) == "STAFF_UNAUTHENTICATED"
    assert reason(ask(channel, "ListStaff", sent=with_session(second.session_token))) == "OK"
    actions = rows(
        "SELECT action FROM audit_records WHERE actor = %s ORDER BY id", f"staff:{owner.email}"
    )
    assert [row["action"] for row in actions] == [
        "staff.sign_in",
        "staff.sign_in",
        "staff.sign_out",
    ]


@pytest.mark.parametrize(
    ("column", "ago", "expected"),
    [
        ("last_seen_at", timedelta(minutes=16), "STAFF_UNAUTHENTICATED"),
        ("last_seen_at", timedelta(minutes=14), "OK"),
        ("expires_at", timedelta(seconds=1), "STAFF_UNAUTHENTICATED"),
    ],
)
def test_a13_idle_and_absolute_limit(
    channel: grpc.Channel, owner: StaffRow, column: str, ago: timedelta, expected: str
) -> None:
    token = sign_in(channel, owner.email).session_token
    with connection_scope():
        execute(
            f"UPDATE staff_sessions SET {column} = %s WHERE token_hash = %s",
            (datetime.now(UTC) - ago, sessions.token_hash(token.encode())),
        )
    assert reason(ask(channel, "ListStaff", sent=with_session(token))) == expected


def test_a13_use_keeps_a_session_alive_but_not_for_ever(
    channel: grpc.Channel, owner: StaffRow
) -> None:
    token = sign_in(channel, owner.email).session_token
    hashed = sessions.token_hash(token.encode())
    with connection_scope():
        execute(
            "UPDATE staff_sessions SET last_seen_at = now() - interval '14 min' "
            "WHERE token_hash = %s",
            (hashed,),
        )
    ask(channel, "ListStaff", sent=with_session(token))
    (row,) = rows(
        "SELECT now() - last_seen_at AS idle, expires_at - created_at AS life "
        "FROM staff_sessions WHERE token_hash = %s",
        hashed,
    )
    assert row["idle"] < timedelta(minutes=1)
    assert row["life"] == timedelta(hours=12)


def test_the_role_is_read_on_each_request(channel: grpc.Channel, merchant: KnownMerchant) -> None:
    member = insert_staff(merchant, "VIEWER")
    sent = open_session(member)
    request = pb.CreateStaffRequest(email="x@example.com", role=pb.STAFF_ROLE_VIEWER)
    assert reason(ask(channel, "CreateStaff", request, sent)) == "PERMISSION_DENIED"
    with connection_scope():
        execute("UPDATE staff SET role = 'OWNER' WHERE id = %s", (member.id,))
    assert reason(ask(channel, "CreateStaff", request, sent)) == "OK"
    with connection_scope():
        execute("UPDATE staff SET enabled = false WHERE id = %s", (member.id,))
    assert reason(ask(channel, "CreateStaff", request, sent)) == "STAFF_UNAUTHENTICATED"


def test_a15_one_answer_whichever_part_was_wrong(channel: grpc.Channel, owner: StaffRow) -> None:
    answers = {
        (refusal.reason, refusal.message)
        for refusal in (
            sign_in(channel, owner.email, "wrong", address="192.0.2.20"),
            sign_in(channel, "nobody@example.com", address="192.0.2.20"),
        )
    }
    assert answers == {("STAFF_UNAUTHENTICATED", "E-mail address or password is wrong.")}


@pytest.mark.parametrize("subject", ["staff:{email}", "source:203.0.113.5/32"])
def test_a15_the_eleventh_try_waits(channel: grpc.Channel, owner: StaffRow, subject: str) -> None:
    """On one account, and from one source whoever it tries."""
    now = datetime.now(UTC)
    with connection_scope():
        for _ in range(10):
            access.count_sign_in(
                subject.format(email=owner.email),
                limit=sessions.MAX_TRIES,
                now=now,
                window_ends_at=now + sessions.LOCKED_FOR,
            )
    refusal = sign_in(channel, owner.email, address="203.0.113.5")
    assert reason(refusal) == "RATE_LIMITED"


def test_a15_what_a_locked_source_tries_counts_for_no_account(
    channel: grpc.Channel, owner: StaffRow
) -> None:
    for _ in range(22):
        sign_in(channel, owner.email, "wrong", address="203.0.113.6")
    with connection_scope():
        execute("DELETE FROM sign_in_failures WHERE subject = %s", (f"staff:{owner.email}",))
    assert reason(sign_in(channel, owner.email, "wrong", address="203.0.113.6")) == "RATE_LIMITED"
    assert rows("SELECT 1 FROM sign_in_failures WHERE subject = %s", f"staff:{owner.email}") == []


@pytest.mark.parametrize("change", ["enabled = false", "password_hash = 'another'"])
def test_who_signs_in_while_the_credentials_change_gets_no_session(
    channel: grpc.Channel, owner: StaffRow, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    is_password = passwords.is_password

    def changed_meanwhile(password: str, kept: str | None) -> bool:
        is_right = is_password(password, kept)
        execute(f"UPDATE staff SET {change} WHERE id = %s", (owner.id,))
        return is_right

    monkeypatch.setattr(passwords, "is_password", changed_meanwhile)
    assert reason(sign_in(channel, owner.email, address="192.0.2.30")) == "STAFF_UNAUTHENTICATED"
    assert rows("SELECT 1 FROM staff_sessions WHERE staff_id = %s", owner.id) == []


@pytest.mark.parametrize("status", ["PENDING", "REJECTED", "SUSPENDED"])
def test_staff_of_a_merchant_that_may_not_sell_can_still_look(
    channel: grpc.Channel, box: SecretBox, password_hash: str, status: str
) -> None:
    merchant = insert_merchant(box, status=status)
    member = insert_staff(merchant, password_hash=password_hash)
    opened = sign_in(channel, member.email, address="192.0.2.77")
    assert reason(ask(channel, "ListStaff", sent=with_session(opened.session_token))) == "OK"


def test_a_first_password_must_be_changed(channel: grpc.Channel, merchant: KnownMerchant) -> None:
    made = ask(
        channel,
        "CreateStaff",
        pb.CreateStaffRequest(email=" New@Example.com ".strip(), role=pb.STAFF_ROLE_DEVELOPER),
        as_staff(merchant),
    )
    assert (made.staff.email, made.staff.merchant_code) == ("new@example.com", merchant.code)
    opened = sign_in(channel, "new@example.com", made.first_password)
    assert opened.staff.must_change_password
    sent = with_session(opened.session_token)
    assert reason(ask(channel, "ListStaff", sent=sent)) == "PASSWORD_CHANGE_REQUIRED"
    assert reason(ask(channel, "GetSession", sent=sent)) == "OK"
    change = pb.ChangePasswordRequest(
        current_password=made.first_password, new_password=NEW_PASSWORD
    )
    assert reason(ask(channel, "ChangePassword", change, sent)) == "OK"
    assert reason(ask(channel, "ListStaff", sent=sent)) == "OK"
    assert reason(sign_in(channel, "new@example.com", made.first_password)) != "OK"
    assert not sign_in(channel, "new@example.com", NEW_PASSWORD).staff.must_change_password


def test_changing_the_password_ends_the_other_sessions(
    channel: grpc.Channel, owner: StaffRow
) -> None:
    mine, other = open_session(owner), open_session(owner)
    change = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
    assert reason(ask(channel, "ChangePassword", change, mine)) == "OK"
    assert reason(ask(channel, "ListStaff", sent=mine)) == "OK"
    assert reason(ask(channel, "ListStaff", sent=other)) == "STAFF_UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        ("wrong", NEW_PASSWORD, "currentPassword"),
        (PASSWORD, PASSWORD, "newPassword"),
        (PASSWORD, "aaaaaaaaaaaaaaaa", "newPassword"),
    ],
)
def test_a_password_that_is_not_changed(
    channel: grpc.Channel, owner: StaffRow, current: str, new: str, field: str
) -> None:
    change = pb.ChangePasswordRequest(current_password=current, new_password=new)
    refusal = ask(channel, "ChangePassword", change, open_session(owner))
    assert [violation.field for violation in refusal.violations] == [field]


def test_guessing_the_current_password_is_limited(channel: grpc.Channel, owner: StaffRow) -> None:
    sent = open_session(owner)
    now = datetime.now(UTC)
    with connection_scope():
        for _ in range(10):
            access.count_sign_in(
                f"password:{owner.id}",
                limit=sessions.MAX_TRIES,
                now=now,
                window_ends_at=now + sessions.LOCKED_FOR,
            )
    change = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
    assert reason(ask(channel, "ChangePassword", change, sent)) == "RATE_LIMITED"


def test_a_reset_ends_every_session_and_makes_a_password(
    channel: grpc.Channel, merchant: KnownMerchant, owner: StaffRow, password_hash: str
) -> None:
    member = insert_staff(merchant, "VIEWER", password_hash=password_hash)
    theirs = open_session(member)
    reset = pb.UpdateStaffRequest(id=member.id, reset_password=True)
    answer = ask(channel, "UpdateStaff", reset, open_session(owner))
    assert reason(ask(channel, "GetSession", sent=theirs)) == "STAFF_UNAUTHENTICATED"
    assert sign_in(channel, member.email, answer.first_password).staff.must_change_password
    (record,) = rows("SELECT after FROM audit_records WHERE action = 'staff.update'")
    assert record["after"] == '{"passwordReset":true}'
    assert answer.first_password not in repr(rows("SELECT * FROM audit_records"))


@pytest.mark.parametrize(
    "change",
    [
        pb.UpdateStaffRequest(role=pb.STAFF_ROLE_VIEWER),
        pb.UpdateStaffRequest(enabled=False),
    ],
)
def test_the_last_enabled_owner_stays(
    channel: grpc.Channel, merchant: KnownMerchant, owner: StaffRow, change: pb.UpdateStaffRequest
) -> None:
    request = pb.UpdateStaffRequest(id=owner.id)
    request.MergeFrom(change)
    sent = open_session(owner)
    refusal = ask(channel, "UpdateStaff", request, sent)
    assert reason(refusal) == "INVALID_REQUEST"
    insert_staff(merchant, "OWNER")
    assert reason(ask(channel, "UpdateStaff", request, sent)) == "OK"


def test_two_owners_who_remove_each_other_at_once_leave_one(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    pair = [insert_staff(merchant), insert_staff(merchant)]
    together = threading.Barrier(2)

    def remove(one: StaffRow, other: StaffRow) -> str:
        sent = open_session(one)
        together.wait(5)
        return reason(
            ask(channel, "UpdateStaff", pb.UpdateStaffRequest(id=other.id, enabled=False), sent)
        )

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(remove, pair, reversed(pair)))
    assert answers.count("OK") == 1
    left = rows(
        "SELECT 1 FROM staff WHERE merchant_id = %s AND enabled AND role = 'OWNER'", merchant.id
    )
    assert len(left) == 1


def test_an_address_has_one_account(
    channel: grpc.Channel, merchant: KnownMerchant, box: SecretBox
) -> None:
    taken = insert_staff(insert_merchant(box)).email
    request = pb.CreateStaffRequest(email=taken, role=pb.STAFF_ROLE_VIEWER)
    refusal = ask(channel, "CreateStaff", request, as_staff(merchant))
    assert [violation.field for violation in refusal.violations] == ["email"]


def test_the_merchant_is_fixed_by_the_session(
    channel: grpc.Channel, merchant: KnownMerchant, box: SecretBox
) -> None:
    other = insert_merchant(box)
    theirs = insert_staff(other)
    sent = as_staff(merchant)
    listed = ask(channel, "ListStaff", sent=sent).staff
    assert {member.merchant_code for member in listed} == {merchant.code}
    named = pb.ListStaffRequest(merchant_code=other.code)
    assert reason(ask(channel, "ListStaff", named, sent)) == "MERCHANT_NOT_FOUND"
    change = pb.UpdateStaffRequest(id=theirs.id, enabled=False)
    assert reason(ask(channel, "UpdateStaff", change, sent)) == "NOT_FOUND"


def test_a_staff_session_opens_nothing_of_operators(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    sent = as_staff(merchant)
    assert reason(invoke(channel, MERCHANTS, sent=sent)[0]) == "ADMIN_UNAUTHENTICATED"
    token = sent[0][1]
    disguised: Metadata = [(metadata.SESSION_TOKEN, token)]
    for name in ("GetSession", "ListStaff"):
        assert reason(ask(channel, name, sent=disguised)) == "ADMIN_UNAUTHENTICATED"


def register(
    channel: grpc.Channel, email: str, *, address: str = "192.0.2.9", **fields: Any
) -> Any:
    request = pb.RegisterMerchantRequest(
        **{"name": "茶铺", "email": email, "password": PASSWORD, **fields}
    )
    return ask(channel, "RegisterMerchant", request, [(metadata.CLIENT_ADDRESS, address)])


@pytest.fixture
def stranger(core_database: str) -> str:
    with connection_scope():
        execute("DELETE FROM sign_in_failures WHERE subject LIKE 'regist%%'")
    return f"{secrets.token_hex(6)}@example.com"


def test_a_stranger_registers(channel: grpc.Channel, stranger: str) -> None:
    answer = register(channel, stranger.upper(), legal_name="茶铺有限公司", onboarding_note="Hi")
    assert reason(answer) == "OK"
    opened = sign_in(channel, stranger)
    assert opened.staff.role == pb.STAFF_ROLE_OWNER
    (row,) = rows(
        "SELECT m.status, m.name, m.legal_name, m.onboarding_note, m.code FROM merchants m "
        "JOIN staff s ON s.merchant_id = m.id WHERE s.email = %s",
        stranger,
    )
    assert (row["status"], row["name"], row["legal_name"]) == ("PENDING", "茶铺", "茶铺有限公司")
    (record,) = rows(
        "SELECT actor, after FROM audit_records WHERE action = 'merchant.register' "
        "AND after LIKE %s",
        f"%{row['code']}%",
    )
    assert record["actor"] == "public"
    assert stranger in record["after"]


def test_s14_registering_does_not_tell_whether_an_address_is_known(
    channel: grpc.Channel, stranger: str, owner: StaffRow
) -> None:
    before = rows("SELECT count(*) AS n FROM merchants")
    answers = [register(channel, owner.email), register(channel, stranger)]
    assert answers[0] == answers[1]
    assert rows("SELECT count(*) AS n FROM merchants")[0]["n"] == before[0]["n"] + 1
    assert reason(sign_in(channel, owner.email)) == "OK"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"password": "aaaaaaaaaaaaaaa"}, ["password"]),
        ({"name": ""}, ["name"]),
        ({"email": "nobody"}, ["email"]),
        ({"legal_name": "a\nb"}, ["legalName"]),
    ],
)
def test_a_registration_that_is_refused(
    channel: grpc.Channel, stranger: str, fields: dict[str, str], named: list[str]
) -> None:
    refusal = register(channel, **{"email": stranger, **fields})
    assert [violation.field for violation in refusal.violations] == named


@pytest.mark.parametrize(
    ("subject", "limit"),
    [
        ("register:source:198.51.100.3/32", registration.MAX_FROM_ONE_SOURCE),
        ("registrations", registration.MAX_ALTOGETHER),
    ],
)
def test_registrations_are_bounded(
    channel: grpc.Channel, stranger: str, subject: str, limit: int
) -> None:
    with connection_scope():
        execute(
            "INSERT INTO sign_in_failures VALUES (%s, %s, now() + interval '1 hour')",
            (subject, limit),
        )
    refusal = register(channel, stranger, address="198.51.100.3")
    assert reason(refusal) == "RATE_LIMITED"
    assert rows("SELECT 1 FROM staff WHERE email = %s", stranger) == []


def test_an_operator_helps_a_merchant_without_staff(
    channel: grpc.Channel, merchant: KnownMerchant
) -> None:
    """Or a service does: whoever may administer merchants."""
    request = pb.CreateStaffRequest(
        merchant_code=merchant.code, email="first@example.com", role=pb.STAFF_ROLE_OWNER
    )
    made = ask(channel, "CreateStaff", request, SERVICE)
    assert reason(sign_in(channel, "first@example.com", made.first_password)) == "OK"
    with connection_scope():
        assert fetch_one("SELECT 1 FROM staff WHERE email = 'first@example.com'")
