"""What the core noted beside an anomaly is shown in the viewer's language."""

from typing import cast

import pytest

from admin import texts
from admin.layout.anomalies import anomaly_detail
from admin.visit import Visit


class _Reader:
    """As much of a visit as words need."""

    def __init__(self, language: str) -> None:
        self.language = language

    def t(self, key: str, /, **values: object) -> str:
        return texts.text(self.language, key, **values)


def reader(language: str = "zh-CN") -> Visit:
    return cast("Visit", _Reader(language))


@pytest.mark.parametrize(
    ("kind", "noted", "chinese"),
    [
        ("LATE_PAYMENT", "was CANCELLED", "到账前的状态：已关闭"),
        ("AMOUNT_MISMATCH", "881001 CNY", "渠道报告的金额：¥8,810.01"),
        ("AMOUNT_MISMATCH", "1 USD", "渠道报告的金额：1 USD"),
        ("AMOUNT_MISMATCH", "None CNY", "渠道报告的金额：None CNY"),
        ("DUPLICATE_PAYMENT", "4200", "第二笔的渠道支付单号：4200"),
        ("REFUND_STUCK", "ABNORMAL", "渠道状态：ABNORMAL"),
        ("REFUND_STUCK", "the provider paid out a refund that it had refused",
         "渠道付出了一笔它曾拒绝的退款"),
        ("REFUND_STUCK", "", ""),
    ],
)  # fmt: skip
def test_anomaly_detail(kind: str, noted: str, chinese: str) -> None:
    assert chinese == anomaly_detail(reader(), kind, noted)
