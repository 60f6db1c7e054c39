"""Examining an Alipay account: keys, certificates, and what the gateway says to a harmless question."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from core_service.domain.account_check import Code, Finding, certificate_finding
from core_service.outbound_http import Deadline, ProviderClient
from core_service.providers.alipay.account import AlipayKeys, parse
from core_service.providers.alipay.certificates import is_authority
from core_service.providers.alipay.gateway import ACCEPTED, AnswerRejected, believed, exchange
from core_service.providers.base import ProviderAccount, ProviderUnknown
from core_service.providers.checks import clock_findings, private_key_finding, unknown_order_id
from core_service.providers.keys import certificate_key, load_certificates
from core_service.providers.wire import parse_object

_APP_ID = re.compile(r"[0-9]{16}", re.ASCII)
_SELLER_ID = re.compile(r"2088[0-9]{12}", re.ASCII)
_QUERY = "alipay.trade.query"
_NOT_EXIST = "TRADE_NOT_EXIST"
_SIGNATURE = ("isv.invalid-signature", "isv.missing-signature", "isv.invalid-signature-type")
_NOT_OPEN = ("isv.insufficient-isv-permissions", "isv.insufficient-user-permissions", "ACCESS_FORBIDDEN")  # fmt: skip


def examine(
    client: ProviderClient, account: ProviderAccount, *, now: datetime, timeout_seconds: float
) -> Iterator[Finding]:
    """See `Provider.check_account`."""
    keys = parse(account.config, check_private_key=True)
    yield from _local_findings(keys, account.config, now)
    deadline = Deadline(timeout_seconds)
    business = {"out_trade_no": unknown_order_id()}
    try:
        answer = exchange(client, keys, _QUERY, business, now=now, deadline=deadline)
    except ProviderUnknown as unknown:
        yield Finding(Code.PROVIDER_UNREACHABLE, {"message": str(unknown)})
        return
    yield from clock_findings(answer, now=now, deadline=deadline)
    if answer.status >= 500:
        yield Finding(Code.PROVIDER_UNREACHABLE, {"message": f"HTTP {answer.status}"})
        return
    try:
        node = believed(client, keys, _QUERY, answer.body, now=now, deadline=deadline)
    except (AnswerRejected, ProviderUnknown) as rejection:
        # Not to be believed as an answer about money; as a hint for people it will do.
        said = _unverified_node(answer.body)
        refusal = _refusal(keys, said)
        yield refusal or Finding(Code.ANSWER_NOT_TRUSTED, {"reason": str(rejection)})
        return
    yield Finding(Code.PROVIDER_TRUSTED)
    if node.code == ACCEPTED or node.sub_code == _NOT_EXIST:
        yield Finding(Code.PROVIDER_ACCEPTS)
    else:
        facts = {"providerCode": node.sub_code or node.code, "message": _text(node.fields, "msg")}
        yield _refusal(keys, node.fields) or Finding(Code.PROVIDER_UNCLEAR, facts)


def _local_findings(
    keys: AlipayKeys, config: Mapping[str, object], now: datetime
) -> Iterator[Finding]:
    if not _APP_ID.fullmatch(keys.app_id):
        yield Finding(Code.APP_ID_FORM, {"value": keys.app_id})
    if keys.seller_id and not _SELLER_ID.fullmatch(keys.seller_id):
        yield Finding(Code.MERCHANT_ID_FORM, {"value": keys.seller_id})
    if keys.certificates is None:
        yield private_key_finding(keys.private_key)
        yield Finding(Code.MODE_PUBLIC_KEY)
        return
    app, alipay = (load_certificates(str(config[name])) for name in ("appCert", "alipayCert"))
    yield private_key_finding(keys.private_key, certificate_key(app[0]))
    yield Finding(Code.MODE_CERTIFICATE)
    leaves = [one for one in alipay if not is_authority(one)]
    newest = max(leaves, key=lambda one: one.not_valid_after_utc)
    for name, one in (("appCert", app[0]), ("alipayCert", newest)):
        yield certificate_finding(name, one.not_valid_before_utc, one.not_valid_after_utc, now=now)


def _unverified_node(body: bytes) -> Mapping[str, object]:
    try:
        members = parse_object(body)
    except ValueError:
        return {}
    nodes = [value for name, value in members.items() if name.endswith("_response")]
    return nodes[0] if len(nodes) == 1 and isinstance(nodes[0], dict) else {}


def _refusal(keys: AlipayKeys, node: Mapping[str, object]) -> Finding | None:
    """What the gateway finds wrong with us; None: nothing that has to do with the account."""
    code = _text(node, "sub_code").removeprefix("ACQ.")
    facts = {"providerCode": code, "message": _text(node, "sub_msg") or _text(node, "msg")}
    if code == "isv.invalid-app-id":
        return Finding(Code.APP_ID_UNKNOWN, {"value": keys.app_id})
    if code in _SIGNATURE:
        return Finding(Code.SIGNATURE_REFUSED, facts)
    if code in _NOT_OPEN:
        return Finding(Code.PRODUCT_NOT_OPEN, facts)
    if code.startswith("isv.") and "cert" in code:
        return Finding(Code.CERTIFICATE_REFUSED, facts)
    return None


def _text(node: Mapping[str, object], name: str) -> str:
    value = node.get(name)
    return value[:300] if isinstance(value, str) else ""
