"""Which account serves which channel of a merchant, with limits and fee."""

from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from admin.operator.merchant_tabs import merchant_of, merchant_path, render_merchant
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import CoreError
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.payments.v1 import payment_service_pb2 as payments

PAGE_SIZE = 200


class Bindings(Page):
    """Every channel, bound or not."""

    path = "/admin/merchants/{code}/bindings"
    rpc = "MerchantService.ListBindings"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """In the order of the channel list."""
        merchant = await merchant_of(visit, params["code"])
        bound = await bindings_of(visit, merchant.code)
        channels = await visit.call("PaymentService.ListChannels", payments.ListChannelsRequest())
        rows = [(channel, bound.get(channel.code)) for channel in channels.channels]
        return render_merchant(visit, merchant, "merchant_bindings", rows=rows, percent=percent)


class Binding(Page):
    """One channel of a merchant."""

    path = "/admin/merchants/{code}/bindings/{channel}"
    rpc = "MerchantService.ListBindings"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """The form."""
        merchant = await merchant_of(visit, params["code"])
        channels = await visit.call("PaymentService.ListChannels", payments.ListChannelsRequest())
        channel = next((one for one in channels.channels if one.code == params["channel"]), None)
        if channel is None:
            raise CoreError("UNSUPPORTED_CHANNEL")
        request = merchants.ListChannelAccountsRequest(merchant_code=merchant.code)
        listed = (await visit.call("MerchantService.ListChannelAccounts", request)).accounts
        bound = await bindings_of(visit, merchant.code)
        return render_merchant(
            visit,
            merchant,
            "merchant_bindings",
            "merchant_binding",
            channel=channel,
            binding=bound.get(channel.code),
            accounts=[one for one in listed if one.channel_code == channel.code],
            percent=percent,
        )

    async def do_save(self, visit: Visit, **params: str) -> Reply:
        """Everything on the form."""
        rate = rate_from_percent(visit.form.trimmed("feeRate"))
        values: dict[str, Any] = {
            "enabled": visit.form.get("enabled") == "true",
            "merchant_channel_account_id": visit.form.trimmed("merchantChannelAccountId"),
            "min_amount": visit.form.trimmed("minAmount"),
            "max_amount": visit.form.trimmed("maxAmount"),
            "fee_rate": rate,
        }
        request = merchants.SetBindingRequest(
            merchant_code=params["code"],
            channel_code=params["channel"],
            update_mask=FieldMask(paths=list(values)),
            **{name: value for name, value in values.items() if value != ""},
        )
        await visit.call("MerchantService.SetBinding", request)
        return visit.redirect(merchant_path(params["code"], "bindings"), "bindings.saved")


async def bindings_of(visit: Visit, merchant_code: str) -> dict[str, merchants.Binding]:
    """A merchant's bindings by channel."""
    request = merchants.ListBindingsRequest(merchant_code=merchant_code, page_size=PAGE_SIZE)
    answer = await visit.call("MerchantService.ListBindings", request)
    return {binding.channel_code: binding for binding in answer.bindings}


def percent(rate: str) -> str:
    """`0.0060` → `0.6`."""
    return f"{(Decimal(rate) * 100).normalize():f}"


def rate_from_percent(text: str) -> str:
    """`0.6` → `0.006`; what is no number goes to the core as it is, which refuses it."""
    try:
        return f"{(Decimal(text or '0') / 100).normalize():f}"
    except InvalidOperation:
        return text


MERCHANT_PAGES = (Bindings, Binding)
