"""A merchant's accounts at providers: entered, examined, switched on and off; and which are not well."""

from collections.abc import Mapping

from admin import account_form
from admin.console import Family
from admin.layout.view import render
from admin.operator.merchant_tabs import merchant_of, merchant_path, render_merchant
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import CoreError
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.payments.v1 import payment_service_pb2 as payments

PAGE_SIZE = 50


class Accounts(Page):
    """All accounts of a merchant, each with what the doctor says."""

    path = "/admin/merchants/{code}/accounts"
    rpc = "MerchantService.ListChannelAccounts"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """Newest first."""
        merchant = await merchant_of(visit, params["code"])
        request = merchants.ListChannelAccountsRequest(merchant_code=merchant.code)
        accounts = (await visit.call(self.rpc, request)).accounts
        channels = await visit.call("PaymentService.ListChannels", payments.ListChannelsRequest())
        return render_merchant(
            visit, merchant, "merchant_accounts", accounts=accounts, channels=channels.channels
        )


class NewAccount(Page):
    """The form that the provider declares, empty."""

    path = "/admin/merchants/{code}/new-account/{channel}"
    rpc = "MerchantService.CreateChannelAccount"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """The form."""
        merchant = await merchant_of(visit, params["code"])
        declared = await account_form.describe(visit, params["channel"])
        return render_merchant(
            visit,
            merchant,
            "merchant_accounts",
            "merchant_new_account",
            declared=declared,
            groups=account_form.groups_of(visit, declared),
        )

    async def do_create(self, visit: Visit, **params: str) -> Reply:
        """Add it, and let the doctor look at once."""
        declared = await account_form.describe(visit, params["channel"])
        merchant = await merchant_of(visit, params["code"])
        request = merchants.CreateChannelAccountRequest(
            merchant_code=merchant.code,
            channel_code=params["channel"],
            display_name=visit.form.trimmed("displayName"),
            config=account_form.config_from(visit, declared),
        )
        made = (await visit.call(self.rpc, request)).account
        await account_form.check_after_saving(visit, made.id)
        return visit.redirect(merchant_path(merchant.code, "accounts", made.id), "accounts.created")


class Account(Page):
    """One account: the findings, its callback address, and its configuration."""

    path = "/admin/merchants/{code}/accounts/{account_id}"
    rpc = "MerchantService.ListChannelAccounts"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """Secrets are masked."""
        merchant = await merchant_of(visit, params["code"])
        account = await self._account(visit, merchant.code, params["account_id"])
        declared = await account_form.describe(visit, account.channel_code)
        return render_merchant(
            visit,
            merchant,
            "merchant_accounts",
            "merchant_account",
            account=account,
            declared=declared,
            groups=account_form.groups_of(visit, declared, account.config),
            findings=account_form.finding_texts(visit, account.check, declared),
        )

    async def do_check(self, visit: Visit, **params: str) -> Reply:
        """Let the doctor look now."""
        request = merchants.CheckChannelAccountRequest(id=params["account_id"])
        await visit.call("MerchantService.CheckChannelAccount", request)
        return visit.redirect(visit.path, "accounts.checked")

    async def do_save(self, visit: Visit, **params: str) -> Reply:
        """Change what was changed, and let the doctor look at it."""
        account = await self._account(visit, params["code"], params["account_id"])
        declared = await account_form.describe(visit, account.channel_code)
        request = merchants.UpdateChannelAccountRequest(
            id=account.id,
            display_name=visit.form.trimmed("displayName"),
            config=account_form.config_from(visit, declared, account.config),
        )
        await visit.call("MerchantService.UpdateChannelAccount", request)
        await account_form.check_after_saving(visit, account.id)
        return visit.redirect(visit.path, "accounts.saved")

    async def do_enable(self, visit: Visit, **params: str) -> Reply:
        """Let it take orders again."""
        return await self._switch(visit, params["account_id"], enabled=True)

    async def do_disable(self, visit: Visit, **params: str) -> Reply:
        """New orders go elsewhere; what it has taken is still looked after."""
        return await self._switch(visit, params["account_id"], enabled=False)

    async def _switch(self, visit: Visit, account_id: str, *, enabled: bool) -> Reply:
        request = merchants.UpdateChannelAccountRequest(id=account_id, enabled=enabled)
        await visit.call("MerchantService.UpdateChannelAccount", request)
        done = "accounts.enabled_done" if enabled else "accounts.disabled_done"
        return visit.redirect(visit.path, done)

    async def _account(self, visit: Visit, code: str, account_id: str) -> merchants.ChannelAccount:
        merchant = await merchant_of(visit, code)
        request = merchants.ListChannelAccountsRequest(merchant_code=merchant.code)
        for account in (await visit.call(self.rpc, request)).accounts:
            if account.id == account_id:
                found: merchants.ChannelAccount = account
                return found
        raise CoreError("CHANNEL_ACCOUNT_NOT_FOUND")


class Troubles(Page):
    """Accounts that are not well, of all merchants: what turned red last comes first."""

    path = "/admin/account-troubles"
    rpc = "MerchantService.ListAccountTroubles"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """Errors and warnings, or one of them."""
        status = visit.query.get("status", "")
        request = merchants.ListAccountTroublesRequest(
            page_size=PAGE_SIZE,
            page_token=visit.query.get("page_token"),
            status=merchants.CheckSeverity.Value(f"CHECK_SEVERITY_{status}")
            if status in ("WARNING", "ERROR")
            else None,
        )
        answer = await visit.call(self.rpc, request)
        channels = {trouble.channel_code for trouble in answer.troubles}
        declared = {code: await account_form.describe(visit, code) for code in sorted(channels)}
        rows = [_row(visit, trouble, declared) for trouble in answer.troubles]
        return render(
            visit, "operator/account_troubles.html", rows=rows, next=answer.next_page_token
        )


def _row(
    visit: Visit,
    trouble: merchants.AccountTrouble,
    declared: Mapping[str, merchants.DescribeChannelAccountResponse],
) -> tuple[merchants.AccountTrouble, str, str]:
    """The trouble, its worst finding in words, and the account's page."""
    found = account_form.finding_texts(visit, trouble.check, declared[trouble.channel_code])
    path = merchant_path(trouble.merchant_code, "accounts", trouble.account_id)
    return trouble, found[0].text if found else "", path


MERCHANT_PAGES = (Accounts, NewAccount, Account)
FAMILY = Family("account_troubles", "merchants_group", (Troubles,))
