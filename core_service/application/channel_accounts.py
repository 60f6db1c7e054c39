"""Merchants' accounts at providers: made, listed, changed; configurations are sealed at rest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core_service.application import account_checks
from core_service.application.account_checks import AccountCheck
from core_service.application.admin_values import (
    changed_fields,
    ensure,
    is_reference,
    line_violations,
    merchant_by_code,
    provider_of,
)
from core_service.calls import Call
from core_service.domain import merchant as rules
from core_service.domain.ids import new_id
from core_service.errors import CoreError, FieldViolation, invalid_request
from core_service.providers.base import AccountConfigInvalid, Provider
from core_service.storage import account_checks as checks
from core_service.storage import audit, merchants, sealed_places
from core_service.storage import channel_accounts as storage
from core_service.storage.channel_accounts import ChannelAccountRow
from core_service.storage.database import transact
from core_service.storage.secret_box import SecretBox

Config = dict[str, Any]


@dataclass(frozen=True)
class ChannelAccountView:
    """An account as operators see it."""

    row: ChannelAccountRow
    merchant_code: str
    callback_token: str
    callback_url: str
    """What is entered at the provider, or sent along with each payment."""
    check: AccountCheck
    """What the doctor found last."""


class ChannelAccounts:
    """Use cases about channel accounts."""

    def __init__(
        self, box: SecretBox, *, public_base_url: str, allow_custom_base_url: bool
    ) -> None:
        """`allow_custom_base_url`: provider addresses other than the providers' own are accepted."""
        self._box = box
        self._public_base_url = public_base_url
        self.allow_custom_base_url = allow_custom_base_url

    def create(
        self,
        call: Call,
        merchant_code: str,
        channel_code: str,
        *,
        display_name: str,
        config: str,
        now: datetime,
    ) -> ChannelAccountView:
        """Adds an account; without a display name it gets the channel's.

        `config` is a JSON object with the keys that the channel declares. Raises
        MERCHANT_NOT_FOUND, UNSUPPORTED_CHANNEL and INVALID_REQUEST naming `config.<key>`.
        """
        ensure(line_violations("displayName", display_name))
        provider = provider_of(channel_code)
        merchant_by_code(merchant_code)
        values = _without_empty(_config(config, provider))
        self._ensure_usable(provider, values)
        account_id, token = new_id("acc"), rules.new_callback_token()

        def write() -> ChannelAccountView:
            merchant = merchant_by_code(merchant_code, lock=True)
            row = ChannelAccountRow(
                merchant_id=merchant.id,
                id=account_id,
                channel_code=provider.channel_code,
                display_name=display_name or provider.display_name,
                enabled=True,
                config_sealed=self._seal(merchant.id, account_id, values, token),
                config_masked=_masked_text(provider, values),
                created_at=now,
                updated_at=now,
            )
            storage.insert(row)
            checks.begin(merchant.id, account_id, check_at=account_checks.first_look(now))
            merchants.bump(merchant.id)
            audit.record(
                call,
                action="channel_account.create",
                target=_target(row),
                before=None,
                after={"merchantCode": merchant.code, **_shown(row)},
            )
            return self._view(row, merchant.code, token, account_checks.NOT_CHECKED)

        return transact(write)

    def of_merchant(self, merchant_code: str) -> list[ChannelAccountView]:
        """A merchant's accounts, newest first. Raises MERCHANT_NOT_FOUND."""
        merchant = merchant_by_code(merchant_code)
        checked = checks.of_merchant(merchant.id)
        return [
            self._view(
                row, merchant.code, self._open(row)[1], account_checks.view(checked.get(row.id))
            )
            for row in storage.of_merchant(merchant.id)
        ]

    def update(
        self,
        call: Call,
        account_id: str,
        *,
        display_name: str | None,
        enabled: bool | None,
        config: str | None,
        now: datetime,
    ) -> ChannelAccountView:
        """Changes what is not None. Keys of `config` replace those stored; null and "" remove one.

        A secret's mask sent back changes nothing. Raises CHANNEL_ACCOUNT_NOT_FOUND and
        INVALID_REQUEST.
        """
        ensure(line_violations("displayName", display_name or ""))

        def write() -> ChannelAccountView:
            found = storage.by_id(account_id) if is_reference(account_id) else None
            merchant = found and merchants.by_reference(found.merchant_id, lock=True)
            # Again, now that nobody else can change it.
            before = merchant and storage.by_id(account_id)
            if not merchant or not before:
                raise CoreError("CHANNEL_ACCOUNT_NOT_FOUND")
            call.ensure_sees(merchant.id, "CHANNEL_ACCOUNT_NOT_FOUND")
            provider = provider_of(before.channel_code)
            old_values, token = self._open(before)
            values = old_values if config is None else _merged(provider, old_values, config)
            after = replace(
                before,
                display_name=display_name or before.display_name,
                enabled=before.enabled if enabled is None else enabled,
            )
            if values != old_values:
                self._ensure_usable(provider, values)
                after = replace(
                    after,
                    config_sealed=self._seal(merchant.id, before.id, values, token),
                    config_masked=_masked_text(provider, values),
                )
            checked = account_checks.view(checks.find(before.id, merchant.id))
            if after == before:
                return self._view(before, merchant.code, token, checked)
            after = replace(after, updated_at=now)
            storage.save(after)
            if values != old_values:
                checks.begin(merchant.id, before.id, check_at=account_checks.first_look(now))
                checked = account_checks.NOT_CHECKED
            merchants.bump(merchant.id)
            old, new = changed_fields(_shown(before), _shown(after))
            # Secrets may have changed although their masks look alike.
            replaced = sorted(key for key in values if values[key] != old_values.get(key))
            if replaced:
                new["configKeysReplaced"] = replaced
            audit.record(
                call,
                action="channel_account.update",
                target=_target(before),
                before=old,
                after=new,
            )
            return self._view(after, merchant.code, token, checked)

        return transact(write)

    def _ensure_usable(self, provider: Provider, values: Config) -> None:
        try:
            provider.validate_config(values, allow_custom_base_url=self.allow_custom_base_url)
        except AccountConfigInvalid as refusal:
            raise invalid_request(
                *(
                    FieldViolation(f"config.{key}", reason)
                    for key, reason in refusal.violations.items()
                )
            ) from refusal

    def _seal(self, merchant_id: str, account_id: str, values: Config, token: str) -> bytes:
        text = json.dumps({"config": values, "callbackToken": token}, ensure_ascii=False)
        place = sealed_places.account_config(merchant_id, account_id)
        return self._box.seal(text.encode(), place)

    def _open(self, row: ChannelAccountRow) -> tuple[Config, str]:
        place = sealed_places.account_config(row.merchant_id, row.id)
        opened = json.loads(self._box.open(row.config_sealed, place))
        return opened["config"], opened["callbackToken"]

    def _view(
        self, row: ChannelAccountRow, merchant_code: str, token: str, check: AccountCheck
    ) -> ChannelAccountView:
        provider = provider_of(row.channel_code)
        url = (
            f"{self._public_base_url}/api/payments/callback/"
            f"{provider.provider_code}/{row.id}/{token}"
        )
        return ChannelAccountView(row, merchant_code, token, url, check)


def _config(text: str, provider: Provider) -> Config:
    """The object that a caller sent, with no key that the channel does not declare."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise invalid_request(FieldViolation("config", "must be a JSON object"))
    known = {field.name for field in provider.account_fields}
    violations = []
    for key, entry in value.items():
        if key not in known:
            violations.append(FieldViolation(f"config.{key[:64]}", "this channel has no such key"))
        elif not _is_text(entry):
            violations.append(FieldViolation(f"config.{key}", "must be text"))
    ensure(violations)
    return value


def _is_text(value: object) -> bool:
    """None, text, or (several certificates) a list of texts."""
    entries = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(entry, str) for entry in entries)


def _without_empty(config: Mapping[str, Any]) -> Config:
    return {key: value for key, value in config.items() if value not in (None, "")}


def _merged(provider: Provider, stored: Config, text: str) -> Config:
    secret = {field.name for field in provider.account_fields if field.secret}
    sent = {
        key: value
        for key, value in _config(text, provider).items()
        if not (key in secret and key in stored and rules.is_mask(str(value)))
    }
    return _without_empty({**stored, **sent})


def _masked(provider: Provider, values: Config) -> Config:
    secret = {field.name for field in provider.account_fields if field.secret}
    return {
        key: rules.mask(str(value)) if key in secret else value for key, value in values.items()
    }


def _masked_text(provider: Provider, values: Config) -> str:
    return json.dumps(_masked(provider, values), ensure_ascii=False, separators=(",", ":"))


def _target(row: ChannelAccountRow) -> str:
    return f"channel_account:{row.id}"


def _shown(row: ChannelAccountRow) -> dict[str, Any]:
    """The account as the audit log shows it."""
    return {
        "channelCode": row.channel_code,
        "displayName": row.display_name,
        "enabled": row.enabled,
        "config": json.loads(row.config_masked),
    }
