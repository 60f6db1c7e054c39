"""Operators with a role and an open session, for tests that act as one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.message import Message

from core_service import metadata
from core_service.application import passwords, sessions
from core_service.domain.ids import new_id
from core_service.schema import method_named
from core_service.storage import access, operators
from core_service.storage.access import OperatorRow
from core_service.storage.database import connection_scope
from tests.core_service.rpc.running import Metadata, invoke

PASSWORD = "a test password of operators"
_hash: list[str] = []


def new_operator(role: str = "VIEWER") -> OperatorRow:
    """Somebody new whose password is PASSWORD."""
    if not _hash:
        _hash.append(passwords.hash_password(PASSWORD))
    operator_id = new_id("op")
    row = OperatorRow(
        id=operator_id,
        email=f"{operator_id}@example.com",
        name="Test",
        role=role,
        password_hash=_hash[0],
        must_change_password=False,
        totp_sealed=None,
        enabled=True,
        last_sign_in_at=None,
        created_at=datetime.now(UTC),
    )
    with connection_scope():
        operators.insert(row)
    return row


def open_session(operator: OperatorRow) -> Metadata:
    """What a call of this operator carries."""
    now, token = datetime.now(UTC), new_id("session-token")
    with connection_scope():
        access.insert_session(
            sessions.token_hash(token.encode()),
            operator.id,
            "192.0.2.1",
            now=now,
            expires_at=now + timedelta(hours=1),
        )
    return [(metadata.SESSION_TOKEN, token.encode()), (metadata.CLIENT_ADDRESS, "192.0.2.1")]


def ask(channel: grpc.Channel, rpc: str, request: Message, sent: Metadata) -> Any:
    """The answer of `Service.Name`, or the CoreError."""
    return invoke(channel, method_named(rpc).path, request, sent)[0]
