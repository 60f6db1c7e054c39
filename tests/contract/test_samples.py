"""The code samples of the documentation, run as a reader would run them, against the running stack."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rest_edge
from tests.journeys.conftest import NOTIFY_SECRET
from tests.payer import Payer
from tests.stack import Merchant, Receiver, Stack, wait_until
from tests.stack_fixtures import open_shop

SAMPLES = Path(rest_edge.__file__).with_name("samples")
PROGRAMS = {
    ".sh": ["bash"],
    ".py": ["python3"],
    ".mjs": ["node"],
    ".php": ["php"],
    ".java": ["java"],
    ".go": ["go", "run"],
}
SENDERS = [path for path in sorted(SAMPLES.iterdir()) if path.stem.lower().startswith("create")]
VERIFIERS = [path for path in sorted(SAMPLES.iterdir()) if path.stem.lower().startswith("verify")]


def named(path: Path) -> str:
    return path.name


def run(
    sample: Path, variables: dict[str, str], given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Runs a sample; a language that this machine does not have is reported as skipped."""
    program, *options = PROGRAMS[sample.suffix]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on this machine")
    return subprocess.run(
        [program, *options, str(sample)],
        env={name: value for name, value in os.environ.items() if "NOVAPAY" not in name}
        | variables,
        input=given,
        capture_output=True,
        timeout=110,  # the first `go run` of a machine compiles the standard library
        check=False,
    )


def test_every_language_has_both_samples() -> None:
    assert {path.suffix for path in SENDERS} == {path.suffix for path in VERIFIERS} == {*PROGRAMS}


@pytest.mark.parametrize("sample", SENDERS, ids=named)
def test_server_accepts_what_the_sample_signs(
    sample: Path, stack: Stack, merchant: Merchant
) -> None:
    variables = {
        "NOVAPAY_BASE": stack.base,
        "NOVAPAY_MERCHANT": merchant.code,
        "NOVAPAY_KEY": merchant.key_id,
        "NOVAPAY_SECRET": merchant.secret,
    }
    accepted = run(sample, variables)
    assert accepted.returncode == 0, accepted
    assert b'"created":true' in accepted.stdout
    assert "年度会员".encode() in accepted.stdout
    refused = run(sample, variables | {"NOVAPAY_SECRET": merchant.secret + "x"})
    assert refused.returncode != 0, refused
    assert b"INVALID_SIGNATURE" in refused.stdout


@pytest.fixture(scope="module")
def callback(stack: Stack, configurations: Any) -> Iterator[tuple[dict[str, str], bytes]]:
    """Headers and body of a genuine callback."""
    shop, accounts = open_shop(stack, configurations)
    stack.cli("merchants", "set", "--code", shop.code, "--notify-secret", stdin=NOTIFY_SECRET)
    with Receiver() as receiver:
        order = shop.create_order("alipay.page", callbackUrl=receiver.url).json["order"]
        Payer(stack, accounts).pay(order)
        wait_until(lambda: receiver.received, what="callback")
        yield receiver.received[0]


def http(headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\n".join([*lines, "", ""]).encode() + body


@pytest.mark.parametrize("sample", VERIFIERS, ids=named)
def test_sample_tells_genuine_callbacks_from_others(
    sample: Path, callback: tuple[dict[str, str], bytes]
) -> None:
    headers, body = callback
    secret = {"NOVAPAY_NOTIFY_SECRET": NOTIFY_SECRET}
    genuine = run(sample, secret, http(headers, body))
    assert (genuine.returncode, genuine.stdout.strip()) == (0, b"genuine"), genuine
    rotating = headers | {"webhook-signature": "v1,b2xk " + headers["webhook-signature"]}
    assert run(sample, secret, http(rotating, body)).returncode == 0
    others = {
        "body": (headers, body.replace(b'"SUCCEEDED"', b'"CANCELLED"')),
        "own signature": (headers | {"x-novapay-signature": "0" * 64}, body),
        "own time": (headers | {"x-novapay-timestamp": "2026-01-01T00:00:00.000Z"}, body),
        "standard signature": (headers | {"webhook-signature": "v1,AAAA"}, body),
        "standard id": (headers | {"webhook-id": "dlv_other"}, body),
    }
    for what, (changed_headers, changed_body) in others.items():
        refused = run(sample, secret, http(changed_headers, changed_body))
        assert refused.returncode == 1, (what, refused)
