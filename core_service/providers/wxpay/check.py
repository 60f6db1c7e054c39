"""Examining a WeChat Pay merchant: keys, certificates, and what the platform says to harmless questions."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from core_service.domain.account_check import Code, Finding, certificate_finding
from core_service.outbound_http import Answer, Deadline
from core_service.providers.base import ProviderAccount, ProviderUnknown
from core_service.providers.checks import clock_findings, private_key_finding, unknown_order_id
from core_service.providers.wire import parse_object
from core_service.providers.wxpay.account import WxpayKeys, parse
from core_service.providers.wxpay.api import WxpayApi
from core_service.providers.wxpay.platform_keys import (
    MessageRejected,
    TrustedKey,
    read_certificates,
)
from core_service.providers.wxpay.signing import check_message

_APP_ID = re.compile(r"wx[0-9a-f]{16}", re.ASCII)
_MERCHANT_ID = re.compile(r"[0-9]{8,10}", re.ASCII)
_CERTIFICATES = "/v3/certificates"
_NO_SUCH_ORDER = ("ORDERNOTEXIST", "RESOURCENOTEXISTS", "NOTFOUND")
_MERCHANT_CODES = ("MCHNOTEXISTS", "APPIDMCHIDNOTMATCH")


def examine(
    api: WxpayApi, account: ProviderAccount, *, now: datetime, timeout_seconds: float
) -> Iterator[Finding]:
    """See `Provider.check_account`."""
    keys = parse(account.config, check_private_key=True)
    yield private_key_finding(keys.private_key)
    if not _APP_ID.fullmatch(keys.app_id):
        yield Finding(Code.APP_ID_FORM, {"value": keys.app_id})
    if not _MERCHANT_ID.fullmatch(keys.mch_id):
        yield Finding(Code.MERCHANT_ID_FORM, {"value": keys.mch_id})
    yield Finding(Code.MODE_PUBLIC_KEY if keys.public_key_id else Code.MODE_CERTIFICATE)
    deadline = Deadline(timeout_seconds)
    query = f"/v3/pay/transactions/out-trade-no/{unknown_order_id()}?mchid={keys.mch_id}"
    try:
        certificates = api.exchange(keys, "GET", _CERTIFICATES, b"", now=now, deadline=deadline)
        answer = api.exchange(keys, "GET", query, b"", now=now, deadline=deadline)
    except ProviderUnknown as unknown:
        yield Finding(Code.PROVIDER_UNREACHABLE, {"message": str(unknown)})
        return
    yield from clock_findings(answer, now=now, deadline=deadline)
    if answer.status >= 500:
        yield Finding(Code.PROVIDER_UNREACHABLE, {"message": f"HTTP {answer.status}"})
        return
    yield _judged(answer)
    brought: Mapping[str, TrustedKey] = {}
    if certificates.status == 200:
        try:
            brought = read_certificates(keys.api_v3_key, certificates.body)
            yield Finding(Code.API_V3_KEY_WORKS)
        except MessageRejected as rejection:
            is_key = rejection.reason == "decrypt_failed"
            code = Code.API_V3_KEY_WRONG if is_key else Code.ANSWER_NOT_TRUSTED
            yield Finding(code, {} if is_key else {"reason": rejection.reason})
    else:
        yield Finding(Code.API_V3_KEY_UNPROVEN)
    yield from _certificate_findings(keys, brought, now)
    yield _trust(keys, (certificates, answer), brought, now)
    yield Finding(Code.APP_ID_UNPROVEN)


def _judged(answer: Answer) -> Finding:
    """What the platform says to a question about an order that does not exist."""
    try:
        fields = parse_object(answer.body)
    except ValueError:
        fields = {}
    said = str(fields.get("code") or "")
    facts = {"providerCode": said, "message": str(fields.get("message") or "")[:300]}
    code = said.replace("_", "")
    if code in _NO_SUCH_ORDER:
        return Finding(Code.PROVIDER_ACCEPTS)
    if answer.status == 401 or code == "SIGNERROR":
        return Finding(Code.SIGNATURE_REFUSED, facts)
    if code in _MERCHANT_CODES:
        return Finding(Code.MERCHANT_UNKNOWN, facts)
    if code == "NOAUTH":
        return Finding(Code.PRODUCT_NOT_OPEN, facts)
    return Finding(
        Code.PROVIDER_UNCLEAR, {**facts, "providerCode": said or f"HTTP {answer.status}"}
    )


def _certificate_findings(
    keys: WxpayKeys, brought: Mapping[str, TrustedKey], now: datetime
) -> Iterator[Finding]:
    """The one that counts longest: the others are on their way out, and new ones are fetched by themselves."""
    ends = [
        trusted.not_after
        for trusted in (*keys.platform.trusted().values(), *brought.values())
        if trusted.not_after is not None
    ]
    if ends:
        yield certificate_finding("platformCertificates", None, max(ends), now=now)


def _trust(
    keys: WxpayKeys, answers: tuple[Answer, ...], brought: Mapping[str, TrustedKey], now: datetime
) -> Finding:
    """Whether what the platform signed can be verified; it signs no errors, so there may be nothing to see."""
    signed = [answer for answer in answers if "wechatpay-signature" in answer.headers]
    for answer in signed:
        try:
            check_message(keys, answer.headers, answer.body, now=now, brought=brought)
        except MessageRejected as rejection:
            if rejection.reason != "signtest":
                return Finding(Code.ANSWER_NOT_TRUSTED, {"reason": rejection.reason})
        else:
            return Finding(Code.PROVIDER_TRUSTED)
    return Finding(Code.PROVIDER_KEY_UNPROVEN)
