"""The part of MerchantService with which a merchant's developers help themselves."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import grpc

from core_service.application import (
    callback_settings,
    onboarding,
    request_log,
    signature_help,
)
from core_service.application.channel_accounts import ChannelAccounts
from core_service.application.merchants import Merchants
from core_service.domain.signature_explainer import Attempt
from core_service.rpc.interceptors import call_of
from core_service.rpc.merchant_messages import merchant_message
from core_service.rpc.timestamps import timestamp
from core_service.storage.signed_requests import SignedRequestRow
from novapay.merchants.v1 import merchant_service_pb2 as pb

_Context = grpc.ServicerContext


class SelfServiceRpcs:
    """Messages to values and back; MerchantServicer inherits them."""

    _merchants: Merchants
    _channel_accounts: ChannelAccounts

    def SendTestCallback(  # noqa: N802 (named by the proto file, like the others here)
        self, request: pb.SendTestCallbackRequest, context: _Context
    ) -> pb.SendTestCallbackResponse:
        """Send a test event and show what came of it."""
        sent = callback_settings.send_test(
            call_of(context), request.merchant_code, now=datetime.now(UTC)
        )
        body = sent.response_body
        return pb.SendTestCallbackResponse(
            delivered=sent.delivered,
            url=sent.url,
            request_headers=_headers(sent.headers),
            request_body=sent.body,
            http_status=sent.http_status,
            response_body=None if body is None else body.decode("utf-8", "replace"),
            error=sent.error,
            duration_ms=sent.duration_ms,
        )

    def RotateNotifySecret(  # noqa: N802
        self, request: pb.RotateNotifySecretRequest, context: _Context
    ) -> pb.RotateNotifySecretResponse:
        """Make a new callback secret and show it, this once."""
        row, secret = callback_settings.rotate_secret(
            call_of(context),
            self._merchants.box,
            request.merchant_code,
            overlap=timedelta(hours=request.overlap_hours),
            now=datetime.now(UTC),
        )
        return pb.RotateNotifySecretResponse(
            secret=secret, merchant=merchant_message(row, for_staff=True)
        )

    def GetOnboarding(  # noqa: N802
        self, request: pb.GetOnboardingRequest, context: _Context
    ) -> pb.GetOnboardingResponse:
        """Show how far the merchant has come."""
        found = onboarding.progress(
            request.merchant_code,
            has_sandbox=self._channel_accounts.allow_custom_base_url,
            now=datetime.now(UTC),
        )
        return pb.GetOnboardingResponse(**vars(found))

    def ListSignedRequests(  # noqa: N802
        self, request: pb.ListSignedRequestsRequest, context: _Context
    ) -> pb.ListSignedRequestsResponse:
        """Answer a page of requests, newest first."""
        page = request_log.newest(
            request.merchant_code,
            refused=request.refused,
            key_id=request.key_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListSignedRequestsResponse(
            requests=[_signed_request(row) for row in page.items],
            next_page_token=page.next_token,
        )

    def ExplainSignature(  # noqa: N802
        self, request: pb.ExplainSignatureRequest, context: _Context
    ) -> pb.ExplainSignatureResponse:
        """Show what has to be signed, and what is wrong."""
        found = signature_help.explain(
            request.merchant_code,
            Attempt(
                key_id=request.key_id.encode(),
                timestamp=request.timestamp.encode(),
                nonce=request.nonce.encode(),
                signature=request.signature.encode(),
                body=request.body,
            ),
            request.string_to_sign,
            now=datetime.now(UTC),
        )
        difference = found.difference
        return pb.ExplainSignatureResponse(
            string_to_sign=found.string_to_sign,
            checks=[pb.SignatureCheck(**vars(check)) for check in found.checks],
            difference=None if difference is None else pb.SignatureDifference(**vars(difference)),
            findings=found.findings,
        )


def _headers(headers: Mapping[str, str]) -> list[pb.Header]:
    return [pb.Header(name=name, value=value) for name, value in headers.items()]


def _signed_request(row: SignedRequestRow) -> pb.SignedRequest:
    return pb.SignedRequest(
        at=timestamp(row.at),
        operation=row.operation,
        outcome=row.outcome,
        detail=row.detail,
        key_id=row.key_id,
        client_address=row.client_address,
        request_id=row.request_id,
        duration_ms=row.duration_ms,
    )
