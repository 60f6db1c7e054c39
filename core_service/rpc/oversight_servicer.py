"""The part of PaymentService that operators look at: lists, one order's story, deliveries, anomalies, the overview.

Reads decide nothing and go straight to storage.
"""

from datetime import UTC, datetime

import grpc

from core_service.application import anomalies as anomaly_cases
from core_service.application import callbacks, order_story, overview
from core_service.domain import money
from core_service.errors import CoreError
from core_service.rpc import oversight_messages as messages
from core_service.rpc.interceptors import call_of
from core_service.rpc.merchant_messages import time_of
from core_service.rpc.payment_messages import status_name
from core_service.rpc.scope import ensure_in_scope, scope_of
from core_service.rpc.timestamps import optional_timestamp
from core_service.storage import anomalies, delivery_lists, order_lists
from core_service.storage.delivery_lists import DeliveryFilter
from core_service.storage.listing import wanted_page
from core_service.storage.order_lists import OrderFilter
from novapay.payments.v1 import payment_service_pb2 as pb


class OversightMethods:
    """Messages to values and back."""

    _public_base_url: str

    def ListPaymentOrders(  # noqa: N802 (named by the proto file, like the others here)
        self, request: pb.ListPaymentOrdersRequest, context: grpc.ServicerContext
    ) -> pb.ListPaymentOrdersResponse:
        """A page of orders."""
        wanted = OrderFilter(
            merchant_id=scope_of(call_of(context), request.merchant_code),
            search=request.search.strip() or None,
            status=status_name(request, "status", pb.OrderStatus.DESCRIPTOR),
            channel_code=request.channel_code or None,
            created_from=time_of(request, "created_from", "createdFrom"),
            created_to=time_of(request, "created_to", "createdTo"),
            is_late=request.late,
            is_stuck=request.stuck,
            amount_fen=money.parse_amount(request.amount) if request.amount else None,
        )
        page = order_lists.newest(wanted, wanted_page(request.page_size, request.page_token))
        return pb.ListPaymentOrdersResponse(
            orders=[messages.summary_message(order) for order in page.items],
            next_page_token=page.next_token,
            searched_back_to=optional_timestamp(page.searched_back_to),
        )

    def GetPaymentOrder(  # noqa: N802
        self, request: pb.GetPaymentOrderRequest, context: grpc.ServicerContext
    ) -> pb.GetPaymentOrderResponse:
        """An order with everything that happened to it."""
        call = call_of(context)
        scope = scope_of(call, request.merchant_code)
        story = order_story.story_of(request.id, scope, now=datetime.now(UTC))
        answer = messages.story_message(story, self._public_base_url)
        if call.staff is not None:
            messages.hide_operators(answer)
        return answer

    def GetOverview(  # noqa: N802
        self, request: pb.GetOverviewRequest, context: grpc.ServicerContext
    ) -> pb.GetOverviewResponse:
        """The four questions."""
        scope = scope_of(call_of(context), request.merchant_code)
        return messages.overview_message(overview.overview(scope, now=datetime.now(UTC)))

    def ListDeliveries(  # noqa: N802
        self, request: pb.ListDeliveriesRequest, context: grpc.ServicerContext
    ) -> pb.ListDeliveriesResponse:
        """A page of deliveries."""
        wanted = DeliveryFilter(
            merchant_id=scope_of(call_of(context), request.merchant_code),
            status=status_name(request, "status", pb.CallbackStatus.DESCRIPTOR),
            event=request.event or None,
            is_due=request.due,
            is_undelivered=request.undelivered,
        )
        page = delivery_lists.page_of_deliveries(
            wanted, wanted_page(request.page_size, request.page_token)
        )
        return pb.ListDeliveriesResponse(
            deliveries=[messages.delivery_message(delivery) for delivery in page.items],
            next_page_token=page.next_token,
            searched_back_to=optional_timestamp(page.searched_back_to),
        )

    def GetDelivery(  # noqa: N802
        self, request: pb.GetDeliveryRequest, context: grpc.ServicerContext
    ) -> pb.GetDeliveryResponse:
        """A delivery with its attempts."""
        scope = scope_of(call_of(context), request.merchant_code)
        delivery = delivery_lists.find(request.id)
        if delivery is None:
            raise CoreError("NOT_FOUND")
        ensure_in_scope(scope, delivery.merchant_id, "NOT_FOUND")
        attempts = delivery_lists.attempts_of(delivery.merchant_id, delivery.id)
        return pb.GetDeliveryResponse(
            delivery=messages.delivery_message(delivery),
            body=delivery_lists.body_of(delivery).decode(),
            attempts=[messages.attempt_message(attempt) for attempt in attempts],
        )

    def RetryDelivery(  # noqa: N802
        self, request: pb.RetryDeliveryRequest, context: grpc.ServicerContext
    ) -> pb.RetryDeliveryResponse:
        """Send a delivery at once."""
        call = call_of(context)
        scope = scope_of(call, request.merchant_code)
        outcome = callbacks.retry_delivery(call, request.id, scope)
        return pb.RetryDeliveryResponse(
            delivered=outcome.delivered,
            skipped=outcome.skipped,
            reason=outcome.reason,
            http_status=outcome.http_status,
            error_message=outcome.error_message,
        )

    def ListAnomalies(  # noqa: N802
        self, request: pb.ListAnomaliesRequest, context: grpc.ServicerContext
    ) -> pb.ListAnomaliesResponse:
        """A page of anomalies."""
        call = call_of(context)
        page = anomalies.newest(
            scope_of(call, request.merchant_code),
            request.kind or None,
            is_resolved=request.resolved,
            page=wanted_page(request.page_size, request.page_token),
        )
        answer = pb.ListAnomaliesResponse(
            anomalies=[messages.anomaly_message(anomaly) for anomaly in page.items],
            next_page_token=page.next_token,
        )
        if call.staff is not None:
            for anomaly in answer.anomalies:
                messages.hide_resolution(anomaly)
        return answer

    def ResolveAnomaly(  # noqa: N802
        self, request: pb.ResolveAnomalyRequest, context: grpc.ServicerContext
    ) -> pb.ResolveAnomalyResponse:
        """Put an anomaly away."""
        resolved = anomaly_cases.resolve(
            call_of(context), request.id, request.note, now=datetime.now(UTC)
        )
        return pb.ResolveAnomalyResponse(anomaly=messages.anomaly_message(resolved))
