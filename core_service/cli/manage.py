"""Commands that set merchants and operators up: clients of the running core, with its token."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from core_service import metadata
from core_service.cli.channel import channel_to_core
from core_service.cli.failure import CommandFailed, load_settings
from core_service.client import core_error_from, never_left
from novapay.access.v1 import access_service_pb2 as access
from novapay.access.v1.access_service_pb2_grpc import AccessServiceStub
from novapay.config.v1 import config_service_pb2 as config
from novapay.config.v1.config_service_pb2_grpc import ConfigServiceStub
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.merchants.v1.merchant_service_pb2_grpc import MerchantServiceStub
from novapay.payments.v1 import payment_service_pb2 as payments
from novapay.payments.v1.payment_service_pb2_grpc import PaymentServiceStub

TIMEOUT_SECONDS = 15.0

DEMO_PROFILE: dict[str, Any] = {
    "legal_name": "示例商户有限公司 Example Merchant Ltd.",
    "contact_name": "示例 Example",
    "contact_email": "merchant@example.com",
    "contact_phone": "+86 10 0000 0000",
    "company_registration_id": "91110000EXAMPLE000",
}
"""What approval asks for, so that a development merchant can take payments at once."""


def create_merchant(arguments: Namespace) -> int:
    """Create a merchant, waiting for review unless `--approve` is given."""
    status = merchants.MERCHANT_STATUS_PENDING
    profile: dict[str, Any] = {}
    if arguments.approve:
        status = merchants.MERCHANT_STATUS_APPROVED
        profile = {} if load_settings().is_production else DEMO_PROFILE
    request = merchants.CreateMerchantRequest(
        code=arguments.code, name=arguments.name, status=status, **profile
    )
    with core_channel() as channel:
        merchant = MerchantServiceStub(channel).CreateMerchant(request, timeout=TIMEOUT_SECONDS)
    answer = as_json(merchant.merchant)
    return show(arguments, {name: answer[name] for name in ("id", "code", "status")})


def set_merchant(arguments: Namespace) -> int:
    """Change what is given and leave the rest."""
    request = merchants.UpdateMerchantRequest(id=arguments.code)
    if arguments.status:
        request.status = merchants.MerchantStatus.Value(f"MERCHANT_STATUS_{arguments.status}")
        request.update_mask.paths.append("status")
    if arguments.callback_base is not None:
        request.callback_base = arguments.callback_base
        request.update_mask.paths.append("callback_base")
    if arguments.ip_allowlist is not None:
        request.api_ip_whitelist = arguments.ip_allowlist
        request.update_mask.paths.append("api_ip_whitelist")
    if arguments.notify_secret:
        request.notify_secret = read_secret("the notify secret")
        request.update_mask.paths.append("notify_secret")
    if not request.update_mask.paths:
        raise CommandFailed("nothing to change; see novapay merchants set --help")
    with core_channel() as channel:
        merchant = MerchantServiceStub(channel).UpdateMerchant(request, timeout=TIMEOUT_SECONDS)
    return show(arguments, as_json(merchant.merchant))


def create_credential(arguments: Namespace) -> int:
    """Make an API key."""
    request = merchants.CreateCredentialRequest(merchant_code=arguments.merchant)
    with core_channel() as channel:
        made = MerchantServiceStub(channel).CreateCredential(request, timeout=TIMEOUT_SECONDS)
    return show(arguments, {"keyId": made.credential.key_id, "secret": made.secret})


def create_account(arguments: Namespace) -> int:
    """Add an account at a provider; the file holds its keys."""
    try:
        config = arguments.config.read_text(encoding="utf-8")
        if not isinstance(json.loads(config), dict):
            raise CommandFailed(f"{arguments.config} does not hold a JSON object")
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{arguments.config} cannot be read: {error}") from None
    request = merchants.CreateChannelAccountRequest(
        merchant_code=arguments.merchant, channel_code=arguments.channel, config=config
    )
    with core_channel() as channel:
        made = MerchantServiceStub(channel).CreateChannelAccount(request, timeout=TIMEOUT_SECONDS)
    account = as_json(made.account)
    return show(arguments, {name: account[name] for name in ("id", "callbackToken", "callbackUrl")})


def set_binding(arguments: Namespace) -> int:
    """Create a binding, or change what is given of an existing one; it is enabled afterwards."""
    given = {
        "fee_rate": arguments.fee_rate,
        "min_amount": arguments.min,
        "max_amount": arguments.max,
        "merchant_channel_account_id": arguments.account,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    request = merchants.SetBindingRequest(
        merchant_code=arguments.merchant,
        channel_code=arguments.channel,
        enabled=not arguments.disable,
        update_mask=FieldMask(paths=["enabled", *changes]),
        **changes,
    )
    with core_channel() as channel:
        made = MerchantServiceStub(channel).SetBinding(request, timeout=TIMEOUT_SECONDS)
    return show(arguments, as_json(made.binding))


def create_admin(arguments: Namespace) -> int:
    """Add an operator; the password comes from standard input, so that no history keeps it."""
    request = access.CreateOperatorRequest(
        email=arguments.email,
        role=access.OperatorRole.Value(f"OPERATOR_ROLE_{arguments.role}"),
        password=read_secret("the password"),
    )
    with core_channel() as channel:
        made = AccessServiceStub(channel).CreateOperator(request, timeout=TIMEOUT_SECONDS)
    return show(arguments, as_json(made.operator))


def create_staff(arguments: Namespace) -> int:
    """Add somebody to a merchant; the first password must be changed at the first sign-in.

    With `--password` it is changed at once, to one that others know: for demos, so refused in production.
    """
    if arguments.password and load_settings().is_production:
        raise CommandFailed("in production a password is chosen by its owner: leave --password out")
    password = read_secret("the password") if arguments.password else None
    request = access.CreateStaffRequest(
        merchant_code=arguments.merchant,
        email=arguments.email,
        role=access.StaffRole.Value(f"STAFF_ROLE_{arguments.role}"),
    )
    with core_channel() as channel:
        made = AccessServiceStub(channel).CreateStaff(request, timeout=TIMEOUT_SECONDS)
    if password is not None:
        _choose_password(arguments.email, made.first_password, password)
    person = as_json(made.staff)
    shown = {name: person[name] for name in ("id", "email")}
    first = {} if password is not None else {"firstPassword": made.first_password}
    return show(arguments, {**shown, **first})


def _choose_password(email: str, first: str, chosen: str) -> None:
    """As the member does it after the first sign-in."""
    with core_channel(as_service=False) as channel:
        stub = AccessServiceStub(channel)
        opened = stub.SignInStaff(
            access.SignInStaffRequest(email=email, password=first), timeout=TIMEOUT_SECONDS
        )
        session = ((metadata.STAFF_SESSION_TOKEN, opened.session_token.encode()),)
        stub.ChangePassword(
            access.ChangePasswordRequest(current_password=first, new_password=chosen),
            timeout=TIMEOUT_SECONDS,
            metadata=session,
        )
        stub.SignOut(access.SignOutRequest(), timeout=TIMEOUT_SECONDS, metadata=session)


def verify_books(arguments: Namespace) -> int:
    """Check the ledger against orders and refunds."""
    with core_channel() as channel:
        books = PaymentServiceStub(channel).VerifyBooks(
            payments.VerifyBooksRequest(), timeout=TIMEOUT_SECONDS
        )
    show(arguments, as_json(books))
    return 0 if books.balanced else 1


def verify_audit_log(arguments: Namespace) -> int:
    """Walk the audit log from its first record, a stretch with each call."""
    checked, place = 0, 1
    with core_channel() as channel:
        stub = ConfigServiceStub(channel)
        while place:
            found = stub.VerifyAuditLog(
                config.VerifyAuditLogRequest(from_sequence=place), timeout=TIMEOUT_SECONDS
            )
            checked, place = checked + found.checked, found.next_sequence
    found.checked = checked
    show(arguments, as_json(found))
    return 0 if found.intact else 1


@contextmanager
def core_channel(*, as_service: bool = True) -> Iterator[grpc.Channel]:
    """A channel to the core; a refused call becomes CommandFailed with the core's reason."""
    settings = load_settings()
    with channel_to_core(settings, as_service=as_service) as channel:
        try:
            yield channel
        except grpc.RpcError as failure:
            if never_left(failure):
                raise CommandFailed(
                    f"no core answers at {settings.grpc_bind}; start it with `novapay up`"
                ) from None
            error = core_error_from(failure)
            found = [{"field": item.field, "reason": item.reason} for item in error.violations]
            details = error.details if error.details is not None else found or None
            text = f"{error.message} ({error.reason})"
            if details:
                text = f"{text}: {json.dumps(details, ensure_ascii=False)}"
            raise CommandFailed(text, {"code": error.reason, "details": details}) from None


def read_secret(what: str) -> str:
    """Read one line from standard input."""
    if sys.stdin.isatty():
        sys.stderr.write(f"novapay: type {what}, then Enter\n")
    secret = sys.stdin.readline().strip("\r\n")
    if not secret:
        raise CommandFailed(f"{what} is expected on standard input")
    return secret


def show(arguments: Namespace, answer: dict[str, Any]) -> int:
    """Print an answer: one JSON object, or a line for each member."""
    if arguments.json:
        print(json.dumps(answer, ensure_ascii=False))
        return 0
    width = max(len(name) for name in answer)
    for name, value in answer.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{name:<{width}}  {text}")
    return 0


def as_json(message: Message) -> dict[str, Any]:
    """Turn a message into JSON as the contract has it: camel case, null, enums without prefix."""
    answer: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            answer[field.json_name] = [_json_value(field, item) for item in value]
        elif field.has_presence and not message.HasField(field.name):
            answer[field.json_name] = None
        else:
            answer[field.json_name] = _json_value(field, value)
    return answer


def _json_value(field: Any, value: Any) -> Any:
    if isinstance(value, Timestamp):
        moment = value.ToDatetime(tzinfo=UTC).isoformat(timespec="milliseconds")
        return moment.replace("+00:00", "Z")
    if isinstance(value, Message):
        return as_json(value)
    if field.enum_type is not None:
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return field.enum_type.values_by_number[value].name.removeprefix(prefix)
    return value
