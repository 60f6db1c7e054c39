"""Which account serves an order, with which limits and fee; and where addresses that a merchant gives may point."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network

from core_service.application import system_config
from core_service.application.merchant_cache import Account, MerchantSnapshot
from core_service.domain.merchant import ensure_may_create
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.outbound_http import OutboundError, parse_url, vet_url
from core_service.providers.base import Provider

_allowed_networks: list[IPv4Network | IPv6Network] = []


@dataclass(frozen=True)
class Plan:
    """How a new order will be taken."""

    account: Account
    fee_rate: Decimal


def configure(allowed_networks: tuple[IPv4Network | IPv6Network, ...]) -> None:
    """Addresses that callbacks may reach although they are not public (development only)."""
    _allowed_networks[:] = allowed_networks


def plan_or_refusal(
    merchant: MerchantSnapshot, provider: Provider, amount_fen: int
) -> Plan | CoreError:
    """The plan, or why there is none; PERMISSION_DENIED when the merchant may not create orders at all."""
    try:
        ensure_may_create(merchant.facts, provider.channel_code)
        return _plan(merchant, provider.channel_code, amount_fen)
    except CoreError as refusal:
        return refusal


def _plan(merchant: MerchantSnapshot, channel_code: str, amount_fen: int) -> Plan:
    """Contract section 7, Routing. Raises CHANNEL_…, ACCOUNT_DISABLED, AMOUNT_TOO_…."""
    account = serving_account(merchant, channel_code)
    binding = merchant.bindings.get(channel_code)
    if binding is None:
        return Plan(account, Decimal(0))
    if binding.min_amount_fen is not None and amount_fen < binding.min_amount_fen:
        raise CoreError("AMOUNT_TOO_SMALL")
    if binding.max_amount_fen is not None and amount_fen > binding.max_amount_fen:
        raise CoreError("AMOUNT_TOO_LARGE")
    return Plan(account, binding.fee_rate)


def serving_account(merchant: MerchantSnapshot, channel_code: str) -> Account:
    """The account that new orders on a channel are taken with. Raises CHANNEL_…, ACCOUNT_DISABLED."""
    binding = merchant.bindings.get(channel_code)
    if binding is not None and not binding.enabled:
        raise CoreError("CHANNEL_DISABLED")
    if binding is None or binding.account_id is None:
        return _newest_account(merchant, channel_code)
    account = merchant.accounts[binding.account_id]
    if not account.enabled:
        raise CoreError("ACCOUNT_DISABLED")
    return account


def _newest_account(merchant: MerchantSnapshot, channel_code: str) -> Account:
    accounts = [
        account for account in merchant.accounts.values() if account.channel_code == channel_code
    ]
    if not accounts:
        raise CoreError("CHANNEL_NOT_CONFIGURED")
    enabled = [account for account in accounts if account.enabled]
    if not enabled:
        raise CoreError("ACCOUNT_DISABLED")
    return max(enabled, key=lambda account: (account.created_at, account.id))


def expire_at(now: datetime) -> datetime:
    """When an order that is created now can no longer be paid: a whole second, which providers are told exactly."""
    lifetime = timedelta(minutes=system_config.current().payment_expire_minutes)
    return (now + lifetime + timedelta(microseconds=999_999)).replace(microsecond=0)


def check_urls(return_url: str | None, callback_url: str | None) -> None:
    """Raises INVALID_REQUEST for a malformed address, CALLBACK_URL_FORBIDDEN for an internal one (M07, M09)."""
    violations = []
    for field, url in (("returnUrl", return_url), ("callbackUrl", callback_url)):
        if url is None:
            continue
        try:
            parse_url(url)
        except ValueError as problem:
            violations.append(FieldViolation(field, str(problem)))
    if violations:
        raise invalid_request(*violations)
    if callback_url is None:
        return
    try:
        vet_url(callback_url, _allowed_networks)
    except OutboundError as forbidden:
        raise CoreError("CALLBACK_URL_FORBIDDEN") from forbidden
    except ValueError as problem:
        raise invalid_request(FieldViolation("callbackUrl", str(problem))) from problem
