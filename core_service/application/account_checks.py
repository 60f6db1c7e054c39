"""The channel doctor: looks at an account, says what is wrong, and remembers it.

Looks when it is asked to, soon after a configuration was saved, and once a day by itself; no
transaction is open while it calls out.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from core_service.application import merchant_cache, routing
from core_service.application.admin_values import is_reference, provider_of
from core_service.application.merchant_cache import Account, MerchantSnapshot
from core_service.calls import Call
from core_service.domain.account_check import Code, Finding, Severity, worst
from core_service.errors import CoreError
from core_service.outbound_http import (
    OutboundError,
    ProviderClient,
    is_public,
    literal_address,
    parse_url,
)
from core_service.providers.base import OWN_KEY, AccountConfigInvalid, FieldKind, Provider
from core_service.storage import account_checks as storage
from core_service.storage.account_checks import AccountCheckRow, TroubleRow
from core_service.storage.database import in_transaction, transact
from core_service.storage.paging import Page, page_request

PROVIDER_SECONDS = 6.0
CALLBACK_SECONDS = 2.0
ANSWER_SECONDS = 0.7
_LEAST_SECONDS = CALLBACK_SECONDS + ANSWER_SECONDS + 1
LEASE_SECONDS = 60.0
"""Longer than any look; what a dead worker held is looked at again after it."""
SHORTEST_PAUSE = timedelta(seconds=3)
"""Between two looks at one account: whoever asks more often gets the last answer."""
_EVERY = {
    Severity.OK: timedelta(days=1),
    Severity.WARNING: timedelta(days=1),
    # A provider that was away for minutes should not look broken for a day.
    Severity.ERROR: timedelta(hours=1),
}
_JITTER = 0.1
_FIRST_LOOK_SECONDS = (15, 60)
"""Whoever saves on a page looks at once: that look is over by then. Accounts that come together are spread out."""
_HEALTH_PATH = "/api/health"
_log = structlog.get_logger("core_service.doctor")


@dataclass(frozen=True)
class AccountCheck:
    """What is known about an account."""

    status: Severity | None
    """None: not looked at since its configuration changed."""
    findings: Sequence[Finding]
    checked_at: datetime | None
    status_since: datetime | None


NOT_CHECKED = AccountCheck(None, (), None, None)


@dataclass(frozen=True)
class _Surroundings:
    public_base_url: str
    is_production: bool


_surroundings: list[_Surroundings] = []


def configure(public_base_url: str, *, is_production: bool) -> None:
    """Where providers call us; in production they must be able to."""
    _surroundings[:] = [_Surroundings(public_base_url.rstrip("/"), is_production)]


def check(account_id: str, *, now: datetime, seconds: float = PROVIDER_SECONDS) -> AccountCheck:
    """Looks at an account now, unless somebody just did. `seconds` is for the provider alone.

    Raises CHANNEL_ACCOUNT_NOT_FOUND.
    """
    assert not in_transaction()
    merchant = merchant_cache.by_account(account_id) if is_reference(account_id) else None
    if merchant is None:
        raise CoreError("CHANNEL_ACCOUNT_NOT_FOUND")
    before = storage.find(account_id, merchant.facts.id)
    # Once more: whatever is looked at must not be older than the generation that it is kept for.
    merchant = merchant_cache.by_id(merchant.facts.id)
    if before and before.checked_at and abs(now - before.checked_at) < SHORTEST_PAUSE:
        return view(before)
    findings = tuple(_examine(merchant, merchant.accounts[account_id], now, seconds))
    status = worst(findings)
    row = AccountCheckRow(
        merchant_id=merchant.facts.id,
        account_id=account_id,
        generation=before.generation if before else 1,
        status=status,
        findings=_text(findings),
        checked_at=now,
        status_since=now,
    )
    transact(lambda: storage.save(row, check_at=_next_look(status, now)))
    if status is Severity.ERROR:
        codes = [finding.code for finding in findings if finding.severity is Severity.ERROR]
        _log.warning("account_not_well", account_id=account_id, codes=codes)
    since = before.status_since if before and before.status == status else now
    return AccountCheck(status, findings, now, since)


def check_for(call: Call, account_id: str, *, now: datetime) -> AccountCheck:
    """Looks at an account for somebody who waits. Raises OVERLOADED when there is no time for it."""
    merchant = merchant_cache.by_account(account_id) if is_reference(account_id) else None
    if merchant is not None:
        call.ensure_sees(merchant.facts.id, "CHANNEL_ACCOUNT_NOT_FOUND")
    call.ensure_alive(_LEAST_SECONDS)
    seconds = call.seconds_left() - CALLBACK_SECONDS - ANSWER_SECONDS
    return check(account_id, now=now, seconds=seconds)


def check_due(limit: int) -> int:
    """Looks at accounts whose time has come; how many there were."""
    due = transact(lambda: storage.claim_due(limit, lease_seconds=LEASE_SECONDS))
    for account_id in due:
        try:
            _check_by_the_clock(account_id, datetime.now(UTC))
        except Exception:  # noqa: BLE001 (logged; its lease runs out and the others get their turn)
            _log.exception("account_check_failed", account_id=account_id)
    return len(due)


def first_look(now: datetime) -> datetime:
    """When the worker looks at a new configuration that nobody has looked at."""
    return now + timedelta(seconds=random.uniform(*_FIRST_LOOK_SECONDS))  # noqa: S311 (no secret)


def in_trouble(
    status: str | None, *, page_size: int | None, page_token: str | None
) -> Page[TroubleRow]:
    """Enabled accounts that are not well, the newest trouble first. Raises INVALID_REQUEST."""
    return storage.in_trouble(status, page_request(page_size, page_token))


def view(row: AccountCheckRow | None) -> AccountCheck:
    """A stored result as it was found."""
    if row is None or row.status is None:
        return NOT_CHECKED
    findings = [
        Finding(Code(item["code"]), item["facts"])
        for item in json.loads(row.findings)
        # Another release may have said something that this one does not know.
        if item["code"] in Code.__members__
    ]
    return AccountCheck(Severity(row.status), findings, row.checked_at, row.status_since)


def _check_by_the_clock(account_id: str, now: datetime) -> None:
    merchant = merchant_cache.by_account(account_id)
    if merchant is None:
        return
    if merchant.accounts[account_id].enabled:
        check(account_id, now=now)
    else:
        later = _next_look(Severity.OK, now)
        transact(lambda: storage.postpone(merchant.facts.id, account_id, check_at=later))


def _examine(
    merchant: MerchantSnapshot, account: Account, now: datetime, seconds: float
) -> Iterator[Finding]:
    """Configuration, provider, callback address and use, in this order."""
    provider = provider_of(account.channel_code)
    invalid = configuration_findings(provider, account.provider_account.config)
    yield from invalid
    if not invalid:
        # Without what other calls have learned: it is the configuration that must do.
        fresh = replace(account.provider_account, parsed={})
        yield from provider.check_account(
            fresh, now=now, timeout_seconds=min(seconds, PROVIDER_SECONDS)
        )
    yield _callback_finding(provider, account)
    yield _use_finding(merchant, account)


def configuration_findings(provider: Provider, config: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with a configuration by itself; which addresses may be entered is judged elsewhere."""
    try:
        provider.validate_config(config, allow_custom_base_url=True)
    except AccountConfigInvalid as refusal:
        return [
            Finding(Code.OWN_KEY_GIVEN, {"field": name})
            if reason == OWN_KEY
            else Finding(Code.CONFIG_INVALID, {"field": name, "reason": reason})
            for name, reason in sorted(refusal.violations.items())
        ]
    return []


def _callback_finding(provider: Provider, account: Account) -> Finding:
    """Whether the provider can tell us of payments; the address itself is not called, only its host."""
    here = _surroundings[0]
    target = parse_url(here.public_base_url)
    facts = {"url": here.public_base_url}
    if here.is_production and target.scheme != "https":
        return Finding(Code.CALLBACK_INSECURE, facts)
    address = literal_address(target.host)
    config = account.provider_account.config
    is_simulated = any(
        field.kind is FieldKind.URL and config.get(field.name) for field in provider.account_fields
    )
    if address is not None and not is_public(address) and not is_simulated:
        return Finding(Code.CALLBACK_LOCAL, facts)
    try:
        with ProviderClient() as client:
            answer = client.request(
                "GET",
                here.public_base_url + _HEALTH_PATH,
                headers={"User-Agent": "NovaPay/1"},
                timeout_seconds=CALLBACK_SECONDS,
            )
    except OutboundError as problem:
        return Finding(Code.CALLBACK_UNREACHABLE, {**facts, "message": str(problem)})
    if answer.status != 200:
        return Finding(Code.CALLBACK_UNREACHABLE, {**facts, "message": f"HTTP {answer.status}"})
    return Finding(Code.CALLBACK_REACHABLE, facts)


def _use_finding(merchant: MerchantSnapshot, account: Account) -> Finding:
    """Whether new orders would be taken with it."""
    if not account.enabled:
        return Finding(Code.ACCOUNT_DISABLED)
    try:
        serving = routing.serving_account(merchant, account.channel_code)
    except CoreError as refusal:
        is_off = refusal.reason == "CHANNEL_DISABLED"
        return Finding(Code.CHANNEL_DISABLED if is_off else Code.ACCOUNT_SPARE)
    return Finding(Code.ACCOUNT_SERVES if serving.id == account.id else Code.ACCOUNT_SPARE)


def _next_look(status: Severity, now: datetime) -> datetime:
    return now + _EVERY[status] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 (no secret)


def _text(findings: Sequence[Finding]) -> str:
    items = [{"code": finding.code, "facts": dict(finding.facts)} for finding in findings]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))
