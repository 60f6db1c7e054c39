"""RefundService."""

from datetime import UTC, datetime

import grpc

from core_service.application import refunds
from core_service.application.idempotency import Replay
from core_service.application.payment_orders import References
from core_service.application.refunds import CreateRefund, RefundResult
from core_service.rpc.interceptors import call_of
from core_service.rpc.merchant_messages import time_of
from core_service.rpc.payment_messages import refund_message, refund_view_message, status_name
from core_service.rpc.payment_servicer import merchant_of
from core_service.rpc.scope import scope_of
from core_service.rpc.stored_answers import as_stored
from core_service.rpc.timestamps import optional_timestamp
from core_service.storage import refund_lists
from core_service.storage.listing import wanted_page
from core_service.storage.refund_lists import RefundFilter
from novapay.refunds.v1 import refund_service_pb2 as pb
from novapay.refunds.v1 import refund_service_pb2_grpc


class RefundServicer(refund_service_pb2_grpc.RefundServiceServicer):
    """Messages to values and back."""

    def CreateRefund(  # noqa: N802 (named by the proto file, like the others here)
        self, request: pb.CreateRefundRequest, context: grpc.ServicerContext
    ) -> pb.CreateRefundResponse:
        """Refund a paid order, or find the refund with this external id."""
        call = call_of(context)
        merchant = merchant_of(call, request.merchant_code)
        command = CreateRefund(
            names=References.of(
                orderReference=request.order_reference,
                orderId=request.order_id,
                externalOrderId=request.external_order_id,
            ),
            external_refund_id=request.external_refund_id,
            amount=request.amount,
            reason=request.reason if request.HasField("reason") else None,
            metadata=request.metadata if request.HasField("metadata") else None,
        )

        def message(result: RefundResult) -> pb.CreateRefundResponse:
            refund = refund_message(result.refund, result.order, merchant)
            return pb.CreateRefundResponse(created=result.created, refund=refund)

        answer = refunds.create(
            call,
            merchant,
            command,
            encode=lambda result: message(result).SerializeToString(),
            now=datetime.now(UTC),
        )
        if isinstance(answer, Replay):
            return as_stored(answer.response)  # type: ignore[no-any-return]
        return message(answer)

    def QueryRefund(  # noqa: N802
        self, request: pb.QueryRefundRequest, context: grpc.ServicerContext
    ) -> pb.QueryRefundResponse:
        """A refund, by default as the provider has it now."""
        call = call_of(context)
        merchant = merchant_of(call, request.merchant_code)
        names = References.of(
            refundReference=request.refund_reference,
            refundId=request.refund_id,
            externalRefundId=request.external_refund_id,
        )
        sync = request.sync if request.HasField("sync") else True
        result = refunds.query(call, merchant, names, sync=sync, now=datetime.now(UTC))
        return pb.QueryRefundResponse(refund=refund_message(result.refund, result.order, merchant))

    def ListRefunds(  # noqa: N802
        self, request: pb.ListRefundsRequest, context: grpc.ServicerContext
    ) -> pb.ListRefundsResponse:
        """A page of refunds."""
        wanted = RefundFilter(
            merchant_id=scope_of(call_of(context), request.merchant_code),
            status=status_name(request, "status", pb.RefundStatus.DESCRIPTOR),
            created_from=time_of(request, "created_from", "createdFrom"),
            created_to=time_of(request, "created_to", "createdTo"),
            is_stuck=request.stuck,
        )
        page = refund_lists.newest(wanted, wanted_page(request.page_size, request.page_token))
        return pb.ListRefundsResponse(
            refunds=[refund_view_message(view) for view in page.items],
            next_page_token=page.next_token,
            searched_back_to=optional_timestamp(page.searched_back_to),
        )
