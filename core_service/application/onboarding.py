"""How far a merchant has come: what is done of the steps from registration to the first live payment."""

from dataclasses import dataclass
from datetime import datetime

from core_service.application import merchant_cache
from core_service.application.merchant_cache import Account
from core_service.providers import registry
from core_service.providers.base import AccountConfigInvalid
from core_service.storage import onboarding as storage


@dataclass(frozen=True)
class Progress:
    """What is done."""

    account_checked: bool
    key_created: bool
    callback_confirmed: bool
    sandbox_paid: bool
    live_paid: bool
    has_sandbox: bool
    has_live_account: bool


def progress(merchant_code: str, *, has_sandbox: bool, now: datetime) -> Progress:
    """Raises MERCHANT_NOT_FOUND. `has_sandbox`: accounts may have another address than the provider's own."""
    merchant = merchant_cache.by_code(merchant_code)
    merchant_id = merchant.facts.id
    paid_with = storage.accounts_with_payments(merchant_id)
    sandboxes = {one.id for one in merchant.accounts.values() if is_at_sandbox(one)}
    return Progress(
        account_checked=storage.has_checked_account(merchant_id),
        key_created=any(key.is_live(now) for key in merchant.credentials.values()),
        callback_confirmed=storage.has_confirmed_callback(merchant_id),
        sandbox_paid=bool(paid_with & sandboxes),
        live_paid=bool(paid_with - sandboxes),
        has_sandbox=has_sandbox,
        has_live_account=bool(merchant.accounts.keys() - sandboxes),
    )


def is_at_sandbox(account: Account) -> bool:
    """Whether its configuration would do only where other addresses than the provider's own are allowed."""
    provider = registry.for_channel(account.channel_code)
    if provider is None:
        return False
    try:
        provider.validate_config(account.provider_account.config, allow_custom_base_url=False)
    except AccountConfigInvalid:
        return True
    return False
