"""What a merchant is and may do: lifecycle, profile, address allowlist, and its secrets."""

import base64
import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from core_service.domain.ids import new_id
from core_service.errors import CoreError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

APPROVED = "APPROVED"

_REFUSALS = {
    "PENDING": "MERCHANT_PENDING_REVIEW",
    "REJECTED": "MERCHANT_REJECTED",
    "SUSPENDED": "MERCHANT_SUSPENDED",
}
_CHANNELS_THAT_NEED_A_PROFILE = frozenset({"alipay.page", "wxpay.native"})
_SEPARATORS = re.compile(r"[,\s]+")
_ENTRY = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")
_IPV4_IN_IPV6_BITS = 96
_SHORTEST_SECRET_SHOWN_IN_PART = 12
_SECRET_BYTES = 32
_MASK = re.compile(r".{4}\*{4}.{4}|\*{8}", re.DOTALL)


@dataclass(frozen=True)
class MerchantFacts:
    """A merchant as rules see it; no secrets. Fields are the columns of `merchants`."""

    id: str
    code: str
    name: str
    status: str
    """PENDING, APPROVED, REJECTED or SUSPENDED."""
    legal_name: str | None
    contact_name: str | None
    contact_email: str | None
    contact_phone: str | None
    company_registration_id: str | None
    callback_base: str | None
    callback_enabled: bool
    refund_callback_enabled: bool
    api_ip_whitelist: str | None
    return_delay_seconds: int
    logo_etag: str | None
    version: int


def ensure_may_create(facts: MerchantFacts, channel_code: str) -> None:
    """Raises the refusal of a merchant that may not take new payments on this channel.

    MERCHANT_PENDING_REVIEW, MERCHANT_REJECTED or MERCHANT_SUSPENDED for the status, and
    MERCHANT_PROFILE_INCOMPLETE with the JSON names of the missing fields as details.
    Queries, closes and refunds are never gated.
    """
    if facts.status != APPROVED:
        raise CoreError(_REFUSALS[facts.status])
    if channel_code not in _CHANNELS_THAT_NEED_A_PROFILE:
        return
    missing = missing_profile_fields(facts)
    if missing:
        raise CoreError("MERCHANT_PROFILE_INCOMPLETE", details=missing)


class Profile(Protocol):
    """What a merchant says about itself."""

    @property
    def name(self) -> str: ...
    @property
    def legal_name(self) -> str | None: ...
    @property
    def contact_name(self) -> str | None: ...
    @property
    def contact_phone(self) -> str | None: ...
    @property
    def company_registration_id(self) -> str | None: ...


def missing_profile_fields(profile: Profile) -> list[str]:
    """JSON names of what is still to be filled in before some channels take payments."""
    values = {
        "name": profile.name,
        "legalName": profile.legal_name,
        "contactName": profile.contact_name,
        "contactPhone": profile.contact_phone,
        "companyRegistrationId": profile.company_registration_id,
    }
    return [field for field, value in values.items() if not (value or "").strip()]


# Lifecycle ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lifecycle:
    """A merchant's status and when and by whom it came about."""

    status: str
    status_changed_at: datetime | None
    approved_at: datetime | None
    """The first approval."""
    approved_by: str | None
    """Who approved last."""


def begin_lifecycle(status: str, *, actor: str, now: datetime) -> Lifecycle:
    """The lifecycle of a new merchant; one that begins APPROVED was approved by its maker."""
    return _entered(Lifecycle(status, None, None, None), actor=actor, now=now)


def move(lifecycle: Lifecycle, status: str, *, actor: str, now: datetime) -> Lifecycle:
    """The lifecycle after a change to `status`; the same one when that is no change."""
    if status == lifecycle.status:
        return lifecycle
    before = Lifecycle(status, None, lifecycle.approved_at, lifecycle.approved_by)
    return _entered(before, actor=actor, now=now)


def _entered(lifecycle: Lifecycle, *, actor: str, now: datetime) -> Lifecycle:
    if lifecycle.status != APPROVED:
        return Lifecycle(lifecycle.status, now, lifecycle.approved_at, lifecycle.approved_by)
    return Lifecycle(lifecycle.status, now, lifecycle.approved_at or now, actor)


# Address allowlist --------------------------------------------------------------------------------


def parse_allowlist(text: str | None) -> tuple[IPNetwork, ...]:
    """Networks of an allowlist: addresses and CIDR ranges between commas, white space or lines.

    Host bits may be set (`10.1.2.3/8`); IPv4 written inside IPv6 counts as IPv4.
    Raises ValueError that names the entry.
    """
    return tuple(_network(entry) for entry in _SEPARATORS.split(text or "") if entry)


def address_allowed(networks: Iterable[IPNetwork], address: str | None) -> bool:
    """Whether a client address is inside. No networks: always; an unreadable address: never."""
    known = tuple(networks)
    if not known:
        return True
    try:
        parsed = _unmapped(ipaddress.ip_address(address or ""))
    except ValueError:
        return False
    return any(parsed in network for network in known)


def _network(entry: str) -> IPNetwork:
    message = f"neither an address nor a CIDR range: {entry[:64]!r}"
    # `ip_network` would also take zones, netmasks, and host masks that look just like netmasks.
    if not _ENTRY.fullmatch(entry):
        raise ValueError(message)
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ValueError(message) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _IPV4_IN_IPV6_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _IPV4_IN_IPV6_BITS))


def _unmapped(address: IPAddress) -> IPAddress:
    return getattr(address, "ipv4_mapped", None) or address


# Secrets ------------------------------------------------------------------------------------------


def mask(secret: str) -> str:
    """What is shown of a secret: its first and last four characters, nothing of a short one."""
    if len(secret) < _SHORTEST_SECRET_SHOWN_IN_PART:
        return "********"
    return f"{secret[:4]}****{secret[-4:]}"


def is_mask(text: str) -> bool:
    """Whether a text is what `mask` makes: of a secret of now, or of one that was replaced since."""
    return _MASK.fullmatch(text) is not None


def new_api_key() -> tuple[str, str]:
    """A key id `npk_…` and its secret `nps_…` of 256 random bits."""
    return new_id("npk"), "nps_" + secrets.token_urlsafe(_SECRET_BYTES)


def new_notify_secret() -> str:
    """A callback secret `whsec_` + base64, the form that Standard Webhooks verifiers take."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def new_callback_token() -> str:
    """The unguessable part of a provider's callback address: 256 bits, safe in a path."""
    return secrets.token_urlsafe(_SECRET_BYTES)
