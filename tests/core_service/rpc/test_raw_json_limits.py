"""Free-form JSON of internal callers keeps the limits that the edge keeps for merchants."""

import pytest

from core_service.errors import CoreError
from core_service.rpc import field_rules
from novapay.merchants.v1 import merchant_service_pb2
from novapay.payments.v1 import payment_service_pb2 as pb


def request(metadata: str) -> pb.CreatePaymentOrderRequest:
    return pb.CreatePaymentOrderRequest(
        merchant_code="M1", channel_code="alipay.page", external_order_id="A-1", amount="1.00",
        subject="Goods", metadata=metadata,
    )  # fmt: skip


def nested(levels: int) -> str:
    return '{"a": ' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize("text", [
    "{}", '{"n": 1.10, "big": 12345678901234567890123}', nested(8),
    '{"a": "' + "x" * (8192 - 9) + '"}',
])  # fmt: skip
def test_i07_what_passes(text: str) -> None:
    field_rules.check(request(text), None)


@pytest.mark.parametrize("text", [
    "", "[]", "1", "null", '"x"', "{", '{"a": NaN}', '{"a": -Infinity}', nested(9),
    nested(1_000), '{"a": "' + "x" * (8192 - 8) + '"}', '{"a": "' + "字" * 2729 + '"}',
])  # fmt: skip
def test_i07_what_does_not(text: str) -> None:
    with pytest.raises(CoreError) as refusal:
        field_rules.check(request(text), None)
    assert [violation.field for violation in refusal.value.violations] == ["metadata"]


def test_an_account_configuration_may_be_longer_than_metadata() -> None:
    """Certificate mode carries whole certificate chains."""
    config = '{"alipayRootCert": "' + "x" * 20_000 + '"}'
    field_rules.check(
        merchant_service_pb2.CreateChannelAccountRequest(
            merchant_code="M1", channel_code="alipay.page", config=config
        ),
        None,
    )
