"""Members of a merchant's staff in a running stack, signed in as the console does it."""

import secrets
from dataclasses import dataclass

import grpc

from core_service import metadata
from core_service.client import service_channel
from novapay.access.v1 import access_service_pb2 as access
from novapay.access.v1.access_service_pb2_grpc import AccessServiceStub
from tests.stack import Stack

COOKIE = "novapay_merchant_session"
PASSWORD = "a password of one's own"


@dataclass(frozen=True)
class Member:
    """Somebody who has chosen a password and signed in."""

    email: str
    token: str


def new_member(stack: Stack, merchant_code: str, role: str = "OWNER") -> Member:
    """A new member of a merchant's staff."""
    email = f"{secrets.token_hex(6)}@example.com"
    with service_channel(stack.grpc_address, stack.service_token) as channel:
        stub = AccessServiceStub(channel)
        made = stub.CreateStaff(
            access.CreateStaffRequest(
                merchant_code=merchant_code,
                email=email,
                role=access.StaffRole.Value(f"STAFF_ROLE_{role}"),
            ),
            timeout=10,
        )
    with grpc.insecure_channel(stack.grpc_address) as channel:
        stub = AccessServiceStub(channel)
        opened = stub.SignInStaff(
            access.SignInStaffRequest(email=email, password=made.first_password), timeout=10
        )
        stub.ChangePassword(
            access.ChangePasswordRequest(
                current_password=made.first_password, new_password=PASSWORD
            ),
            timeout=10,
            metadata=((metadata.STAFF_SESSION_TOKEN, opened.session_token.encode()),),
        )
    return Member(email, opened.session_token)
