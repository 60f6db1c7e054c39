"""Asking a provider, and what its refusals mean to our caller. Never inside a transaction."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from core_service.application import provider_places
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.calls import Call
from core_service.errors import CoreError
from core_service.providers import registry
from core_service.providers.base import (
    PaymentReport,
    Provider,
    ProviderAccount,
    ProviderRefused,
    ProviderUnknown,
)
from core_service.storage.database import in_transaction
from core_service.storage.payment_orders import PaymentOrderRow

T = TypeVar("T")

LONGEST_CALL_SECONDS = 7.0
ANSWER_MARGIN_SECONDS = 0.7
"""What is kept of the caller's time for the transaction after the provider's answer."""
LEAST_CALL_SECONDS = 0.5


def provider_for(channel_code: str) -> Provider:
    """Raises UNSUPPORTED_CHANNEL."""
    provider = registry.for_channel(channel_code)
    if provider is None:
        raise CoreError("UNSUPPORTED_CHANNEL")
    return provider


def account_of(merchant: MerchantSnapshot, order: PaymentOrderRow) -> ProviderAccount:
    """The account that the order was made with, whatever its state now: its money must still be accounted for."""
    return merchant.accounts[order.account_id].provider_account


def seconds_for_provider(call: Call) -> float:
    """How long a provider may take. Raises OVERLOADED when the caller has too little time left, or has gone."""
    call.ensure_alive(LEAST_CALL_SECONDS + ANSWER_MARGIN_SECONDS)
    return min(LONGEST_CALL_SECONDS, call.seconds_left() - ANSWER_MARGIN_SECONDS)


def ask(call: Call, question: Callable[[float], T]) -> T:
    """Calls out with the time there is. Raises PROVIDER_ERROR, PROVIDER_TIMEOUT or PROVIDER_UNAVAILABLE."""
    assert not in_transaction()
    try:
        return question(seconds_for_provider(call))
    except ProviderRefused as refusal:
        raise refused(refusal) from refusal
    except ProviderUnknown as unknown:
        raise CoreError(unknown.reason) from unknown


def query(
    call: Call, merchant: MerchantSnapshot, order: PaymentOrderRow, *, now: datetime
) -> PaymentReport:
    """The provider's truth about an order."""
    provider = provider_for(order.channel_code)
    account = account_of(merchant, order)
    provider_places.take_or_wait(provider.provider_code, merchant.facts.id)
    return ask(
        call,
        lambda seconds: provider.query_payment(
            account, order.id, amount_fen=order.amount_fen, now=now, timeout_seconds=seconds
        ),
    )


def answer_of(report: PaymentReport) -> str:
    """What a provider said, for a person: our word for it and the provider's own."""
    return f"{report.state} {report.provider_status}"


def refused(refusal: ProviderRefused) -> CoreError:
    """The provider's no with its code and message, which are not secret."""
    return CoreError("PROVIDER_ERROR", details={"code": refusal.code, "message": refusal.message})
