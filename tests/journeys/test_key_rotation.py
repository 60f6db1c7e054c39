"""S07: the master key is rotated while merchants work; killed in the middle, it goes on."""

import json
import secrets
import signal
import subprocess
import sys
import threading
from typing import Any, Self

import pytest

from tests.journeys.database import rows
from tests.journeys.rough import RoughStack
from tests.proof_line import tell
from tests.stack import ROOT, Answer, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SEALED = (
    ("merchants", "notify_secret_sealed"),
    ("credentials", "secret_sealed"),
    ("channel_accounts", "config_sealed"),
)


def keys_in_use(rough: RoughStack) -> set[str]:
    found = set()
    for table, column in SEALED:
        for row in rows(rough.stack, f"SELECT {column} AS sealed FROM {table}"):
            sealed = bytes(row["sealed"])
            found.add(sealed[2 : 2 + sealed[1]].decode())
    return found


def keys(rough: RoughStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core_service.cli", "keys", *arguments],
        cwd=ROOT,
        env=rough.stack.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Traffic:
    """Orders on both channels, new credentials and paid callbacks, until told to stop."""

    def __init__(self, rough: RoughStack) -> None:
        self.rough = rough
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(channel,))
            for channel in ("alipay.page", "wxpay.native")
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, channel: str) -> None:
        while not self._stop.is_set():
            answer = self.rough.merchant.create_order(channel)
            self.answers.append(answer)
            self._stop.wait(0.05)


def test_s07_rotation_under_load(rough_stack: RoughStack) -> None:
    rough = rough_stack
    rough.until_healthy()
    assert keys_in_use(rough) == {"k1"}
    with Traffic(rough) as traffic:
        rough.arm("rotate")
        killed = keys(rough, "rotate", "--json")
        assert killed.returncode == -signal.SIGKILL
        tell("kill", point="rotate")
        assert keys_in_use(rough) == {"k1", "k2"}
        while_between = rough.stack.cli("credentials", "create", "--merchant", rough.merchant.code)
        done = keys(rough, "rotate", "--json")
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["writingKey"] == "k2"
    assert keys_in_use(rough) == {"k2"}
    assert {answer.status for answer in traffic.answers} == {200}, traffic.answers[-1].raw
    assert len(traffic.answers) > 20
    assert while_between["keyId"].startswith("npk_")
    an_order_is_paid_and_told(rough)


def test_s07_a_key_in_use_is_not_dropped(rough_stack: RoughStack) -> None:
    refused = keys(rough_stack, "drop", "k2")
    assert refused.returncode == 1
    assert "in use" in refused.stderr
    dropped = keys(rough_stack, "drop", "k1", "--json")
    assert json.loads(dropped.stdout) == {"dropped": "k1", "keys": ["k2"]}
    an_order_is_paid_and_told(rough_stack)


def an_order_is_paid_and_told(rough: RoughStack) -> None:
    answer = rough.merchant.create_order(
        "wxpay.native", callbackUrl=rough.receiver.url, externalOrderId=secrets.token_hex(8)
    )
    order: Any = answer.json["order"]
    rough.payer.pay(order)
    wait_until(lambda: rough.receiver.about(order["id"]), what="the callback")
