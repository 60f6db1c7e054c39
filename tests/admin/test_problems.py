"""What the core noted about a failure is shown in the viewer's language."""

from typing import cast

import pytest

from admin import texts
from admin.layout.problems import anomaly_detail, problem
from admin.visit import Visit
from core_service.outbound_http import OutboundKind


class _Reader:
    """As much of a visit as words need."""

    def __init__(self, language: str) -> None:
        self.language = language

    def t(self, key: str, /, **values: object) -> str:
        return texts.text(self.language, key, **values)

    def reason(self, english: str) -> str:
        return texts.reason(self.language, english)


def reader(language: str = "zh-CN") -> Visit:
    return cast("Visit", _Reader(language))


def test_every_kind_of_failure_of_the_core_has_words() -> None:
    assert [] == [kind for kind in OutboundKind if f"problem.{kind}" not in texts.all_texts()]


@pytest.mark.parametrize(
    ("noted", "chinese", "english"),
    [
        ("timeout: TimeoutError", "没有在时限内回答 (TimeoutError)", "no answer in time (TimeoutError)"),
        ("the merchant answered 500", "商户响应 HTTP 500", "the merchant answered HTTP 500"),
        ("callbacks are switched off, or there is no address", "商户关闭了回调，或没有回调地址",
         "callbacks are switched off, or there is no address"),
        ("has no host", "没有主机名", "has no host"),
        ("bad_signature", "签名不对", "bad_signature"),
        ("words of tomorrow: x", "words of tomorrow: x", "words of tomorrow: x"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_problem(noted: str, chinese: str, english: str) -> None:
    assert (chinese, english) == (problem(reader(), noted), problem(reader("en"), noted))


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
