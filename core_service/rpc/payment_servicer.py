"""PaymentService: orders, channels, provider notifications, the cashier's view, callback retries, the books."""

from datetime import UTC, datetime

import grpc

from core_service.application import (
    callbacks,
    checkout,
    finance,
    merchant_cache,
    payment_order_creation,
    payment_orders,
    provider_notifications,
)
from core_service.application.idempotency import Replay
from core_service.application.merchant_cache import MerchantSnapshot
from core_service.application.payment_order_creation import CreateOrder
from core_service.application.payment_orders import OrderResult, References
from core_service.application.provider_notifications import Inbound
from core_service.calls import Call, Principal
from core_service.domain.money import format_fen
from core_service.errors import FieldViolation, invalid_request
from core_service.providers import registry
from core_service.providers.base import NotificationRequest, Provider
from core_service.rpc.interceptors import call_of
from core_service.rpc.oversight_servicer import OversightMethods
from core_service.rpc.payment_messages import checkout_state, order_message, order_status
from core_service.rpc.stored_answers import as_stored
from core_service.rpc.timestamps import optional_timestamp, timestamp
from novapay.payments.v1 import payment_service_pb2 as pb
from novapay.payments.v1 import payment_service_pb2_grpc


def merchant_of(call: Call, merchant_code: str) -> MerchantSnapshot:
    """The signing merchant, or for internal services the one that they name. Raises MERCHANT_NOT_FOUND."""
    if call.principal is Principal.MERCHANT:
        merchant: MerchantSnapshot = call.merchant
        return merchant
    return merchant_cache.by_code(merchant_code)


class PaymentServicer(OversightMethods, payment_service_pb2_grpc.PaymentServiceServicer):
    """Messages to values and back."""

    def __init__(self, public_base_url: str) -> None:
        self._public_base_url = public_base_url.rstrip("/")

    def ListChannels(  # noqa: N802 (named by the proto file, like the others here)
        self, request: pb.ListChannelsRequest, context: grpc.ServicerContext
    ) -> pb.ListChannelsResponse:
        """What merchants can sell with."""
        return pb.ListChannelsResponse(
            channels=[_channel(provider) for provider in registry.PROVIDERS]
        )

    def CreatePaymentOrder(  # noqa: N802
        self, request: pb.CreatePaymentOrderRequest, context: grpc.ServicerContext
    ) -> pb.CreatePaymentOrderResponse:
        """Create an order, or find the one with this external id."""
        call = call_of(context)
        merchant = merchant_of(call, request.merchant_code)
        if request.HasField("notify_url"):
            raise invalid_request(FieldViolation("notifyUrl", "is not accepted; use callbackUrl"))
        command = CreateOrder(
            channel_code=request.channel_code,
            external_order_id=request.external_order_id,
            amount=request.amount,
            subject=request.subject,
            description=_optional(request, "description"),
            return_url=_optional(request, "return_url"),
            callback_url=_optional(request, "callback_url"),
            metadata=_optional(request, "metadata"),
        )

        def message(result: OrderResult) -> pb.CreatePaymentOrderResponse:
            order = order_message(result.view, merchant, self._public_base_url)
            return pb.CreatePaymentOrderResponse(created=result.created, order=order)

        answer = payment_order_creation.create(
            call,
            merchant,
            command,
            public_base_url=self._public_base_url,
            encode=lambda result: message(result).SerializeToString(),
            now=datetime.now(UTC),
        )
        if answer.response is not None:
            return as_stored(answer.response)  # type: ignore[no-any-return]
        assert isinstance(answer, OrderResult)
        return message(answer)

    def QueryPaymentOrder(  # noqa: N802
        self, request: pb.QueryPaymentOrderRequest, context: grpc.ServicerContext
    ) -> pb.QueryPaymentOrderResponse:
        """An order, by default as the provider has it now."""
        call = call_of(context)
        merchant = merchant_of(call, request.merchant_code)
        sync = request.sync if request.HasField("sync") else True
        view = payment_orders.query(
            call, merchant, _references(request), sync=sync, now=datetime.now(UTC)
        )
        return pb.QueryPaymentOrderResponse(
            order=order_message(view, merchant, self._public_base_url)
        )

    def ClosePaymentOrder(  # noqa: N802
        self, request: pb.ClosePaymentOrderRequest, context: grpc.ServicerContext
    ) -> pb.ClosePaymentOrderResponse:
        """Close an unpaid order."""
        call = call_of(context)
        merchant = merchant_of(call, request.merchant_code)

        def message(result: OrderResult) -> pb.ClosePaymentOrderResponse:
            return pb.ClosePaymentOrderResponse(
                order=order_message(result.view, merchant, self._public_base_url)
            )

        answer = payment_orders.close(
            call,
            merchant,
            _references(request),
            encode=lambda result: message(result).SerializeToString(),
            now=datetime.now(UTC),
        )
        if isinstance(answer, Replay):
            return as_stored(answer.response)  # type: ignore[no-any-return]
        return message(answer)

    def HandleProviderNotification(  # noqa: N802
        self, request: pb.HandleProviderNotificationRequest, context: grpc.ServicerContext
    ) -> pb.HandleProviderNotificationResponse:
        """Verify, record, acknowledge."""
        headers = {
            header.name.lower(): header.value.decode("latin-1") for header in request.headers
        }
        inbound = Inbound(
            provider_code=request.provider,
            account_id=request.account_id,
            token=request.token,
            request=NotificationRequest(request.method, headers, request.query, request.body),
        )
        answer = provider_notifications.handle(call_of(context), inbound, now=datetime.now(UTC))
        return pb.HandleProviderNotificationResponse(
            status=answer.status, content_type=answer.content_type, body=answer.body
        )

    def GetCheckout(  # noqa: N802
        self, request: pb.GetCheckoutRequest, context: grpc.ServicerContext
    ) -> pb.GetCheckoutResponse:
        """What the hosted cashier shows."""
        view = checkout.look(request.order_id, now=datetime.now(UTC))
        order = view.order
        return pb.GetCheckoutResponse(
            order_id=order.id,
            merchant_name=view.merchant_name,
            amount=format_fen(order.amount_fen),
            currency=order.currency,
            subject=order.subject,
            status=order_status(order.status),
            channel_code=order.channel_code,
            payment_mode=order.payment_mode or "",
            checkout_url=view.checkout_url,
            return_url=order.return_url or "",
            expire_at=timestamp(order.expire_at),
            paid_at=optional_timestamp(order.paid_at),
            refunded_amount=format_fen(order.refunded_fen),
            merchant_logo_etag=view.logo_etag,
            return_delay_seconds=view.return_delay_seconds,
            state=checkout_state(view.state),
            external_order_id=order.external_order_id,
            may_change=view.may_change,
        )

    def GetCheckoutLogo(  # noqa: N802
        self, request: pb.GetCheckoutLogoRequest, context: grpc.ServicerContext
    ) -> pb.GetCheckoutLogoResponse:
        """The merchant's logo beside an order."""
        return pb.GetCheckoutLogoResponse(**vars(checkout.logo_of(request.order_id)))

    def RetryCallback(  # noqa: N802
        self, request: pb.RetryCallbackRequest, context: grpc.ServicerContext
    ) -> pb.RetryCallbackResponse:
        """Send an order's merchant callback at once."""
        outcome = callbacks.retry_now(call_of(context), request.id)
        return pb.RetryCallbackResponse(
            delivered=outcome.delivered,
            skipped=outcome.skipped,
            reason=outcome.reason,
            http_status=outcome.http_status,
            error_message=outcome.error_message,
        )

    def VerifyBooks(  # noqa: N802
        self, request: pb.VerifyBooksRequest, context: grpc.ServicerContext
    ) -> pb.VerifyBooksResponse:
        """Check every invariant that can be read from the rows."""
        books = finance.verify_books()
        return pb.VerifyBooksResponse(
            balanced=books.is_balanced,
            checks=[
                pb.BooksCheck(
                    name=check.name, holds=check.violations == 0, violations=check.violations
                )
                for check in books.checks
            ],
            captured_fen=books.captured_fen,
            refunded_fen=books.refunded_fen,
        )


def _channel(provider: Provider) -> pb.Channel:
    capabilities = ["create", "query", "notify"]
    capabilities += ["close"] if provider.can_close else []
    capabilities += ["refund"] if provider.can_refund else []
    return pb.Channel(
        code=provider.channel_code,
        provider=provider.provider_code,
        display_name=provider.display_name,
        description=provider.description,
        configured=True,
        implementation_status="READY",
        capabilities=capabilities,
    )


def _references(request: pb.QueryPaymentOrderRequest | pb.ClosePaymentOrderRequest) -> References:
    return References.of(
        orderReference=request.order_reference,
        orderId=request.order_id,
        externalOrderId=request.external_order_id,
    )


def _optional(request: pb.CreatePaymentOrderRequest, field: str) -> str | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    value: str = getattr(request, field)
    return value
