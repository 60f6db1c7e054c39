"""Every provider, one line each."""

from core_service.outbound_http import ProviderClient
from core_service.providers.alipay.page import AlipayPage
from core_service.providers.base import Provider
from core_service.providers.wxpay.native import WxpayNative

_client = ProviderClient()

PROVIDERS: tuple[Provider, ...] = (AlipayPage(_client), WxpayNative(_client))

_ALIASES = {"wechat.native": "wxpay.native"}
_BY_CHANNEL = {provider.channel_code: provider for provider in PROVIDERS}
_BY_CALLBACK = {provider.provider_code: provider for provider in PROVIDERS}


def for_channel(channel_code: str) -> Provider | None:
    """By channel code or one of its old names."""
    return _BY_CHANNEL.get(_ALIASES.get(channel_code, channel_code))


def for_callback(provider_code: str) -> Provider | None:
    """By the path word of the callback route."""
    return _BY_CALLBACK.get(provider_code)
