"""The merchant's accounts at providers: forms as the provider modules declare them, examined on save."""

from admin import account_form
from admin.console import Family
from admin.layout.view import render
from admin.operator.bindings import percent
from admin.page import Page
from admin.visit import Reply, Visit
from core_service.errors import CoreError
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.payments.v1 import payment_service_pb2 as payments


class Accounts(Page):
    """All of them, each with what the doctor says."""

    path = "/merchant/accounts"
    rpc = "MerchantService.ListChannelAccounts"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """Newest first; and which of them serves which channel."""
        listed = await visit.call(self.rpc, merchants.ListChannelAccountsRequest())
        bound = await visit.call("MerchantService.ListBindings", merchants.ListBindingsRequest())
        channels = await visit.call("PaymentService.ListChannels", payments.ListChannelsRequest())
        return render(
            visit,
            "merchant/accounts.html",
            accounts=listed.accounts,
            bindings=bound.bindings,
            percent=percent,
            channels=channels.channels,
        )


class NewAccount(Page):
    """The form that the provider declares, empty."""

    path = "/merchant/accounts/new/{channel}"
    rpc = "MerchantService.CreateChannelAccount"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """The form."""
        declared = await account_form.describe(visit, params["channel"])
        return render(
            visit,
            "merchant/new_account.html",
            declared=declared,
            groups=account_form.groups_of(visit, declared),
        )

    async def do_create(self, visit: Visit, **params: str) -> Reply:
        """Add it, and let the doctor look at once."""
        declared = await account_form.describe(visit, params["channel"])
        request = merchants.CreateChannelAccountRequest(
            channel_code=params["channel"],
            display_name=visit.form.trimmed("displayName"),
            config=account_form.config_from(visit, declared),
        )
        made = (await visit.call(self.rpc, request)).account
        await account_form.check_after_saving(visit, made.id)
        return visit.redirect(f"{Accounts.path}/{made.id}", "accounts.created")


class Account(Page):
    """One account: the findings, its callback address, and its configuration."""

    path = "/merchant/accounts/{account_id}"
    rpc = "MerchantService.ListChannelAccounts"

    async def get(self, visit: Visit, **params: str) -> Reply:
        """Secrets are masked."""
        account = await self._account(visit, params["account_id"])
        declared = await account_form.describe(visit, account.channel_code)
        return render(
            visit,
            "merchant/account_page.html",
            account=account,
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
        account = await self._account(visit, params["account_id"])
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

    async def _account(self, visit: Visit, account_id: str) -> merchants.ChannelAccount:
        listed = await visit.call(self.rpc, merchants.ListChannelAccountsRequest())
        for account in listed.accounts:
            if account.id == account_id:
                found: merchants.ChannelAccount = account
                return found
        raise CoreError("CHANNEL_ACCOUNT_NOT_FOUND")


FAMILY = Family("channel_accounts", "integration", (Accounts, NewAccount, Account))
