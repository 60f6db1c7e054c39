"""Fixtures of the tests that drive the whole product from outside (tests/contract, tests/journeys)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.payer import Payer, sandbox_accounts
from tests.stack import AdminSession, Merchant, Stack

FEE_RATE = "0.006"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One running NovaPay for all tests of a pytest process; callbacks are retried after a second."""
    with tempfile.TemporaryDirectory(prefix="novapay-stack-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the account that runs PostgreSQL for root must get through
        running = Stack(Path(folder), CALLBACK_RETRY_INTERVAL_SECONDS="1").start()
        try:
            yield running
        finally:
            assert running.stop() == 0, running.log.read_text()[-4000:]
            assert running.internal_errors() == []


@pytest.fixture(scope="session")
def configurations(stack: Stack) -> dict[str, object]:
    """Channel → account configuration that works against the sandbox."""
    return sandbox_accounts(stack)


@pytest.fixture(scope="session")
def merchant(stack: Stack, configurations: dict[str, dict[str, object]]) -> Merchant:
    """A merchant that sells on both channels."""
    return open_shop(stack, configurations)[0]


@pytest.fixture(scope="session")
def payer(stack: Stack, merchant: Merchant) -> Payer:
    """Pays the orders of `merchant` (and of any other, by checkout URL)."""
    return Payer(stack, stack.accounts_of[merchant.code])


@pytest.fixture(scope="session")
def other_merchant(stack: Stack, configurations: dict[str, dict[str, object]]) -> Merchant:
    """Another merchant, so that one can be kept from the other's things."""
    return open_shop(stack, configurations)[0]


@pytest.fixture
def fresh_shop(stack: Stack, configurations: dict[str, dict[str, object]]) -> Merchant:
    """A merchant that sells on both channels, for one test."""
    return open_shop(stack, configurations)[0]


@pytest.fixture
def fresh_merchant(stack: Stack) -> Merchant:
    """An approved merchant without any account, for one test."""
    return stack.new_merchant()


@pytest.fixture(scope="session")
def admin(stack: Stack) -> AdminSession:
    """The first operator, signed in."""
    return stack.sign_in()


def open_shop(
    stack: Stack, configurations: dict[str, dict[str, object]]
) -> tuple[Merchant, dict[str, object]]:
    """An approved merchant with an account and a binding for every channel."""
    shop = stack.new_merchant()
    return shop, add_channels(stack, shop, configurations)


def add_channels(
    stack: Stack, shop: Merchant, configurations: dict[str, dict[str, object]]
) -> dict[str, object]:
    """Give a merchant an account and a binding for every channel; channel → account."""
    accounts = {}
    for channel, configuration in configurations.items():
        accounts[channel] = stack.add_account(shop, channel, configuration)
        stack.cli(
            "bindings", "set", "--merchant", shop.code, "--channel", channel,
            "--fee-rate", FEE_RATE, "--account", accounts[channel]["id"],
        )  # fmt: skip
    stack.accounts_of[shop.code] = accounts
    return accounts
