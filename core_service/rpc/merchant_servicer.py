"""The merchant service: merchants, bindings, channel accounts and API keys."""

from datetime import UTC, datetime

import grpc

from core_service.application import account_checks, bindings
from core_service.application.admin_values import provider_of
from core_service.application.channel_accounts import ChannelAccounts
from core_service.application.credentials import Credentials
from core_service.application.merchants import Merchants
from core_service.rpc import account_messages
from core_service.rpc import merchant_messages as messages
from core_service.rpc.interceptors import call_of
from core_service.rpc.self_service_rpcs import SelfServiceRpcs
from novapay.merchants.v1 import merchant_service_pb2 as pb
from novapay.merchants.v1.merchant_service_pb2_grpc import MerchantServiceServicer

_Context = grpc.ServicerContext


class MerchantServicer(SelfServiceRpcs, MerchantServiceServicer):
    """Turns requests into use cases and rows into answers."""

    def __init__(
        self, merchants: Merchants, credentials: Credentials, channel_accounts: ChannelAccounts
    ) -> None:
        self._merchants = merchants
        self._credentials = credentials
        self._channel_accounts = channel_accounts

    def ListMerchants(  # noqa: N802 (named by the protocol)
        self, request: pb.ListMerchantsRequest, context: _Context
    ) -> pb.ListMerchantsResponse:
        """Answer a page of merchants, newest first."""
        page = self._merchants.newest(
            messages.merchant_filter(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListMerchantsResponse(
            merchants=[messages.merchant_message(row) for row in page.items],
            next_page_token=page.next_token,
        )

    def CreateMerchant(  # noqa: N802 (named by the protocol)
        self, request: pb.CreateMerchantRequest, context: _Context
    ) -> pb.CreateMerchantResponse:
        """Make a merchant."""
        fields = {"code": "", "name": "", **messages.given_fields(request)}
        row = self._merchants.create(call_of(context), fields, now=datetime.now(UTC))
        return pb.CreateMerchantResponse(merchant=messages.merchant_message(row))

    def GetMerchant(  # noqa: N802 (named by the protocol)
        self, request: pb.GetMerchantRequest, context: _Context
    ) -> pb.GetMerchantResponse:
        """Show a merchant."""
        call = call_of(context)
        row = self._merchants.get(call, request.id)
        return pb.GetMerchantResponse(
            merchant=messages.merchant_message(row, for_staff=call.staff is not None)
        )

    def UpdateMerchant(  # noqa: N802 (named by the protocol)
        self, request: pb.UpdateMerchantRequest, context: _Context
    ) -> pb.UpdateMerchantResponse:
        """Change a merchant."""
        call = call_of(context)
        row = self._merchants.update(
            call,
            request.id,
            messages.changes_of(request, naming=("id",)),
            now=datetime.now(UTC),
        )
        return pb.UpdateMerchantResponse(
            merchant=messages.merchant_message(row, for_staff=call.staff is not None)
        )

    def GetMerchantLogo(  # noqa: N802 (named by the protocol)
        self, request: pb.GetMerchantLogoRequest, context: _Context
    ) -> pb.GetMerchantLogoResponse:
        """Show a merchant's logo."""
        return pb.GetMerchantLogoResponse(
            **vars(self._merchants.logo(call_of(context), request.id))
        )

    def SetMerchantLogo(  # noqa: N802 (named by the protocol)
        self, request: pb.SetMerchantLogoRequest, context: _Context
    ) -> pb.SetMerchantLogoResponse:
        """Set or remove a merchant's logo."""
        call = call_of(context)
        row = self._merchants.set_logo(call, request.id, request.content, now=datetime.now(UTC))
        return pb.SetMerchantLogoResponse(
            merchant=messages.merchant_message(row, for_staff=call.staff is not None)
        )

    def ListBindings(  # noqa: N802 (named by the protocol)
        self, request: pb.ListBindingsRequest, context: _Context
    ) -> pb.ListBindingsResponse:
        """Answer a page of bindings, newest first."""
        page = bindings.newest(
            request.merchant_code, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListBindingsResponse(
            bindings=[messages.binding_message(view) for view in page.items],
            next_page_token=page.next_token,
        )

    def SetBinding(  # noqa: N802 (named by the protocol)
        self, request: pb.SetBindingRequest, context: _Context
    ) -> pb.SetBindingResponse:
        """Make or change a binding."""
        view = bindings.put(
            call_of(context),
            request.merchant_code,
            request.channel_code,
            messages.changes_of(request, naming=("merchant_code", "channel_code")),
            now=datetime.now(UTC),
        )
        return pb.SetBindingResponse(binding=messages.binding_message(view))

    def DescribeChannelAccount(  # noqa: N802 (named by the protocol)
        self, request: pb.DescribeChannelAccountRequest, context: _Context
    ) -> pb.DescribeChannelAccountResponse:
        """Show the fields that a channel's provider declares."""
        return account_messages.description_message(provider_of(request.channel_code))

    def CheckChannelAccount(  # noqa: N802 (named by the protocol)
        self, request: pb.CheckChannelAccountRequest, context: _Context
    ) -> pb.CheckChannelAccountResponse:
        """Examine an account now."""
        found = account_checks.check_for(call_of(context), request.id, now=datetime.now(UTC))
        return pb.CheckChannelAccountResponse(check=account_messages.check_message(found))

    def ListAccountTroubles(  # noqa: N802 (named by the protocol)
        self, request: pb.ListAccountTroublesRequest, context: _Context
    ) -> pb.ListAccountTroublesResponse:
        """Answer a page of accounts that are not well."""
        page = account_checks.in_trouble(
            account_messages.severity_of(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListAccountTroublesResponse(
            troubles=[account_messages.trouble_message(row) for row in page.items],
            next_page_token=page.next_token,
        )

    def CreateChannelAccount(  # noqa: N802 (named by the protocol)
        self, request: pb.CreateChannelAccountRequest, context: _Context
    ) -> pb.CreateChannelAccountResponse:
        """Add an account at a provider."""
        view = self._channel_accounts.create(
            call_of(context),
            request.merchant_code,
            request.channel_code,
            display_name=request.display_name,
            config=request.config,
            now=datetime.now(UTC),
        )
        return pb.CreateChannelAccountResponse(account=account_messages.account_message(view))

    def ListChannelAccounts(  # noqa: N802 (named by the protocol)
        self, request: pb.ListChannelAccountsRequest, context: _Context
    ) -> pb.ListChannelAccountsResponse:
        """Answer a merchant's accounts."""
        views = self._channel_accounts.of_merchant(request.merchant_code)
        return pb.ListChannelAccountsResponse(
            accounts=[account_messages.account_message(view) for view in views]
        )

    def UpdateChannelAccount(  # noqa: N802 (named by the protocol)
        self, request: pb.UpdateChannelAccountRequest, context: _Context
    ) -> pb.UpdateChannelAccountResponse:
        """Change what is present."""
        view = self._channel_accounts.update(
            call_of(context),
            request.id,
            display_name=request.display_name or None,
            enabled=request.enabled if request.HasField("enabled") else None,
            config=request.config if request.HasField("config") else None,
            now=datetime.now(UTC),
        )
        return pb.UpdateChannelAccountResponse(account=account_messages.account_message(view))

    def CreateCredential(  # noqa: N802 (named by the protocol)
        self, request: pb.CreateCredentialRequest, context: _Context
    ) -> pb.CreateCredentialResponse:
        """Make an API key and show its secret, this once."""
        row, secret = self._credentials.create(
            call_of(context),
            request.merchant_code,
            label=request.label,
            expires_at=messages.time_of(request, "expires_at", "expiresAt"),
            now=datetime.now(UTC),
        )
        return pb.CreateCredentialResponse(
            credential=messages.credential_message(row), secret=secret
        )

    def ListCredentials(  # noqa: N802 (named by the protocol)
        self, request: pb.ListCredentialsRequest, context: _Context
    ) -> pb.ListCredentialsResponse:
        """Answer a merchant's API keys."""
        rows = self._credentials.of_merchant(request.merchant_code)
        return pb.ListCredentialsResponse(
            credentials=[messages.credential_message(row) for row in rows]
        )

    def RevokeCredential(  # noqa: N802 (named by the protocol)
        self, request: pb.RevokeCredentialRequest, context: _Context
    ) -> pb.RevokeCredentialResponse:
        """Disable an API key."""
        row = self._credentials.revoke(call_of(context), request.key_id)
        return pb.RevokeCredentialResponse(credential=messages.credential_message(row))
