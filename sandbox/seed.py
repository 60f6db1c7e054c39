"""Makes the demo merchant: approved, with an account on each channel, a credential, a callback address and an owner.

Drives NovaPay as an operator does, by the `novapay` command, and leaves what a reader of the README pastes in
`demo.env` in the data directory (mode 600). A second run finds the demo merchant and changes nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3

from sandbox.settings import load_settings
from sandbox.shop import Shop

MERCHANT = "demo"
OWNER_EMAIL = "owner@novapay.example"
OWNER_PASSWORD = "novapay-demo-owner"  # noqa: S105 (of a demo, printed at every start)
OWNER = "NOVAPAY_DEMO_OWNER"
FEE_RATE = "0.006"
_HTTP = urllib3.PoolManager(retries=False, timeout=10)


class CommandFailed(Exception):
    """A step that ended with an error; the text says which."""


def main() -> None:
    """Prints the demo credentials, made now or before."""
    settings = read_env()
    if not settings or not _is_known(settings):
        settings = seed()
        _write_env(settings)
    if OWNER not in settings:
        settings = {**settings, **ensure_owner()}
        _write_env(settings)
    for name, value in settings.items():
        sys.stdout.write(f"{name}={value}\n")


def seed() -> dict[str, str]:
    """The environment of a new demo merchant. Raises CommandFailed."""
    base = f"http://{load_settings().bind}"
    shop = _call("POST", f"{base}/control/merchants", {"name": MERCHANT, "merchantCode": MERCHANT})
    try:
        novapay(
            "merchants", "create", "--code", MERCHANT, "--name", "演示商户 Demo shop", "--approve"
        )
    except CommandFailed as failure:
        if "MERCHANT_CODE_TAKEN" not in str(failure):
            raise
    novapay("merchants", "set", "--code", MERCHANT, "--callback-base", shop["callbackUrl"])
    novapay("merchants", "set", "--code", MERCHANT, "--notify-secret", stdin=shop["notifySecret"])
    configurations: dict[str, Any] = {}
    for account in _call("GET", f"{base}/control/accounts")["accounts"]:
        configurations.setdefault(account["channel"], account["config"])
    for channel, configuration in configurations.items():
        _create_account(channel, configuration)
    credential = novapay("credentials", "create", "--merchant", MERCHANT)
    return {
        "NOVAPAY_DEMO_BASE": base_url(),
        "NOVAPAY_DEMO_MERCHANT": MERCHANT,
        "NOVAPAY_DEMO_KEY": credential["keyId"],
        "NOVAPAY_DEMO_SECRET": credential["secret"],
        "NOVAPAY_DEMO_CALLBACKS": shop["deliveriesUrl"],
    }


def ensure_owner() -> dict[str, str]:
    """Somebody who may sign in to the merchant console at once. Raises CommandFailed."""
    who = ("--merchant", MERCHANT, "--email", OWNER_EMAIL)
    try:
        novapay("staff", "create", *who, "--password", stdin=OWNER_PASSWORD)
    except CommandFailed as failure:
        if "has an account already" not in str(failure):
            raise
    return {OWNER: OWNER_EMAIL, "NOVAPAY_DEMO_OWNER_PASSWORD": OWNER_PASSWORD}


def novapay(*arguments: str, stdin: str = "") -> Any:
    """Runs a management command; the object that it printed. Raises CommandFailed."""
    done = subprocess.run(
        [sys.executable, "-m", "core_service.cli", *arguments, "--json"],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(f"novapay {arguments[0]} {arguments[1]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def base_url() -> str:
    """Where the edge answers, as the core says it too."""
    bind = os.environ.get("NOVAPAY_HTTP_BIND", "127.0.0.1:8000")
    return os.environ.get("NOVAPAY_PUBLIC_BASE_URL", f"http://{bind}")


def env_path() -> Path:
    """Where the demo merchant's credentials are kept."""
    return load_settings().directory.parent / "demo.env"


def read_env() -> dict[str, str]:
    """The names and values of `demo.env`; empty when there is none."""
    path = env_path()
    if not path.exists():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if line)
    return {name: value for name, _, value in pairs}


def _write_env(settings: Mapping[str, str]) -> None:
    path = env_path()
    path.touch(mode=0o600)
    path.chmod(0o600)  # it holds an API secret
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def _create_account(channel: str, configuration: Mapping[str, Any]) -> None:
    file = env_path().with_name(f"demo-{channel}.json")
    file.touch(mode=0o600)
    try:
        file.write_text(json.dumps(configuration))
        account = novapay(
            "accounts",
            "create",
            "--merchant",
            MERCHANT,
            "--channel",
            channel,
            "--config",
            str(file),
        )
    finally:
        file.unlink()
    novapay(
        "bindings", "set", "--merchant", MERCHANT, "--channel", channel,
        "--fee-rate", FEE_RATE, "--account", account["id"],
    )  # fmt: skip


def _is_known(settings: Mapping[str, str]) -> bool:
    """Whether NovaPay still has the key: the database may have been made anew."""
    answer = Shop.from_environment(settings).post("/api/payment-orders/none", {"sync": False})
    return answer.status == 404


def _call(method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
    answer = _HTTP.request(method, url, json=body)
    if answer.status >= 300:
        raise CommandFailed(f"{method} {url} answered {answer.status}")
    return json.loads(answer.data)


if __name__ == "__main__":
    main()
