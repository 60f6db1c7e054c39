"""The part of AccessService that is about operators: who they are, and their two-step sign-in."""

from datetime import UTC, datetime

import grpc

from core_service.application import administration, sessions, two_step
from core_service.errors import CoreError
from core_service.rpc.interceptors import call_of
from core_service.rpc.timestamps import optional_timestamp, timestamp
from core_service.storage.access import OperatorRow
from novapay.access.v1 import access_service_pb2 as pb

_ROLE_PREFIX = "OPERATOR_ROLE_"
_Context = grpc.ServicerContext


class OperatorRpcs:
    """Messages to values and back; AccessServicer inherits them."""

    def ListOperators(  # noqa: N802 (named by the proto file, like the others here)
        self, request: pb.ListOperatorsRequest, context: _Context
    ) -> pb.ListOperatorsResponse:
        """Answer everybody."""
        return pb.ListOperatorsResponse(
            operators=[operator_message(row) for row in administration.all_operators()]
        )

    def CreateOperator(  # noqa: N802
        self, request: pb.CreateOperatorRequest, context: _Context
    ) -> pb.CreateOperatorResponse:
        """Add an operator."""
        operator, first_password = administration.create_operator(
            call_of(context),
            email=request.email,
            name=request.name,
            role=_role(request.role),
            password=request.password if request.HasField("password") else None,
            now=datetime.now(UTC),
        )
        return pb.CreateOperatorResponse(
            operator=operator_message(operator), first_password=first_password
        )

    def UpdateOperator(  # noqa: N802
        self, request: pb.UpdateOperatorRequest, context: _Context
    ) -> pb.UpdateOperatorResponse:
        """Change what is present."""
        operator, first_password = administration.update_operator(
            call_of(context),
            request.id,
            name=request.name or None,
            role=_role(request.role) if request.HasField("role") else None,
            enabled=request.enabled if request.HasField("enabled") else None,
            reset_password=request.reset_password,
            reset_totp=request.reset_totp,
            end_sessions=request.end_sessions,
            now=datetime.now(UTC),
        )
        return pb.UpdateOperatorResponse(
            operator=operator_message(operator), first_password=first_password
        )

    def BeginTotp(  # noqa: N802
        self, request: pb.BeginTotpRequest, context: _Context
    ) -> pb.BeginTotpResponse:
        """Answer a new key, this once."""
        key = two_step.begin(call_of(context), password=request.password, now=datetime.now(UTC))
        return pb.BeginTotpResponse(secret=key.text, uri=key.uri)

    def ConfirmTotp(  # noqa: N802
        self, request: pb.ConfirmTotpRequest, context: _Context
    ) -> pb.ConfirmTotpResponse:
        """Switch it on and answer the recovery codes, this once."""
        call = call_of(context)
        if call.session_token is None:
            raise CoreError("ADMIN_UNAUTHENTICATED")
        codes = two_step.confirm(
            call,
            code=request.code,
            this_session=sessions.token_hash(call.session_token),
            now=datetime.now(UTC),
        )
        return pb.ConfirmTotpResponse(recovery_codes=codes)

    def DisableTotp(  # noqa: N802
        self, request: pb.DisableTotpRequest, context: _Context
    ) -> pb.DisableTotpResponse:
        """Switch it off."""
        two_step.disable(
            call_of(context),
            password=request.password,
            code=request.code,
            now=datetime.now(UTC),
        )
        return pb.DisableTotpResponse()

    def ReplaceRecoveryCodes(  # noqa: N802
        self, request: pb.ReplaceRecoveryCodesRequest, context: _Context
    ) -> pb.ReplaceRecoveryCodesResponse:
        """Answer new ones, this once."""
        codes = two_step.replace_codes(
            call_of(context),
            password=request.password,
            code=request.code,
            now=datetime.now(UTC),
        )
        return pb.ReplaceRecoveryCodesResponse(recovery_codes=codes)


def operator_message(row: OperatorRow) -> pb.Operator:
    """An operator without password and keys."""
    return pb.Operator(
        id=row.id,
        email=row.email,
        name=row.name,
        role=pb.OperatorRole.Value(f"{_ROLE_PREFIX}{row.role}"),
        created_at=timestamp(row.created_at),
        enabled=row.enabled,
        must_change_password=row.must_change_password,
        totp_enabled=row.totp_sealed is not None,
        last_sign_in_at=optional_timestamp(row.last_sign_in_at),
    )


def _role(number: pb.OperatorRole.ValueType) -> str:
    return pb.OperatorRole.Name(number).removeprefix(_ROLE_PREFIX)
