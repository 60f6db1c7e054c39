"""Turns one event into the pushes that a scenario makes of it."""

import secrets
import uuid
from dataclasses import dataclass, replace
from typing import Any

from sandbox.scenarios import Chosen

_DUPLICATE_GAP_SECONDS = 0.5
_HELD_BACK_SECONDS = 5.0
_FLAWS = {
    "notify_bad_signature": "bad_signature",
    "notify_signtest": "signtest",
    "notify_stale": "stale",
}


@dataclass(frozen=True)
class Push:
    """One notification to queue; its first `flawed_attempts` are made with `flaw`."""

    content: dict[str, Any]
    delay_seconds: float = 0.0
    flaw: str = ""
    flawed_attempts: int = 0
    lost: bool = False


def plan_pushes(provider: str, content: dict[str, Any], chosen: Chosen | None) -> list[Push]:
    """The pushes for an event; one plain push without a scenario."""
    plain = Push(content)
    match chosen.name if chosen else "":
        case "":
            pushes = [plain]
        case "notify_lost":
            pushes = [replace(plain, lost=True)]
        case "notify_duplicate":
            pushes = [replace(plain, delay_seconds=i * _DUPLICATE_GAP_SECONDS) for i in range(3)]
        case "notify_concurrent":
            pushes = [plain] * int(_option(chosen, "copies", 2))
        case "notify_delayed":
            pushes = [replace(plain, delay_seconds=float(_option(chosen, "delaySeconds", 10)))]
        case "notify_out_of_order":
            pushes = _out_of_order(provider, content)
        case "notify_bad_signature" | "notify_signtest" | "notify_stale" as name:
            attempts = int(_option(chosen, "attempts", 1))
            pushes = [replace(plain, flaw=_FLAWS[name], flawed_attempts=attempts)]
        case name:
            pushes = [Push(_altered(provider, content, name))]
    return pushes


def _option(chosen: Chosen | None, name: str, default: float) -> Any:
    return chosen.options.get(name, default) if chosen else default


def _out_of_order(provider: str, content: dict[str, Any]) -> list[Push]:
    if provider == "wxpay":
        return [Push(content, delay_seconds=_HELD_BACK_SECONDS)]
    later = [
        {**content, "trade_status": status, "notify_id": secrets.token_hex(17)}
        for status in ("WAIT_BUYER_PAY", "TRADE_CLOSED")
    ]
    return [Push(content), Push(later[0], delay_seconds=0.5), Push(later[1], delay_seconds=1.0)]


def _altered(provider: str, content: dict[str, Any], name: str) -> dict[str, Any]:
    """The content with one fact changed; it will be validly signed."""
    if provider == "alipay":
        changes = {
            "notify_tampered_amount": {"total_amount": _one_fen_more(content["total_amount"])},
            "notify_wrong_app": {"app_id": "2021999999999999"},
            "notify_wrong_seller": {"seller_id": "2088999999999999"},
            "notify_unknown_order": {"out_trade_no": f"unknown{uuid.uuid4().hex[:16]}"},
        }
        return {**content, **changes.get(name, {})}
    plaintext = dict(content["plaintext"])
    changed = {**content, "plaintext": plaintext}
    match name:
        case "notify_tampered_amount":
            amount = plaintext["amount"]
            plaintext["amount"] = {**amount, "total": amount["total"] + 1}
        case "notify_wrong_app":
            # Refund notices name no appid; a wrong one in its place must not matter or be refused.
            plaintext["appid"] = "wx9999999999999999"
        case "notify_wrong_seller":
            plaintext["mchid"] = "1999999999"
        case "notify_unknown_order":
            plaintext["out_trade_no"] = f"unknown{uuid.uuid4().hex[:16]}"
        case "notify_bad_ciphertext":
            changed["broken_ciphertext"] = True
        case "notify_empty_aad":
            changed["associated_data"] = ""
        case "notify_no_aad":
            changed["associated_data"] = None
    return changed


def _one_fen_more(yuan: str) -> str:
    whole, _, decimals = yuan.partition(".")
    fen = int(whole) * 100 + int(decimals) + 1
    return f"{fen // 100}.{fen % 100:02d}"
