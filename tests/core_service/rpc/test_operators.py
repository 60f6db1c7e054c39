"""Operators who manage operators, over real gRPC."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from core_service import metadata
from core_service.storage.access import OperatorRow
from core_service.storage.database import connection_scope, execute, fetch_all
from novapay.access.v1 import access_service_pb2 as pb
from tests.core_service.rpc.operator_sessions import PASSWORD, ask, new_operator, open_session
from tests.core_service.rpc.running import Metadata, channel_to, reason, running_server

NEW_PASSWORD = "another password 2"


@pytest.fixture
def channel(core_database: str) -> Iterator[grpc.Channel]:
    with running_server() as server, channel_to(server) as channel:
        yield channel


@pytest.fixture
def boss(core_database: str) -> OperatorRow:
    """The only enabled SUPER_ADMIN."""
    with connection_scope():
        execute("UPDATE operators SET enabled = false")
    return new_operator("SUPER_ADMIN")


@pytest.fixture
def sent(boss: OperatorRow) -> Metadata:
    return open_session(boss)


def update(channel: grpc.Channel, sent: Metadata, operator_id: str, **changes: Any) -> Any:
    request = pb.UpdateOperatorRequest(id=operator_id, **changes)
    return ask(channel, "AccessService.UpdateOperator", request, sent)


def sign_in(channel: grpc.Channel, email: str, password: str) -> Any:
    request = pb.SignInRequest(email=email, password=password)
    return ask(channel, "AccessService.SignIn", request, [(metadata.CLIENT_ADDRESS, "192.0.2.9")])


def session(token: str) -> Metadata:
    return [(metadata.SESSION_TOKEN, token.encode()), (metadata.CLIENT_ADDRESS, "192.0.2.9")]


def get_session(channel: grpc.Channel, sent: Metadata) -> str:
    return reason(ask(channel, "AccessService.GetSession", pb.GetSessionRequest(), sent))


def records(target: str) -> list[dict[str, Any]]:
    with connection_scope():
        return fetch_all(
            "SELECT * FROM audit_records WHERE target = %s ORDER BY sequence", (target,)
        )


def test_a_new_operator_signs_in_with_a_password_that_must_be_changed(
    channel: grpc.Channel, sent: Metadata
) -> None:
    request = pb.CreateOperatorRequest(
        email="New@example.com", name="新人", role=pb.OPERATOR_ROLE_FINANCE_ADMIN
    )
    made = ask(channel, "AccessService.CreateOperator", request, sent)
    assert ("new@example.com", "新人", True, True, False) == (
        made.operator.email, made.operator.name, made.operator.enabled,
        made.operator.must_change_password, made.operator.HasField("last_sign_in_at"),
    )  # fmt: skip
    mine = session(sign_in(channel, "new@example.com", made.first_password).session_token)
    begin = pb.BeginTotpRequest(password=made.first_password)
    assert "PASSWORD_CHANGE_REQUIRED" == reason(
        ask(channel, "AccessService.BeginTotp", begin, mine)
    )
    change = pb.ChangePasswordRequest(
        current_password=made.first_password, new_password=NEW_PASSWORD
    )
    assert "OK" == reason(ask(channel, "AccessService.ChangePassword", change, mine))
    begin = pb.BeginTotpRequest(password=NEW_PASSWORD)
    assert "OK" == reason(ask(channel, "AccessService.BeginTotp", begin, mine))
    listed = ask(channel, "AccessService.ListOperators", pb.ListOperatorsRequest(), sent)
    shown = next(item for item in listed.operators if item.email == "new@example.com")
    assert (False, True) == (shown.must_change_password, shown.HasField("last_sign_in_at"))


def test_changes_are_made_and_recorded_with_their_reason(
    channel: grpc.Channel, sent: Metadata, boss: OperatorRow
) -> None:
    somebody = new_operator("VIEWER")
    why = [*sent, (metadata.REASON, " 转岗\n到财务 ".encode())]
    answer = update(channel, why, somebody.id, name="新名", role=pb.OPERATOR_ROLE_FINANCE_ADMIN)
    assert ("新名", pb.OPERATOR_ROLE_FINANCE_ADMIN) == (
        answer.operator.name, answer.operator.role,
    )  # fmt: skip
    (record,) = records(f"operator:{somebody.id}")
    assert ("operator.update", boss.email, "转岗 到财务") == (
        record["action"], record["actor"], record["reason"],
    )  # fmt: skip
    assert '{"name":"Test","role":"VIEWER"}' == record["before"]
    assert '{"name":"新名","role":"FINANCE_ADMIN"}' == record["after"]
    assert "OK" == reason(update(channel, sent, somebody.id, name="新名"))
    assert 1 == len(records(f"operator:{somebody.id}"))


@pytest.mark.parametrize("change", ["enabled", "reset_password", "end_sessions"])
def test_some_changes_end_the_sessions(channel: grpc.Channel, sent: Metadata, change: str) -> None:
    somebody = new_operator("VIEWER")
    theirs = open_session(somebody)
    assert "OK" == get_session(channel, theirs)
    answer = update(channel, sent, somebody.id, **{change: change != "enabled"})
    assert "ADMIN_UNAUTHENTICATED" == get_session(channel, theirs)
    assert (change == "reset_password") == answer.HasField("first_password")
    update(channel, sent, somebody.id, enabled=True)
    assert "ADMIN_UNAUTHENTICATED" == get_session(channel, theirs)
    if change == "reset_password":
        assert "ADMIN_UNAUTHENTICATED" == reason(sign_in(channel, somebody.email, PASSWORD))
        assert "OK" == reason(sign_in(channel, somebody.email, answer.first_password))
        assert answer.first_password not in repr(records(f"operator:{somebody.id}"))


@pytest.mark.parametrize("change", [{"enabled": False}, {"role": pb.OPERATOR_ROLE_OPS_ADMIN}])
def test_the_last_super_admin_stays_one(
    channel: grpc.Channel, sent: Metadata, boss: OperatorRow, change: dict[str, Any]
) -> None:
    new_operator("OPS_ADMIN")
    refusal = update(channel, sent, boss.id, **change)
    assert list(change) == [item.field for item in refusal.violations]
    new_operator("SUPER_ADMIN")
    assert "OK" == reason(update(channel, sent, boss.id, **change))


def test_two_super_admins_cannot_disable_each_other_at_once(
    channel: grpc.Channel, sent: Metadata, boss: OperatorRow
) -> None:
    other = new_operator("SUPER_ADMIN")
    theirs = open_session(other)
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(
                lambda who: reason(update(channel, who[0], who[1], enabled=False)),
                [(sent, other.id), (theirs, boss.id)],
            )
        )
    assert 1 == answers.count("OK"), answers
    with connection_scope():
        left = fetch_all("SELECT 1 FROM operators WHERE enabled AND role = 'SUPER_ADMIN'")
    assert 1 == len(left)


def test_an_unknown_operator_is_not_found(channel: grpc.Channel, sent: Metadata) -> None:
    for name in ("op_none", "é", "../x"):
        assert "NOT_FOUND" == reason(update(channel, sent, name, name="x"))
