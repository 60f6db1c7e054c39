"""Calls to the Alipay gateway, and opening what it answers.

The signature of an answer covers the raw characters of its node, so the node is cut out of the text
where a JSON scanner found it and never written again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core_service.outbound_http import OutboundError, ProviderClient
from core_service.providers.alipay.account import AlipayKeys
from core_service.providers.alipay.signing import signed_parameters
from core_service.providers.base import ProviderUnknown
from core_service.providers.keys import verify
from core_service.providers.wire import (
    Member,
    beijing_text,
    compact_json,
    form_encoded,
    scan_object,
)

_UNAVAILABLE_STATUSES = (429, 502, 503, 504)
ACCEPTED = "10000"


class AnswerRejected(Exception):
    """An answer that must not be believed; `reason` is a stable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SignedNode:
    """The verified part of an answer."""

    text: str
    """What the signature covers."""
    fields: Mapping[str, Any]

    @property
    def code(self) -> str:
        """The gateway code, 10000 for an accepted call."""
        return str(self.fields.get("code", ""))

    @property
    def sub_code(self) -> str:
        """The business code without its `ACQ.`, which Alipay itself leaves out now and then."""
        return str(self.fields.get("sub_code") or "").removeprefix("ACQ.")

    def text_of(self, name: str) -> str | None:
        """A text field; None when it is missing, empty or something else."""
        value = self.fields.get(name)
        return value if isinstance(value, str) and value else None


def common_parameters(keys: AlipayKeys, method: str, now: datetime) -> dict[str, str]:
    """What every request says beside its business."""
    return {
        "app_id": keys.app_id,
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": beijing_text(now),
        "version": "1.0",
        **keys.certificate_parameters,
    }


def call(
    client: ProviderClient,
    keys: AlipayKeys,
    method: str,
    business: Mapping[str, Any],
    *,
    now: datetime,
    timeout_seconds: float,
) -> SignedNode:
    """One call and its verified answer, whatever that says. Raises ProviderUnknown."""
    parameters = common_parameters(keys, method, now)
    parameters["biz_content"] = compact_json(business)
    sent = signed_parameters(keys, parameters)
    body = form_encoded({"biz_content": sent.pop("biz_content")}).encode("ascii")
    try:
        answer = client.request(
            "POST",
            f"{keys.gateway_url}?{form_encoded(sent)}",
            headers={"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"},
            body=body,
            timeout_seconds=timeout_seconds,
        )
    except OutboundError as problem:
        reason = "PROVIDER_TIMEOUT" if problem.request_sent else "PROVIDER_UNAVAILABLE"
        raise ProviderUnknown(reason, str(problem)) from problem
    if answer.status in _UNAVAILABLE_STATUSES:
        raise ProviderUnknown("PROVIDER_UNAVAILABLE", f"HTTP {answer.status}")
    try:
        return open_answer(keys, method, answer.body)
    except AnswerRejected as rejection:
        raise ProviderUnknown("PROVIDER_TIMEOUT", rejection.reason) from rejection


def open_answer(keys: AlipayKeys, method: str, body: bytes) -> SignedNode:
    """Finds, cuts and verifies the node of `method`. Raises AnswerRejected.

    An unsigned answer is never trusted, an error least of all: anybody on the way could have
    written it.
    """
    try:
        text = body.decode("utf-8")
        members = scan_object(text)
    except ValueError as problem:
        # Repeated names inside the node end here too: two readers could see two different answers.
        raise AnswerRejected("malformed_body") from problem
    by_name = {member.name: member for member in members}
    if len(by_name) != len(members):
        raise AnswerRejected("ambiguous_response")
    node = _only_node(by_name, method.replace(".", "_") + "_response")
    signature = _text(by_name.get("sign"))
    if not signature:
        raise AnswerRejected("unsigned_response")
    candidates = keys.alipay_keys
    if keys.alipay_certificates and "alipay_cert_sn" in by_name:
        certified = keys.alipay_certificates.get(_text(by_name["alipay_cert_sn"]))
        if certified is None:
            raise AnswerRejected("unknown_alipay_cert_sn")
        candidates = (certified,)
    raw = text[node.start : node.end]
    # Some answers are signed over "/" and sent with "\/"; the Java SDK allows for exactly this,
    # once.
    for signed in dict.fromkeys((raw, raw.replace("\\/", "/"))):
        if any(verify(key, signature, signed.encode("utf-8")) for key in candidates):
            return SignedNode(signed, node.value)
    raise AnswerRejected("bad_signature")


def _only_node(members: Mapping[str, Member], expected: str) -> Member:
    """The one node of the answer. Raises AnswerRejected, also for that of another method."""
    nodes = [name for name in members if name.endswith("_response")]
    if len(nodes) > 1:
        raise AnswerRejected("ambiguous_response")
    if not nodes or nodes[0] not in (expected, "error_response"):
        raise AnswerRejected("wrong_response_node")
    node = members[nodes[0]]
    if not isinstance(node.value, dict):
        raise AnswerRejected("malformed_body")
    return node


def _text(member: Member | None) -> str:
    return member.value if member is not None and isinstance(member.value, str) else ""
