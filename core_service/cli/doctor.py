"""`novapay doctor`: what is wrong with this installation, and how to mend it.

Every check says what it found; a check whose ground is missing is left out, because its answer
would only repeat the first one.
"""

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from core_service.cli.care import database_of
from core_service.cli.failure import CommandFailed, load_settings
from core_service.providers import registry
from core_service.providers.base import AccountConfigInvalid
from core_service.settings import Settings
from core_service.storage import inspection, migrator
from core_service.storage.secret_box import SecretBox, SecretUnreadable

OLDEST_POSTGRESQL = 150000
MAX_CLOCK_OFFSET_SECONDS = 2.0
"""Merchants' signatures allow for minutes, but due times come from the database's clock."""
MAX_NAMED = 20


@dataclass(frozen=True)
class Finding:
    """Result of one check; `remedy` is empty when all is well."""

    check: str
    ok: bool
    found: str
    remedy: str = ""


def doctor(arguments: Namespace) -> int:
    """Run every check; exit status 1 if anything is wrong."""
    findings = list(examine())
    is_well = all(finding.ok for finding in findings)
    if arguments.json:
        answer = {"ok": is_well, "checks": [asdict(finding) for finding in findings]}
        print(json.dumps(answer, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{'ok   ' if finding.ok else 'WRONG'} {finding.check}: {finding.found}")
            if finding.remedy:
                print(f"      -> {finding.remedy}")
    return 0 if is_well else 1


def examine() -> Iterator[Finding]:
    """Look at one thing after the other."""
    try:
        settings = load_settings()
    except CommandFailed as failure:
        for problem in failure.extra.get("problems", [str(failure)]):
            yield Finding("settings", ok=False, found=problem, remedy="correct the environment")
        return
    yield Finding("settings", ok=True, found=f"{settings.environment}, data in {settings.data_dir}")
    try:
        with database_of(settings) as database_url:
            yield from examine_database(settings, database_url)
    except (CommandFailed, inspection.DatabaseUnreachable) as failure:
        remedy = "start it, correct DATABASE_URL, or unset it to use the embedded server"
        yield Finding("database", ok=False, found=str(failure), remedy=remedy)


def examine_database(settings: Settings, database_url: str) -> Iterator[Finding]:
    """Look at what needs the database. Raises DatabaseUnreachable."""
    yield from examine_server(inspection.server_facts(database_url))
    schema = examine_schema(database_url)
    yield schema
    if schema.ok:
        yield examine_keys(settings, database_url)
        yield examine_accounts(settings, database_url)


def examine_server(facts: inspection.ServerFacts) -> Iterator[Finding]:
    """Version, whether it takes writes, and its clock beside ours."""
    version = f"PostgreSQL {facts.version // 10000}.{facts.version % 10000}"
    if facts.version < OLDEST_POSTGRESQL:
        yield Finding("database", ok=False, found=version, remedy="use PostgreSQL 15 or newer")
    elif facts.is_read_only:
        remedy = "point DATABASE_URL at the primary, or name all hosts in it"
        yield Finding("database", ok=False, found=f"{version}, a standby", remedy=remedy)
    else:
        yield Finding("database", ok=True, found=version)
    offset = abs((datetime.now(UTC) - facts.clock).total_seconds())
    is_close = offset <= MAX_CLOCK_OFFSET_SECONDS
    yield Finding(
        "clock",
        ok=is_close,
        found=f"{offset:.1f} s from the database's",
        remedy="" if is_close else "synchronise both machines (chrony, systemd-timesyncd)",
    )


def examine_schema(database_url: str) -> Finding:
    """Compare the applied migrations with ours."""
    try:
        names = migrator.pending(database_url)
    except migrator.MigrationError as error:
        return Finding("schema", ok=False, found=str(error), remedy="run the matching release")
    if names:
        found = f"lacks {', '.join(names)}"
        return Finding("schema", ok=False, found=found, remedy="novapay migrate")
    return Finding("schema", ok=True, found="up to date")


def examine_keys(settings: Settings, database_url: str) -> Finding:
    """Open every stored secret with the keys that we have."""
    box = SecretBox(settings.encryption_keys)
    count, problems = 0, []
    for value in inspection.sealed_values(database_url):
        count += 1
        try:
            box.open(value.sealed, value.place)
        except SecretUnreadable as error:
            problems.append(f"{value.place.table} {value.place.row_id}: {error}")
    if problems:
        remedy = "put the key that sealed them back into NOVAPAY_DATA_ENCRYPTION_KEYS"
        return Finding("keys", ok=False, found=_named(problems), remedy=remedy)
    return Finding("keys", ok=True, found=f"{count} stored secrets open")


def examine_accounts(settings: Settings, database_url: str) -> Finding:
    """Have each provider read the configuration of its enabled accounts."""
    box = SecretBox(settings.encryption_keys)
    count, problems = 0, []
    for account in inspection.enabled_accounts(database_url):
        count += 1
        name = f"{account.merchant_code} {account.channel_code} {account.account_id}"
        provider = registry.for_channel(account.channel_code)
        if provider is None:
            problems.append(f"{name}: no such channel")
            continue
        try:
            config = json.loads(box.open(account.value.sealed, account.value.place))["config"]
            provider.validate_config(config, allow_custom_base_url=not settings.is_production)
        except SecretUnreadable:
            continue  # told by the check of the keys
        except AccountConfigInvalid as error:
            fields = "; ".join(f"{key}: {why}" for key, why in error.violations.items())
            problems.append(f"{name}: {fields}")
    if problems:
        remedy = "replace the account's configuration or disable the account"
        return Finding("accounts", ok=False, found=_named(problems), remedy=remedy)
    return Finding("accounts", ok=True, found=f"{count} provider accounts are usable")


def _named(problems: list[str]) -> str:
    shown = "; ".join(problems[:MAX_NAMED])
    return shown if len(problems) <= MAX_NAMED else f"{shown}; and {len(problems) - MAX_NAMED} more"
