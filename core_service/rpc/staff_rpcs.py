"""The part of AccessService that is about merchants: registration, and their staff."""

from datetime import UTC, datetime

import grpc

from core_service.application import registration, sessions, staff, staff_sessions
from core_service.application.merchants import Merchants
from core_service.rpc.interceptors import call_of
from core_service.rpc.timestamps import optional_timestamp, timestamp
from core_service.storage.staff import StaffMember
from novapay.access.v1 import access_service_pb2 as pb

_ROLE_PREFIX = "STAFF_ROLE_"
_PROFILE = (
    "name",
    "legal_name",
    "contact_name",
    "contact_email",
    "contact_phone",
    "company_registration_id",
    "onboarding_note",
)


class StaffRpcs:
    """Messages to values and back; AccessServicer inherits them."""

    def __init__(self, merchants: Merchants) -> None:
        self._merchants = merchants

    def RegisterMerchant(  # noqa: N802 (named by the proto file, like the others here)
        self, request: pb.RegisterMerchantRequest, context: grpc.ServicerContext
    ) -> pb.RegisterMerchantResponse:
        """Make a merchant that waits for review, and its owner."""
        registration.register(
            call_of(context),
            self._merchants,
            profile={name: getattr(request, name) for name in _PROFILE},
            email=request.email,
            name=request.owner_name,
            password=request.password,
            now=datetime.now(UTC),
        )
        return pb.RegisterMerchantResponse()

    def SignInStaff(  # noqa: N802
        self, request: pb.SignInStaffRequest, context: grpc.ServicerContext
    ) -> pb.SignInStaffResponse:
        """Sign somebody in."""
        opened = staff_sessions.sign_in(
            call_of(context),
            email=request.email,
            password=request.password,
            now=datetime.now(UTC),
        )
        return pb.SignInStaffResponse(
            session_token=opened.token,
            csrf_token=sessions.csrf_token(opened.token.encode()),
            staff=staff_message(opened.session.member),
            expires_at=timestamp(opened.session.expires_at),
        )

    def ListStaff(  # noqa: N802
        self, request: pb.ListStaffRequest, context: grpc.ServicerContext
    ) -> pb.ListStaffResponse:
        """Answer a merchant's staff."""
        members = staff.of_merchant(request.merchant_code)
        return pb.ListStaffResponse(staff=[staff_message(member) for member in members])

    def CreateStaff(  # noqa: N802
        self, request: pb.CreateStaffRequest, context: grpc.ServicerContext
    ) -> pb.CreateStaffResponse:
        """Add somebody and show the first password, this once."""
        member, password = staff.create(
            call_of(context),
            request.merchant_code,
            email=request.email,
            name=request.name,
            role=_role(request.role),
            now=datetime.now(UTC),
        )
        return pb.CreateStaffResponse(staff=staff_message(member), first_password=password)

    def UpdateStaff(  # noqa: N802
        self, request: pb.UpdateStaffRequest, context: grpc.ServicerContext
    ) -> pb.UpdateStaffResponse:
        """Change what is present."""
        member, password = staff.update(
            call_of(context),
            request.merchant_code,
            request.id,
            name=request.name or None,
            role=_role(request.role) if request.HasField("role") else None,
            enabled=request.enabled if request.HasField("enabled") else None,
            reset_password=request.reset_password,
            now=datetime.now(UTC),
        )
        return pb.UpdateStaffResponse(staff=staff_message(member), first_password=password)


def staff_message(member: StaffMember) -> pb.Staff:
    """Somebody without their password."""
    row = member.row
    return pb.Staff(
        id=row.id,
        merchant_code=member.merchant_code,
        merchant_name=member.merchant_name,
        email=row.email,
        name=row.name,
        role=pb.StaffRole.Value(f"{_ROLE_PREFIX}{row.role}"),
        enabled=row.enabled,
        must_change_password=row.must_change_password,
        last_sign_in_at=optional_timestamp(row.last_sign_in_at),
        created_at=timestamp(row.created_at),
    )


def _role(number: pb.StaffRole.ValueType) -> str:
    return pb.StaffRole.Name(number).removeprefix(_ROLE_PREFIX)
