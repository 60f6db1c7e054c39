"""AccessService: operators, merchants' staff, and their sessions."""

from datetime import UTC, datetime

import grpc

from core_service.application import sessions, staff, staff_sessions, two_step
from core_service.errors import CoreError
from core_service.rpc.interceptors import call_of
from core_service.rpc.operator_rpcs import OperatorRpcs, operator_message
from core_service.rpc.staff_rpcs import StaffRpcs, staff_message
from core_service.rpc.timestamps import timestamp
from novapay.access.v1 import access_service_pb2, access_service_pb2_grpc


class AccessServicer(OperatorRpcs, StaffRpcs, access_service_pb2_grpc.AccessServiceServicer):
    """Messages to values and back."""

    def SignIn(  # noqa: N802 (named by the proto file, like the others here)
        self, request: access_service_pb2.SignInRequest, context: grpc.ServicerContext
    ) -> access_service_pb2.SignInResponse:
        """Sign an operator in."""
        opened = sessions.sign_in(
            call_of(context),
            email=request.email,
            password=request.password,
            one_time=request.otp if request.HasField("otp") else None,
            now=datetime.now(UTC),
        )
        return access_service_pb2.SignInResponse(
            session_token=opened.token,
            csrf_token=sessions.csrf_token(opened.token.encode()),
            operator=operator_message(opened.session.operator),
            expires_at=timestamp(opened.session.expires_at),
        )

    def SignOut(  # noqa: N802
        self, request: access_service_pb2.SignOutRequest, context: grpc.ServicerContext
    ) -> access_service_pb2.SignOutResponse:
        """End the caller's session."""
        call = call_of(context)
        end = sessions.sign_out if call.staff is None else staff_sessions.sign_out
        end(call, _session_token(call.session_token))
        return access_service_pb2.SignOutResponse()

    def GetSession(  # noqa: N802
        self, request: access_service_pb2.GetSessionRequest, context: grpc.ServicerContext
    ) -> access_service_pb2.GetSessionResponse:
        """Who the session belongs to."""
        call = call_of(context)
        token = _session_token(call.session_token)
        if call.staff is not None:
            found = staff_sessions.session_of(token, now=datetime.now(UTC))
            return access_service_pb2.GetSessionResponse(
                staff=staff_message(found.member),
                csrf_token=sessions.csrf_token(token),
                expires_at=timestamp(found.expires_at),
            )
        session = sessions.session_of(token, now=datetime.now(UTC))
        return access_service_pb2.GetSessionResponse(
            operator=operator_message(session.operator),
            csrf_token=sessions.csrf_token(token),
            expires_at=timestamp(session.expires_at),
            recovery_codes_left=two_step.codes_left(session.operator),
        )

    def ChangePassword(  # noqa: N802
        self, request: access_service_pb2.ChangePasswordRequest, context: grpc.ServicerContext
    ) -> access_service_pb2.ChangePasswordResponse:
        """Change the caller's own password."""
        call = call_of(context)
        change = sessions.change_password if call.staff is None else staff.change_password
        change(
            call,
            current=request.current_password,
            new=request.new_password,
            now=datetime.now(UTC),
        )
        return access_service_pb2.ChangePasswordResponse()


def _session_token(token: bytes | None) -> bytes:
    """An internal service has no session that could be shown or ended."""
    if token is None:
        raise CoreError("ADMIN_UNAUTHENTICATED")
    return token
