"""What the payer's page shows of an order, as plain values for its template."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from markupsafe import Markup

from novapay.payments.v1 import payment_service_pb2 as payments
from rest_edge.json_codec import enum_numbers
from rest_edge.qr_code import qr_png_uri, qr_svg
from rest_edge.wallets import Device, wallet_of_channel

_CHINA = timezone(timedelta(hours=8))
_STATE_NAMES = {
    number: name for name, number in enum_numbers(payments.CheckoutState.DESCRIPTOR).items()
}


def state_name(checkout: Any) -> str:
    """Such as WAITING."""
    return _STATE_NAMES[checkout.state]


def page_version(checkout: Any) -> str:
    """Changes when the page would look otherwise, in any language and on any device."""
    payable = "payable" if checkout.checkout_url else "-"
    return f"{state_name(checkout)} {checkout.refunded_amount} {payable}"


def order_values(
    checkout: Any, texts: Mapping[str, str], device: Device, *, is_result: bool, now: datetime
) -> dict[str, Any]:
    """Everything the template needs to know of the order.

    On the result page an order that can still be paid is being confirmed: its payer has just come back from paying.
    """
    state = state_name(checkout)
    if is_result and state == "WAITING":
        state = "CONFIRMING"
    return {
        "order_id": checkout.order_id,
        "is_result": is_result,
        "state": state,
        "state_text": texts[state],
        "hint": _hint(state, checkout, texts),
        "version": page_version(checkout),
        "may_change": checkout.may_change,
        "merchant": checkout.merchant_name,
        "logo_etag": checkout.merchant_logo_etag,
        "amount": yuan(checkout.amount),
        "subject": checkout.subject,
        "external_order_id": checkout.external_order_id,
        "refunded": yuan(checkout.refunded_amount) if "REFUNDED" in state else "",
        "expires": _moment(checkout, "expire_at") if state == "WAITING" else None,
        "seconds_left": _seconds_left(checkout, now) if state == "WAITING" else 0,
        "paid": _moment(checkout, "paid_at"),
        "return_url": _web_address(checkout.return_url),
        "return_seconds": checkout.return_delay_seconds,
        "returns": state == "PAID" and bool(_web_address(checkout.return_url)),
    } | _way_to_pay(checkout, texts, device, state)


def yuan(amount: str) -> str:
    """`1234.50` as people read it: `¥1,234.50`."""
    whole, _, cents = amount.partition(".")
    return f"¥{int(whole or 0):,}.{cents or '00'}"


def _way_to_pay(
    checkout: Any, texts: Mapping[str, str], device: Device, state: str
) -> dict[str, Any]:
    """A code or a button, or the advice to change the browser: never what cannot work on this device."""
    url = checkout.checkout_url if state == "WAITING" else ""
    wallet = wallet_of_channel(checkout.channel_code)
    is_other_wallet = device.inside not in (None, wallet)
    way: dict[str, Any] = {"code": "", "picture": "", "button_url": "", "button": "", "how": ""}
    way["can_save"] = device.is_phone and device.inside is None  # wallets download nothing
    if not url:
        way["how"] = texts["preparing"] if state == "WAITING" else ""
    elif checkout.payment_mode == "qr_code":
        place = "inside" if device.inside == wallet else "phone" if device.is_phone else "desktop"
        way["how"] = texts[f"{wallet}_other" if is_other_wallet else f"scan_{place}"]
        if device.is_phone or device.inside:
            way["picture"] = qr_png_uri(url)  # a phone saves and recognises pictures, not drawings
        else:
            way["code"] = Markup(qr_svg(url))  # noqa: S704 - made here, from numbers
    elif is_other_wallet:
        way["how"] = texts[f"{wallet}_other"]
    else:
        way["button_url"] = _web_address(url)
        way["button"] = texts[f"pay_{'inside' if device.inside else wallet}"]
    return way


def _hint(state: str, checkout: Any, texts: Mapping[str, str]) -> str:
    if state in ("EXPIRED", "CLOSED"):
        return texts["may_have_paid" if checkout.may_change else "order_again"]
    return texts.get(f"hint_{state}", "")


def _web_address(url: str) -> str:
    return url if url.startswith(("https://", "http://")) else ""


def _seconds_left(checkout: Any, now: datetime) -> int:
    expire_at: int = checkout.expire_at.seconds
    return max(0, round(expire_at - now.timestamp()))


def _moment(checkout: Any, field: str) -> dict[str, str] | None:
    """A time for machines and for people."""
    if not checkout.HasField(field):
        return None
    at = datetime.fromtimestamp(getattr(checkout, field).seconds, UTC).astimezone(_CHINA)
    return {"iso": at.isoformat(), "text": at.strftime("%Y-%m-%d %H:%M:%S UTC+8")}
