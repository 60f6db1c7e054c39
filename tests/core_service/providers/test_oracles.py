"""Other people's libraries sign, ours reads; the way back is in the tests of each adapter."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wechatpayv3 import WeChatPay, WeChatPayType

from core_service.providers.alipay.account import keys_of as alipay_keys
from core_service.providers.alipay.gateway import open_answer
from core_service.providers.alipay.signing import verified_form
from core_service.providers.base import NotificationRejected, NotificationRequest
from core_service.providers.registry import for_channel
from tests.core_service.providers.counterparts import (
    NOW,
    alipay_answer,
    alipay_sdk,
    wechat_notification,
)
from tests.core_service.providers.vectors import KEYS, alipay_account, wechat_account

SDK_ROUNDS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
NAMES = st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"), min_size=1, max_size=10)


@SDK_ROUNDS
@given(st.dictionaries(NAMES, TEXT, max_size=6))
def test_answers_of_the_alipay_sdk_are_read(fields: dict[str, str]) -> None:
    method = "alipay.trade.query"
    node = open_answer(
        alipay_keys(alipay_account("A1")), method, alipay_answer(method, fields).body
    )
    assert node.fields == fields


@SDK_ROUNDS
@given(st.dictionaries(NAMES, TEXT, min_size=1, max_size=6))
def test_the_alipay_sdk_and_we_cut_the_same_text_out_of_an_answer(fields: dict[str, str]) -> None:
    """Without braces in strings: there the SDK's own cutting goes wrong."""
    fields = {k: v.replace("{", "").replace("}", "") for k, v in fields.items()}
    method = "alipay.trade.query"
    body = alipay_answer(method, fields).body
    node = open_answer(alipay_keys(alipay_account("A1")), method, body)
    cut = alipay_sdk()._get_string_to_be_signed(body.decode(), "alipay_trade_query_response")
    assert node.text == cut


@SDK_ROUNDS
@given(st.dictionaries(NAMES, TEXT.filter(bool), min_size=1, max_size=6))
def test_forms_signed_by_the_alipay_sdk_are_read(fields: dict[str, str]) -> None:
    for taken in ("sign", "sign_type", "charset"):
        fields.pop(taken, None)
    sdk = alipay_sdk(as_alipay=True)
    text = "&".join(f"{name}={value}" for name, value in sdk._ordered_data(fields))
    raw = urlencode(fields | {"sign": sdk._sign(text), "sign_type": "RSA2"}).encode()
    assert verified_form(alipay_keys(alipay_account("A1")), raw) == fields


@pytest.fixture(scope="module")
def wechat_sdk() -> WeChatPay:
    keys = KEYS["wechat"]["W2"]
    return WeChatPay(
        wechatpay_type=WeChatPayType.NATIVE,
        mchid=keys["mchid"],
        private_key="".join(keys["merchant_private_key_pkcs8"].splitlines()[1:-1]),
        cert_serial_no=keys["merchant_serial_no"],
        apiv3_key=keys["apiv3_key"],
        appid=keys["appid"],
        notify_url="https://pay.example.com/n",
        public_key="".join(keys["wechatpay_public_key"].splitlines()[1:-1]),
        public_key_id=keys["wechatpay_public_key_id"],
    )


def refund_notice(account_ref: str = "W2") -> NotificationRequest:
    inner: dict[str, Any] = {
        "mchid": KEYS["wechat"][account_ref]["mchid"],
        "out_trade_no": "po_1",
        "out_refund_no": "rf_1",
        "refund_status": "SUCCESS",
        "amount": {"total": 100, "refund": 1},
    }
    return wechat_notification("REFUND.SUCCESS", inner, ref=account_ref, serial="public key")


def test_the_wechat_sdk_and_we_read_the_same_notification(wechat_sdk: WeChatPay) -> None:
    request = refund_notice()
    native = for_channel("wxpay.native")
    assert native is not None
    ours = native.parse_notification(wechat_account("W2"), request, now=NOW)
    theirs = json.loads(wechat_sdk.decrypt_callback(dict(request.headers), request.body.decode()))
    assert ours.refund is not None
    assert (ours.refund.refund_id, ours.refund.amount_fen) == (
        theirs["out_refund_no"],
        theirs["amount"]["refund"],
    )


@pytest.mark.parametrize("position", [0, 10, 40, -2])
def test_the_wechat_sdk_and_we_refuse_the_same_change(wechat_sdk: WeChatPay, position: int) -> None:
    request = refund_notice()
    changed = bytearray(request.body)
    changed[position] ^= 1
    request = replace(request, body=bytes(changed))
    assert not wechat_sdk.decrypt_callback(dict(request.headers), request.body.decode("latin-1"))
    native = for_channel("wxpay.native")
    assert native is not None
    with pytest.raises(NotificationRejected, match="bad_signature"):
        native.parse_notification(wechat_account("W2"), request, now=NOW)
