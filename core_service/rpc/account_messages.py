"""Messages about channel accounts: the account, its form, and what the doctor found."""

from core_service.application import account_checks
from core_service.application.account_checks import AccountCheck
from core_service.application.channel_accounts import ChannelAccountView
from core_service.domain.account_check import Severity
from core_service.errors import FieldViolation, invalid_request
from core_service.providers.base import AccountField, Provider
from core_service.rpc.timestamps import optional_timestamp, timestamp
from core_service.storage.account_checks import TroubleRow
from novapay.merchants.v1 import merchant_service_pb2 as pb


def account_message(view: ChannelAccountView) -> pb.ChannelAccount:
    """An account, its secrets masked."""
    row = view.row
    return pb.ChannelAccount(
        id=row.id,
        merchant_code=view.merchant_code,
        channel_code=row.channel_code,
        display_name=row.display_name,
        enabled=row.enabled,
        callback_token=view.callback_token,
        callback_url=view.callback_url,
        config=row.config_masked,
        created_at=timestamp(row.created_at),
        updated_at=timestamp(row.updated_at),
        check=check_message(view.check),
    )


def description_message(provider: Provider) -> pb.DescribeChannelAccountResponse:
    """What the provider's module declares."""
    return pb.DescribeChannelAccountResponse(
        channel_code=provider.channel_code,
        display_name=provider.display_name,
        fields=[_field_message(field) for field in provider.account_fields],
    )


def check_message(found: AccountCheck) -> pb.AccountCheck:
    """Findings in the order in which they were made."""
    unknown = pb.CHECK_SEVERITY_UNSPECIFIED
    return pb.AccountCheck(
        status=unknown if found.status is None else _severity(found.status),
        findings=[
            pb.CheckFinding(
                code=finding.code,
                severity=_severity(finding.severity),
                facts=[pb.CheckFact(name=name, value=text) for name, text in finding.facts.items()],
            )
            for finding in found.findings
        ],
        checked_at=optional_timestamp(found.checked_at),
        status_since=optional_timestamp(found.status_since),
    )


def trouble_message(row: TroubleRow) -> pb.AccountTrouble:
    """An account that is not well, beside whose it is."""
    return pb.AccountTrouble(
        account_id=row.check.account_id,
        merchant_code=row.merchant_code,
        merchant_name=row.merchant_name,
        channel_code=row.channel_code,
        display_name=row.display_name,
        check=check_message(account_checks.view(row.check)),
    )


def severity_of(request: pb.ListAccountTroublesRequest) -> str | None:
    """Which troubles are asked for; None: all. Raises INVALID_REQUEST."""
    if not request.HasField("status"):
        return None
    if request.status not in (pb.CHECK_SEVERITY_WARNING, pb.CHECK_SEVERITY_ERROR):
        raise invalid_request(FieldViolation("status", "must be WARNING or ERROR"))
    return pb.CheckSeverity.Name(request.status).removeprefix("CHECK_SEVERITY_")


def _severity(severity: Severity) -> pb.CheckSeverity.ValueType:
    return pb.CheckSeverity.Value(f"CHECK_SEVERITY_{severity}")


def _field_message(field: AccountField) -> pb.AccountField:
    group = field.group
    return pb.AccountField(
        name=field.name,
        required=field.required,
        secret=field.secret,
        kind=pb.AccountFieldKind.Value(f"ACCOUNT_FIELD_KIND_{field.kind}"),
        label_zh=field.label_zh,
        label_en=field.label_en,
        help_zh=field.help_zh,
        help_en=field.help_en,
        group=None if group is None else pb.AccountFieldGroup(**vars(group)),
    )
