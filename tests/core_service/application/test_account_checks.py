"""The doctor around the provider: what it keeps, when it looks, and what it says of callback and use."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from core_service.application import account_checks
from core_service.application.account_checks import AccountCheck
from core_service.application.channel_accounts import ChannelAccounts
from core_service.domain.account_check import Code, Finding, Severity
from core_service.errors import CoreError
from core_service.providers.alipay.account import FIELDS
from core_service.storage import account_checks as storage
from core_service.storage.database import execute, fetch_one, in_transaction
from tests.core_service.admin_setup import service_call
from tests.core_service.fake_provider import FakeProvider, answer_with, then_do
from tests.core_service.providers.canned_server import CannedAnswer, canned_server
from tests.core_service.shop import LOCAL, TOKEN, Shop, bind
from tests.factories import TEST_BOX, TestMerchant, make_account

ACCOUNTS = ChannelAccounts(
    TEST_BOX, public_base_url="https://pay.example", allow_custom_base_url=True
)
BAD = [Finding(Code.SIGNATURE_REFUSED, {"providerCode": "isv.invalid-signature"})]


@pytest.fixture(autouse=True)
def public_address() -> Iterator[str]:
    """The edge as providers see it, well."""
    with canned_server() as edge:
        edge.answers = [CannedAnswer(200, {}, b"{}")] * 100
        account_checks.configure(edge.url, is_production=False)
        yield edge.url


def look(shop: Shop, *, minutes: int = 0, account: str | None = None) -> AccountCheck:
    now = datetime.now(UTC) + timedelta(minutes=minutes)
    return account_checks.check(account or shop.accounts[LOCAL], now=now)


def codes(found: AccountCheck) -> set[Code]:
    return {finding.code for finding in found.findings}


def stored(shop: Shop) -> Any:
    return fetch_one(
        "SELECT *, check_at - checked_at AS pause FROM channel_account_checks WHERE account_id = %s",
        (shop.accounts[LOCAL],),
    )


def provider(shop: Shop) -> FakeProvider:
    return shop.providers[LOCAL]


def set_config(shop: Shop, text: str) -> None:
    """Changes the configuration of the account."""
    provider(shop).account_fields = FIELDS
    ACCOUNTS.update(
        service_call(),
        shop.accounts[LOCAL],
        display_name=None,
        enabled=None,
        config=text,
        now=datetime.now(UTC),
    )


def test_what_was_found_is_kept(shop: Shop) -> None:
    found = look(shop)
    assert {Code.PROVIDER_ACCEPTS, Code.ACCOUNT_SERVES} <= codes(found)
    kept = account_checks.view(storage.find(shop.accounts[LOCAL], shop.merchant_id))
    assert [*kept.findings] == [*found.findings]
    assert (kept.status, kept.status_since) == (found.status, kept.checked_at)


def test_since_when_it_is_red_and_how_soon_it_is_looked_at_again(shop: Shop) -> None:
    look(shop)
    assert timedelta(hours=21) < stored(shop)["pause"] < timedelta(hours=27)
    provider(shop).script("check", answer_with(BAD), answer_with(BAD))
    red = look(shop, minutes=1)
    assert red.status is Severity.ERROR
    assert red.status_since == red.checked_at
    assert timedelta(minutes=53) < stored(shop)["pause"] < timedelta(minutes=67)
    again = look(shop, minutes=2)
    assert again.status_since == red.status_since != again.checked_at
    assert stored(shop)["status_since"] == red.status_since
    (trouble,) = account_checks.in_trouble("ERROR", page_size=10, page_token=None).items
    assert trouble.check.account_id == shop.accounts[LOCAL]
    assert look(shop, minutes=3).status is not Severity.ERROR
    assert not account_checks.in_trouble("ERROR", page_size=10, page_token=None).items


def test_who_asks_again_at_once_gets_the_last_answer(shop: Shop) -> None:
    first = look(shop)
    calls = shop.books.calls("check")
    assert look(shop).checked_at == first.checked_at
    assert shop.books.calls("check") == calls


def test_the_provider_is_asked_outside_any_transaction(shop: Shop) -> None:
    seen: list[bool] = []
    provider(shop).script("check", then_do(lambda: seen.append(in_transaction())))
    look(shop)
    assert seen == [False]


def test_a_result_about_an_old_configuration_is_not_kept(shop: Shop) -> None:
    look(shop)
    change = partial(set_config, shop, '{"appId": "2021000000000001"}')
    provider(shop).script("check", then_do(change))
    look(shop, minutes=1)
    assert stored(shop)["status"] is None
    shown = {view.row.id: view for view in ACCOUNTS.of_merchant(shop.snapshot.facts.code)}
    assert shown[shop.accounts[LOCAL]].check == account_checks.NOT_CHECKED


def test_a_finding_of_another_release_is_passed_over(shop: Shop) -> None:
    look(shop)
    known = '{"code":"CLOCK_RIGHT","facts":{}}'
    execute(
        "UPDATE channel_account_checks SET findings = %s",
        (f'[{{"code":"NEWER","facts":{{}}}},{known}]',),
    )
    kept = account_checks.view(storage.find(shop.accounts[LOCAL], shop.merchant_id))
    assert [finding.code for finding in kept.findings] == [Code.CLOCK_RIGHT]


def test_an_account_that_nobody_knows(shop: Shop) -> None:
    del shop
    for name in ("acc_none", "", "x" * 200, "acc'"):
        with pytest.raises(CoreError) as refusal:
            account_checks.check(name, now=datetime.now(UTC))
        assert refusal.value.reason == "CHANNEL_ACCOUNT_NOT_FOUND"


def test_use_of_the_account(shop: Shop) -> None:
    merchant = TestMerchant(shop.merchant_id, "", "")
    spare = make_account(
        merchant,
        channel_code=LOCAL,
        callback_token=TOKEN,
        created_at=datetime.now(UTC) - timedelta(days=1),
    )
    bump()
    assert Code.ACCOUNT_SPARE in codes(look(shop, account=spare))
    bind(shop, LOCAL, enabled=False)
    assert Code.CHANNEL_DISABLED in codes(look(shop, account=spare, minutes=1))
    execute("UPDATE channel_accounts SET enabled = false WHERE id = %s", (spare,))
    bump()
    assert Code.ACCOUNT_DISABLED in codes(look(shop, account=spare, minutes=2))


def test_the_callback_address(shop: Shop, public_address: str) -> None:
    found = look(shop)
    assert Code.CALLBACK_LOCAL in codes(found)
    set_config(shop, '{"gatewayUrl": "http://127.0.0.1:1"}')
    assert Code.CALLBACK_REACHABLE in codes(look(shop, minutes=1))
    account_checks.configure("http://127.0.0.1:1", is_production=False)
    away = look(shop, minutes=2)
    assert Code.CALLBACK_UNREACHABLE in codes(away)
    account_checks.configure(public_address, is_production=True)
    assert Code.CALLBACK_INSECURE in codes(look(shop, minutes=3))


def test_the_worker_looks_once_when_it_is_time(shop: Shop) -> None:
    look(shop)
    account_checks.check_due(10)
    calls = shop.books.calls("check")
    execute(
        "UPDATE channel_account_checks SET check_at = now(), checked_at = now() - interval '1 day'"
    )
    assert account_checks.check_due(10) == 1
    assert shop.books.calls("check") == calls + 1
    assert account_checks.check_due(10) == 0


def test_the_worker_leaves_disabled_accounts_alone(shop: Shop) -> None:
    look(shop)
    execute("UPDATE channel_accounts SET enabled = false")
    bump()
    execute(
        "UPDATE channel_account_checks SET check_at = now(), checked_at = now() - interval '1 day'"
    )
    calls = shop.books.calls("check")
    assert account_checks.check_due(10) == 1
    assert shop.books.calls("check") == calls
    assert account_checks.check_due(10) == 0


def test_a_saved_account_is_looked_at_within_a_minute_and_many_are_spread(shop: Shop) -> None:
    look(shop)
    looks = set()
    for number in range(10):
        set_config(shop, f'{{"appId": "202100000000000{number}"}}')
        row = stored(shop)
        assert row["status"] is None
        left = row["check_at"] - datetime.now(UTC)
        assert timedelta(seconds=10) < left <= timedelta(minutes=1)
        looks.add(row["check_at"])
    assert max(looks) - min(looks) > timedelta(seconds=3)


def test_an_unexpected_failure_leaves_the_lease_to_run_out(shop: Shop) -> None:
    look(shop)
    execute(
        "UPDATE channel_account_checks SET check_at = now(), checked_at = now() - interval '1 day'"
    )

    def fail(_effect: object) -> None:
        raise RuntimeError("a bug")

    provider(shop).script("check", fail)
    assert account_checks.check_due(10) == 1
    left = stored(shop)["check_at"] - datetime.now(UTC)
    assert timedelta() < left < timedelta(seconds=account_checks.LEASE_SECONDS + 1)


def bump() -> None:
    execute("UPDATE merchants SET version = version + 1")
