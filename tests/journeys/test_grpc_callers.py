"""Internal services over gRPC: a generic client that knows nothing but reflection, and the health protocol."""

import secrets
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.stack import Merchant, Stack

SERVICES = {
    "novapay.payments.v1.PaymentService",
    "novapay.refunds.v1.RefundService",
    "novapay.merchants.v1.MerchantService",
    "novapay.config.v1.ConfigService",
    "novapay.access.v1.AccessService",
}


class GenericClient:
    """Calls by name, with messages made from what reflection tells."""

    def __init__(self, address: str, metadata: list[tuple[str, str]]) -> None:
        self.channel = grpc.insecure_channel(address)
        self.metadata = metadata
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def call(self, service: str, method: str, **fields: Any) -> Any:
        descriptor = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(descriptor.input_type)(**fields)
        answer = message_factory.GetMessageClass(descriptor.output_type)
        rpc = self.channel.unary_unary(
            f"/{service}/{method}", lambda message: message.SerializeToString(), answer.FromString
        )
        return rpc(request, metadata=self.metadata, timeout=15)


def order_fields(merchant: Merchant) -> dict[str, str]:
    return {
        "merchant_code": merchant.code,
        "channel_code": "alipay.page",
        "external_order_id": secrets.token_hex(8),
        "amount": "6.66",
        "subject": "internal",
    }


def test_reflection_lists_services_and_creates_an_order(stack: Stack, merchant: Merchant) -> None:
    client = GenericClient(stack.grpc_address, [("authorization", f"Bearer {stack.service_token}")])
    assert set(client.database.get_services()) >= SERVICES
    created = client.call(
        "novapay.payments.v1.PaymentService", "CreatePaymentOrder", **order_fields(merchant)
    )
    assert created.created
    assert merchant.order(created.order.id)["amount"] == "6.66"
    closed = client.call(
        "novapay.payments.v1.PaymentService",
        "QueryPaymentOrder",
        merchant_code=merchant.code,
        order_reference=created.order.id,
        sync=False,
    )
    assert closed.order.id == created.order.id


@pytest.mark.parametrize(
    "metadata", [[], [("authorization", "Bearer wrong")], [("authorization", "")]]
)
def test_s05_without_the_token_nothing(
    stack: Stack, merchant: Merchant, metadata: list[tuple[str, str]]
) -> None:
    client = GenericClient(stack.grpc_address, metadata)
    for service, method, fields in (
        ("novapay.payments.v1.PaymentService", "CreatePaymentOrder", order_fields(merchant)),
        ("novapay.merchants.v1.MerchantService", "ListMerchants", {}),
        ("novapay.config.v1.ConfigService", "ListSystemConfigs", {}),
        ("novapay.payments.v1.PaymentService", "VerifyBooks", {}),
    ):
        with pytest.raises(grpc.RpcError) as refusal:
            client.call(service, method, **fields)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_for_the_server_and_each_service(stack: Stack) -> None:
    with grpc.insecure_channel(stack.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
