"""Which wallet's browser a page is open in, and whether it is on a phone, as far as the User-Agent tells."""

from dataclasses import dataclass
from enum import StrEnum


class Wallet(StrEnum):
    """The wallets that can open a page of ours in a browser of their own."""

    WECHAT = "wechat"
    ALIPAY = "alipay"


@dataclass(frozen=True)
class Device:
    """Where a page is open. `inside` is None in an ordinary browser."""

    inside: Wallet | None
    is_phone: bool


def device_of(user_agent: str) -> Device:
    """Sources: the names that both wallets document for their browsers, MicroMessenger and AlipayClient."""
    inside = None
    if "MicroMessenger/" in user_agent:
        inside = Wallet.WECHAT
    elif "AlipayClient/" in user_agent:
        inside = Wallet.ALIPAY
    is_phone = any(word in user_agent for word in ("Mobile", "Android", "iPhone"))
    return Device(inside, is_phone)


def wallet_of_channel(channel_code: str) -> Wallet:
    """The wallet that pays a channel such as `wxpay.native`."""
    return Wallet.WECHAT if channel_code.startswith("wxpay.") else Wallet.ALIPAY
