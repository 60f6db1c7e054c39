"""`novapay doctor`: what is wrong with this installation, and how to mend it.

Every check says what it found; a check whose ground is missing is left out, because its answer
would only repeat the first one.
"""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from core_service import logs
from core_service.application import account_checks, merchant_cache
from core_service.cli.account_remedies import REMEDIES
from core_service.cli.care import database_of
from core_service.cli.failure import CommandFailed, load_settings
from core_service.domain import account_check
from core_service.domain.account_check import Code, Severity
from core_service.providers import registry
from core_service.providers.base import Provider
from core_service.settings import Settings
from core_service.storage import database, inspection, migrator
from core_service.storage.secret_box import SecretBox, SecretUnreadable

OLDEST_POSTGRESQL = 150000
MAX_CLOCK_OFFSET_SECONDS = 2.0
"""Merchants' signatures allow for minutes, but due times come from the database's clock."""
MAX_NAMED = 20
ACCOUNTS_AT_ONCE = 4


@dataclass(frozen=True)
class Finding:
    """Result of one check; a `remedy` beside `ok` is a warning, without one all is well."""

    check: str
    ok: bool
    found: str
    remedy: str = ""


def doctor(arguments: Namespace) -> int:
    """Run every check; exit status 1 if anything is wrong."""
    logs.configure()  # what the parts log does not belong to standard output
    findings = list(examine())
    is_well = all(finding.ok for finding in findings)
    if arguments.json:
        answer = {"ok": is_well, "checks": [asdict(finding) for finding in findings]}
        print(json.dumps(answer, ensure_ascii=False))
    else:
        for finding in findings:
            word = "WRONG" if not finding.ok else "warn " if finding.remedy else "ok   "
            print(f"{word} {finding.check}: {finding.found}")
            if finding.remedy:
                print(f"      -> {finding.remedy}")
    return 0 if is_well else 1


def examine() -> Iterator[Finding]:
    """Look at one thing after the other."""
    try:
        settings = load_settings(serves_grpc=True)
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
        yield from examine_accounts(settings, database_url)


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


def examine_accounts(settings: Settings, database_url: str) -> Iterator[Finding]:
    """Look at every enabled account as the channel doctor of the consoles does; results are kept there."""
    box = SecretBox(settings.encryption_keys)
    database.configure(
        database_url, max_connections=ACCOUNTS_AT_ONCE, prepares=settings.prepared_statements
    )
    merchant_cache.configure(box, settings.public_base_url)
    account_checks.configure(settings.public_base_url, is_production=settings.is_production)
    accounts = list(inspection.enabled_accounts(database_url))
    with ThreadPoolExecutor(ACCOUNTS_AT_ONCE) as threads:
        results = list(threads.map(lambda account: _examine_account(box, account), accounts))
    database.database.close_all()
    named: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    remedies: dict[Severity, list[str]] = {severity: [] for severity in Severity}
    for account, found in zip(accounts, results, strict=True):
        name = f"{account.merchant_code} {account.channel_code} {account.account_id}"
        for finding in found:
            facts = ", ".join(f"{key}: {value}" for key, value in finding.facts.items())
            named[finding.severity].append(
                f"{name}: {finding.code}" + (f" ({facts})" if facts else "")
            )
            remedies[finding.severity].append(REMEDIES.get(finding.code, ""))
    if named[Severity.ERROR]:
        yield Finding(
            "accounts",
            ok=False,
            found=_named(named[Severity.ERROR]),
            remedy=_each_once(remedies[Severity.ERROR]),
        )
    else:
        yield Finding("accounts", ok=True, found=f"{len(accounts)} provider accounts are usable")
    if named[Severity.WARNING]:
        yield Finding(
            "account warnings",
            ok=True,
            found=_named(named[Severity.WARNING]),
            remedy=_each_once(remedies[Severity.WARNING]),
        )


def _examine_account(
    box: SecretBox, account: inspection.SealedAccount
) -> Sequence[account_check.Finding]:
    provider = registry.for_channel(account.channel_code)
    if provider is None:
        facts = {"field": "channel", "reason": "no such channel"}
        return [account_check.Finding(Code.CONFIG_INVALID, facts)]
    try:
        with database.connection_scope():
            return account_checks.check(account.account_id, now=datetime.now(UTC)).findings
    except SecretUnreadable:
        # Something of the merchant cannot be opened, which the check of the keys tells; the account itself may.
        return _local_findings(box, account, provider)


def _local_findings(
    box: SecretBox, account: inspection.SealedAccount, provider: Provider
) -> Sequence[account_check.Finding]:
    try:
        config = json.loads(box.open(account.value.sealed, account.value.place))["config"]
    except SecretUnreadable:
        return []
    return account_checks.configuration_findings(provider, config)


def _each_once(texts: list[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _named(problems: list[str]) -> str:
    shown = "; ".join(problems[:MAX_NAMED])
    return shown if len(problems) <= MAX_NAMED else f"{shown}; and {len(problems) - MAX_NAMED} more"
