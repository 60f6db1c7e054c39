"""Four roles of operators times every RPC: open exactly where the proto file names the role (table-driven).

A caller who may is answered by the fields of an empty request or by the use case, never with PERMISSION_DENIED.
"""

from collections.abc import Iterator

import grpc
import pytest

from core_service.calls import Principal
from core_service.schema import Method, methods
from tests.core_service.rpc.operator_sessions import new_operator, open_session
from tests.core_service.rpc.running import channel_to, invoke, reason, running_server

ROLES = ("SUPER_ADMIN", "OPS_ADMIN", "FINANCE_ADMIN", "VIEWER")
FOR_EVERYBODY = {"SignOut", "GetSession", "ChangePassword", "BeginTotp", "ConfirmTotp", "DisableTotp",
                 "ReplaceRecoveryCodes"}  # fmt: skip
CHANGES = (
    "Create",
    "Update",
    "Set",
    "Retry",
    "Resolve",
    "Close",
    "Rotate",
    "Send",
    "Revoke",
    "Reset",
)


@pytest.fixture
def channel(core_database: str) -> Iterator[grpc.Channel]:
    with running_server() as server, channel_to(server) as channel:
        yield channel


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_an_rpc_is_open_to_the_roles_that_it_names(channel: grpc.Channel, method: Method) -> None:
    answers = {}
    for role in ROLES:
        sent = open_session(new_operator(role))
        answers[role] = reason(invoke(channel, method.path, method.request_type(), sent)[0])
    if Principal.OPERATOR not in method.principals:
        assert method.roles == frozenset()
        if Principal.PUBLIC not in method.principals:
            assert not {"OK", "INVALID_REQUEST"} & set(answers.values()), answers
        return
    closed = {"PERMISSION_DENIED", "ADMIN_UNAUTHENTICATED"}
    assert method.roles == {role for role, answer in answers.items() if answer not in closed}


def test_only_known_roles_are_named_and_the_highest_may_everything() -> None:
    for method in methods():
        assert method.roles <= set(ROLES), method.name
        if Principal.OPERATOR in method.principals:
            assert "SUPER_ADMIN" in method.roles, method.name


def test_a_viewer_changes_nothing_but_their_own_account() -> None:
    may = {method.name for method in methods() if "VIEWER" in method.roles}
    assert {name for name in may if name.startswith(CHANGES)} == set()
    assert may >= FOR_EVERYBODY
