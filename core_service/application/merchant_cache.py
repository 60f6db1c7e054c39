"""What the core knows of each merchant, in memory: facts, credentials, accounts with parsed keys, bindings.

A snapshot never changes; a newer one replaces it. `merchants.version` tells whether it is still
true: a signed request finds out by the statement that spends its nonce, a payment's notification by
the one that locks its order, everything else by one cheap read here. Needs an open connection scope.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from threading import Lock
from types import MappingProxyType
from typing import Any

from core_service.domain.merchant import MerchantFacts, parse_allowlist
from core_service.errors import CoreError
from core_service.providers import registry
from core_service.providers.base import ProviderAccount
from core_service.storage import merchant_snapshots, sealed_places
from core_service.storage.database import Row
from core_service.storage.merchant_snapshots import MerchantRows, VersionOf
from core_service.storage.secret_box import SecretBox

MAX_MERCHANTS = 2000


@dataclass(frozen=True)
class Binding:
    """Which account serves a channel of a merchant, with limits and fee."""

    id: str
    channel_code: str
    enabled: bool
    account_id: str | None
    """None: the newest enabled account of the channel."""
    min_amount_fen: int | None
    max_amount_fen: int | None
    fee_rate: Decimal


@dataclass(frozen=True)
class Account:
    """A merchant's account at a provider, opened."""

    id: str
    channel_code: str
    display_name: str
    enabled: bool
    callback_token: str = field(repr=False)
    created_at: datetime
    provider_account: ProviderAccount = field(repr=False)


@dataclass(frozen=True)
class CredentialFacts:
    """An API key."""

    key_id: str
    secret: bytes = field(repr=False)
    enabled: bool
    expires_at: datetime | None
    last_used_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        """Whether the key may sign requests at `now`."""
        return self.enabled and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class MerchantSnapshot:
    """One merchant at one version."""

    facts: MerchantFacts
    allowlist: tuple[IPv4Network | IPv6Network, ...]
    notify_secret: str = field(repr=False)
    previous_notify_secret: str | None = field(repr=False)
    """Signs beside the new one until the time that follows."""
    previous_notify_secret_until: datetime | None
    credentials: Mapping[str, CredentialFacts] = field(repr=False)
    """By key id."""
    accounts: Mapping[str, Account]
    """By account id, oldest first."""
    bindings: Mapping[str, Binding]
    """By channel code."""

    def signing_secrets(self, now: datetime) -> tuple[str, ...]:
        """What callbacks are signed with at `now`, the present secret first."""
        until = self.previous_notify_secret_until
        if self.previous_notify_secret is None or until is None or now >= until:
            return (self.notify_secret,)
        return (self.notify_secret, self.previous_notify_secret)


@dataclass(frozen=True)
class _Opener:
    """What it takes to open a merchant's rows."""

    box: SecretBox
    public_base_url: str


_lock = Lock()
_snapshots: OrderedDict[str, MerchantSnapshot] = OrderedDict()
_merchant_of_key: dict[str, str] = {}
_merchant_of_account: dict[str, str] = {}
_opener: list[_Opener] = []


def configure(box: SecretBox, public_base_url: str) -> None:
    """Set the keys that open secrets and the base of callback addresses; empties the cache."""
    with _lock:
        _snapshots.clear()
        _merchant_of_key.clear()
        _merchant_of_account.clear()
        _opener[:] = [_Opener(box, public_base_url.rstrip("/"))]


def by_key(key_id: str) -> MerchantSnapshot | None:
    """Find the owner of an API key, possibly out of date; None: no such key."""
    with _lock:
        merchant_id = _merchant_of_key.get(key_id)
        snapshot = None if merchant_id is None else _snapshots.get(merchant_id)
    return snapshot or by_key_now(key_id)


def by_key_now(key_id: str) -> MerchantSnapshot | None:
    """Find the owner of an API key, up to date; None: no such key."""
    return _current(merchant_snapshots.version_by_key(key_id))


def by_code(code: str) -> MerchantSnapshot:
    """Find a merchant by its code, up to date; raises MERCHANT_NOT_FOUND."""
    return _found(_current(merchant_snapshots.version_by_code(code)))


def by_id(merchant_id: str) -> MerchantSnapshot:
    """Find a merchant by its id, up to date; raises MERCHANT_NOT_FOUND."""
    return _found(_current(merchant_snapshots.version_by_id(merchant_id)))


def at_least(merchant_id: str, version: int) -> MerchantSnapshot | None:
    """What is in memory, if it is as new as that; asks nobody."""
    cached = _cached(merchant_id)
    return cached if cached is not None and cached.facts.version >= version else None


def remembered_by_account(account_id: str) -> MerchantSnapshot | None:
    """Find the owner of a channel account in memory, possibly out of date; asks nobody."""
    with _lock:
        return _snapshots.get(_merchant_of_account.get(account_id, ""))


def by_account(account_id: str) -> MerchantSnapshot | None:
    """Find the owner of a channel account, up to date; None: no such account."""
    return _current(merchant_snapshots.version_by_account(account_id))


def forget(merchant_id: str) -> None:
    """Drop a merchant with its parsed provider keys; the next look reads it again."""
    with _lock:
        snapshot = _snapshots.pop(merchant_id, None)
        if snapshot is not None:
            _forget_names(snapshot)


def _found(snapshot: MerchantSnapshot | None) -> MerchantSnapshot:
    if snapshot is None:
        raise CoreError("MERCHANT_NOT_FOUND")
    return snapshot


def _current(version: VersionOf | None) -> MerchantSnapshot | None:
    if version is None:
        return None
    cached = _cached(version.merchant_id)
    if cached is not None and cached.facts.version == version.version:
        return cached
    rows = merchant_snapshots.load(version.merchant_id)
    if rows is None:
        return None
    snapshot = _open(rows, cached)
    _keep(snapshot)
    return snapshot


def _cached(merchant_id: str) -> MerchantSnapshot | None:
    with _lock:
        cached = _snapshots.get(merchant_id)
        if cached is not None:
            _snapshots.move_to_end(merchant_id)
        return cached


def _keep(snapshot: MerchantSnapshot) -> None:
    merchant_id = snapshot.facts.id
    with _lock:
        older = _snapshots.pop(merchant_id, None)
        if older is not None:
            _forget_names(older)
        _snapshots[merchant_id] = snapshot
        _merchant_of_key.update(dict.fromkeys(snapshot.credentials, merchant_id))
        _merchant_of_account.update(dict.fromkeys(snapshot.accounts, merchant_id))
        while len(_snapshots) > MAX_MERCHANTS:
            _, evicted = _snapshots.popitem(last=False)
            _forget_names(evicted)


def _forget_names(snapshot: MerchantSnapshot) -> None:
    for key_id in snapshot.credentials:
        _merchant_of_key.pop(key_id, None)
    for account_id in snapshot.accounts:
        _merchant_of_account.pop(account_id, None)


def _open(rows: MerchantRows, older: MerchantSnapshot | None) -> MerchantSnapshot:
    opener = _opener[0]
    merchant = rows.merchant
    merchant_id: str = merchant["id"]
    known = {} if older is None else older.accounts
    notify_secret = opener.box.open(
        bytes(merchant["notify_secret_sealed"]), sealed_places.notify_secret(merchant_id)
    )
    return MerchantSnapshot(
        facts=_facts(merchant),
        allowlist=parse_allowlist(merchant["api_ip_whitelist"]),
        notify_secret=notify_secret.decode(),
        previous_notify_secret=_previous_secret(merchant, opener.box),
        previous_notify_secret_until=merchant["previous_notify_secret_until"],
        credentials=MappingProxyType(
            {row["key_id"]: _credential(row, opener.box) for row in rows.credentials}
        ),
        accounts=MappingProxyType(
            {row["id"]: _account(row, opener, known.get(row["id"])) for row in rows.accounts}
        ),
        bindings=MappingProxyType({row["channel_code"]: _binding(row) for row in rows.bindings}),
    )


def _previous_secret(row: Row, box: SecretBox) -> str | None:
    sealed = row["previous_notify_secret_sealed"]
    if sealed is None:
        return None
    return box.open(bytes(sealed), sealed_places.previous_notify_secret(row["id"])).decode()


def _facts(row: Row) -> MerchantFacts:
    return MerchantFacts(
        id=row["id"],
        code=row["code"],
        name=row["name"],
        status=row["status"],
        legal_name=row["legal_name"],
        contact_name=row["contact_name"],
        contact_email=row["contact_email"],
        contact_phone=row["contact_phone"],
        company_registration_id=row["company_registration_id"],
        callback_base=row["callback_base"],
        callback_enabled=row["callback_enabled"],
        refund_callback_enabled=row["refund_callback_enabled"],
        api_ip_whitelist=row["api_ip_whitelist"],
        return_delay_seconds=row["return_delay_seconds"],
        logo_etag=row["logo_etag"],
        version=row["version"],
    )


def _credential(row: Row, box: SecretBox) -> CredentialFacts:
    place = sealed_places.credential_secret(row["merchant_id"], row["key_id"])
    return CredentialFacts(
        key_id=row["key_id"],
        secret=box.open(bytes(row["secret_sealed"]), place),
        enabled=row["enabled"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )


def _account(row: Row, opener: _Opener, older: Account | None) -> Account:
    place = sealed_places.account_config(row["merchant_id"], row["id"])
    opened: dict[str, Any] = json.loads(opener.box.open(bytes(row["config_sealed"]), place))
    token = opened["callbackToken"]
    provider_account = ProviderAccount(
        id=row["id"],
        merchant_id=row["merchant_id"],
        channel_code=row["channel_code"],
        config=opened["config"],
        callback_url=_callback_url(opener, row["channel_code"], row["id"], token),
    )
    if older is not None and older.provider_account == provider_account:
        # The same configuration: keep the keys that the adapter parsed.
        provider_account = older.provider_account
    return Account(
        id=row["id"],
        channel_code=row["channel_code"],
        display_name=row["display_name"],
        enabled=row["enabled"],
        callback_token=token,
        created_at=row["created_at"],
        provider_account=provider_account,
    )


def _callback_url(opener: _Opener, channel_code: str, account_id: str, token: str) -> str:
    provider = registry.for_channel(channel_code)
    # An account of a channel that this version no longer knows can still be shown.
    word = channel_code.partition(".")[0] if provider is None else provider.provider_code
    return f"{opener.public_base_url}/api/payments/callback/{word}/{account_id}/{token}"


def _binding(row: Row) -> Binding:
    return Binding(
        id=row["id"],
        channel_code=row["channel_code"],
        enabled=row["enabled"],
        account_id=row["account_id"],
        min_amount_fen=row["min_amount_fen"],
        max_amount_fen=row["max_amount_fen"],
        fee_rate=row["fee_rate"],
    )
