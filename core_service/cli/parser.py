"""Every subcommand, its options and where its work is done (`module:function`)."""

import argparse
from pathlib import Path

MERCHANT_STATUSES = ("PENDING", "APPROVED", "REJECTED", "SUSPENDED")
STAFF_ROLES = ("OWNER", "OPERATIONS", "DEVELOPER", "VIEWER")
OPERATOR_ROLES = ("SUPER_ADMIN", "OPS_ADMIN", "FINANCE_ADMIN", "VIEWER")

_GROUPS = "core_service.cli.processes"
_MANAGE = "core_service.cli.manage"

Subcommands = argparse._SubParsersAction  # noqa: SLF001 (argparse has no public name for it)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser; every leaf carries `run`, the function that does its work."""
    parser = argparse.ArgumentParser(
        prog="novapay",
        description="NovaPay, a payment gateway: run it, look after it, set merchants up.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_processes(commands)
    _add_care(commands)
    _add_merchants(commands)
    _add_staff(commands)
    _add_credentials(commands)
    _add_accounts(commands)
    _add_bindings(commands)
    _add_admins(commands)
    _add_books(commands)
    _add_audit(commands)
    _add_keys(commands)
    return parser


def _add_processes(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    up = _leaf(commands, "up", f"{_GROUPS}:up", "start everything and stay in the foreground")
    up.add_argument(
        "--no-sandbox", action="store_true", help="neither simulated providers nor demo merchant"
    )
    _leaf(commands, "core", f"{_GROUPS}:core", "run the core's processes")
    _leaf(commands, "worker", f"{_GROUPS}:worker", "run the workers")
    edge = commands.add_parser("edge", help="run the HTTP edge", description="Run the HTTP edge.")
    edge.set_defaults(run=f"{_GROUPS}:edge")
    sandbox = commands.add_parser(
        "sandbox",
        help="run the simulated providers and the demo merchant",
        description="Run the simulated providers and the demo merchant; never in production.",
    )
    sandbox.set_defaults(run=f"{_GROUPS}:sandbox")


def _add_care(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    migrate = _leaf(
        commands, "migrate", "core_service.cli.care:migrate", "bring the database's schema up"
    )
    migrate.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if something is pending"
    )
    _leaf(
        commands,
        "doctor",
        "core_service.cli.doctor:doctor",
        "look at settings, database, keys, provider accounts and clock; exit 1 if one is wrong",
    )
    demo = commands.add_parser(
        "demo",
        help="pay and refund on each channel through the sandbox, and tell the story",
        description="Pay and refund on each channel through the sandbox, and tell the story.",
    )
    demo.set_defaults(run="core_service.cli.care:demo")
    routes = commands.add_parser(
        "routes",
        help="list every HTTP route with its RPC",
        description="List every HTTP route: verb, path, RPC, principals, idempotency, status.",
    )
    routes.set_defaults(run="core_service.cli.care:routes")


def _add_merchants(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "merchants", "create and change merchants")
    create = _leaf(actions, "create", f"{_MANAGE}:create_merchant", "create a merchant")
    create.add_argument("--code", required=True, help="unique, 2 to 64 of A-Z a-z 0-9 _ -")
    create.add_argument("--name", required=True)
    create.add_argument(
        "--approve",
        action="store_true",
        help="approve at once; outside production the profile is filled in with demo values",
    )
    change = _leaf(actions, "set", f"{_MANAGE}:set_merchant", "change a merchant")
    change.add_argument("--code", required=True)
    change.add_argument("--status", type=str.upper, choices=MERCHANT_STATUSES)
    change.add_argument("--callback-base", metavar="URL", help="default callback; empty clears")
    change.add_argument(
        "--ip-allowlist", metavar="LIST", help="addresses and ranges that may call; empty: any"
    )
    change.add_argument(
        "--notify-secret",
        action="store_true",
        help="read the secret that signs callbacks from standard input",
    )


def _add_staff(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "staff", "add people to a merchant")
    create = _leaf(
        actions,
        "create",
        f"{_MANAGE}:create_staff",
        "add somebody; the first password is shown only this once",
    )
    create.add_argument("--merchant", required=True, metavar="CODE")
    create.add_argument("--email", required=True)
    create.add_argument("--role", default="OWNER", type=str.upper, choices=STAFF_ROLES)
    create.add_argument(
        "--password",
        action="store_true",
        help="read a password from standard input that may stay; not in production",
    )


def _add_credentials(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "credentials", "make API keys")
    create = _leaf(
        actions, "create", f"{_MANAGE}:create_credential", "make an API key; shown only this once"
    )
    create.add_argument("--merchant", required=True, metavar="CODE")


def _add_accounts(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "accounts", "add merchants' accounts at providers")
    create = _leaf(actions, "create", f"{_MANAGE}:create_account", "add an account at a provider")
    create.add_argument("--merchant", required=True, metavar="CODE")
    create.add_argument("--channel", required=True, help="such as alipay.page or wxpay.native")
    create.add_argument(
        "--config", required=True, type=Path, metavar="FILE.json", help="keys as JSON object"
    )


def _add_bindings(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "bindings", "say which account serves a merchant's channel")
    change = _leaf(actions, "set", f"{_MANAGE}:set_binding", "create or change a binding")
    change.add_argument("--merchant", required=True, metavar="CODE")
    change.add_argument("--channel", required=True, help="such as alipay.page or wxpay.native")
    change.add_argument("--fee-rate", metavar="R", help="0 to 1 with at most four decimals")
    change.add_argument("--min", metavar="A", help="smallest amount in yuan")
    change.add_argument("--max", metavar="A", help="largest amount in yuan")
    change.add_argument("--account", metavar="ID", help="without it the newest enabled account")
    change.add_argument("--disable", action="store_true", help="switch the channel off")


def _add_admins(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "admins", "add operators of this installation")
    create = _leaf(
        actions, "create", f"{_MANAGE}:create_admin", "add an operator; password from stdin"
    )
    create.add_argument("--email", required=True)
    create.add_argument("--role", required=True, type=str.upper, choices=OPERATOR_ROLES)


def _add_books(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "books", "look after the ledger")
    _leaf(
        actions,
        "verify",
        f"{_MANAGE}:verify_books",
        "check every invariant that can be read from the rows; exit 1 if one is broken",
    )


def _add_audit(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "audit", "look after the audit log")
    _leaf(
        actions,
        "verify",
        f"{_MANAGE}:verify_audit_log",
        "walk the audit log's chain of hashes; exit 1 if anything was changed",
    )


def _add_keys(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    actions = _family(commands, "keys", "change the master keys that seal stored secrets")
    _leaf(
        actions,
        "rotate",
        "core_service.cli.keys:rotate",
        "make a new master key and move every stored secret to it, while everything runs",
    )
    drop = _leaf(
        actions,
        "drop",
        "core_service.cli.keys:drop",
        "take a master key out of the ring; refused while a stored secret needs it",
    )
    drop.add_argument("id", help="id of the key, such as k1")


def _family(
    commands: "Subcommands[argparse.ArgumentParser]", name: str, purpose: str
) -> "Subcommands[argparse.ArgumentParser]":
    family = commands.add_parser(name, help=purpose, description=f"{_sentence(purpose)}")
    return family.add_subparsers(title="actions", metavar="ACTION", required=True)


def _leaf(
    commands: "Subcommands[argparse.ArgumentParser]", name: str, run: str, purpose: str
) -> argparse.ArgumentParser:
    leaf = commands.add_parser(name, help=purpose, description=_sentence(purpose))
    leaf.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    leaf.set_defaults(run=run)
    return leaf


def _sentence(purpose: str) -> str:
    return f"{purpose[0].upper()}{purpose[1:]}."
