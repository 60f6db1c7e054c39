"""Calls to the Alipay gateway, and opening what it answers.

The signature of an answer covers the raw characters of its node, so the node is cut out of the text
where a JSON scanner found it and never written again.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from core_service.outbound_http import Answer, Deadline, OutboundError, ProviderClient
from core_service.providers.alipay.account import AlipayKeys
from core_service.providers.alipay.signing import signed_parameters
from core_service.providers.base import AskedTooOften, ProviderUnknown
from core_service.providers.keys import verify
from core_service.providers.wire import (
    Member,
    beijing_text,
    compact_json,
    form_encoded,
    scan_object,
)

_TOO_OFTEN_STATUS = 429
_UNAVAILABLE_STATUSES = (502, 503, 504)
_DOWNLOAD = "alipay.open.app.alipaycert.download"
ACCEPTED = "10000"


class AnswerRejected(Exception):
    """An answer that must not be believed; `reason` is a stable word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownCertificate(AnswerRejected):
    """An answer signed with a certificate that we do not have; `serial` is its sn."""

    def __init__(self, serial: str) -> None:
        super().__init__("unknown_alipay_cert_sn")
        self.serial = serial


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
    """One call and its verified answer, whatever that says. Raises ProviderUnknown.

    When Alipay has renewed its certificate, the new one is fetched on the way.
    """
    deadline = Deadline(timeout_seconds)
    body = _body(exchange(client, keys, method, business, now=now, deadline=deadline))
    try:
        return believed(client, keys, method, body, now=now, deadline=deadline)
    except AnswerRejected as rejection:
        raise ProviderUnknown("PROVIDER_TIMEOUT", rejection.reason) from rejection


def believed(
    client: ProviderClient,
    keys: AlipayKeys,
    method: str,
    body: bytes,
    *,
    now: datetime,
    deadline: Deadline,
) -> SignedNode:
    """The verified answer; an unknown certificate is fetched first. Raises AnswerRejected, ProviderUnknown."""
    try:
        return open_answer(keys, method, body)
    except UnknownCertificate as unknown:
        _fetch_certificate(client, keys, unknown.serial, now=now, deadline=deadline)
        return open_answer(keys, method, body)


def _fetch_certificate(
    client: ProviderClient, keys: AlipayKeys, serial: str, *, now: datetime, deadline: Deadline
) -> None:
    """Fetches and believes the certificate with this sn. Raises AnswerRejected, ProviderUnknown.

    The answer may be signed with the very certificate that it brings: what makes that one trustworthy is the chain.
    """
    certificates = keys.certificates
    if certificates is None or not certificates.may_fetch(serial, now):
        raise UnknownCertificate(serial)
    business = {"alipay_cert_sn": serial}
    body = _body(exchange(client, keys, _DOWNLOAD, business, now=now, deadline=deadline))
    text, by_name, node = _read(_DOWNLOAD, body)
    try:
        content = base64.b64decode(str(node.value.get("alipay_cert_content")), validate=True)
        key = certificates.checked(content.decode("utf-8"), serial, now)
    except ValueError as problem:
        raise UnknownCertificate(serial) from problem
    _verified(text, by_name, node, (*keys.alipay_keys, key))
    certificates.add(serial, key)


def exchange(
    client: ProviderClient,
    keys: AlipayKeys,
    method: str,
    business: Mapping[str, Any],
    *,
    now: datetime,
    deadline: Deadline,
) -> Answer:
    """One signed request and whatever comes back. Raises ProviderUnknown."""
    parameters = common_parameters(keys, method, now)
    parameters["biz_content"] = compact_json(business)
    sent = signed_parameters(keys, parameters)
    body = form_encoded({"biz_content": sent.pop("biz_content")}).encode("ascii")
    try:
        return client.request(
            "POST",
            f"{keys.gateway_url}?{form_encoded(sent)}",
            headers={"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"},
            body=body,
            timeout_seconds=deadline.left(),
        )
    except TimeoutError as problem:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "no time left for the call") from problem
    except OutboundError as problem:
        reason = "PROVIDER_TIMEOUT" if problem.request_sent else "PROVIDER_UNAVAILABLE"
        raise ProviderUnknown(reason, str(problem)) from problem


def _body(answer: Answer) -> bytes:
    if answer.status == _TOO_OFTEN_STATUS:
        raise AskedTooOften(f"HTTP {answer.status}")
    if answer.status in _UNAVAILABLE_STATUSES:
        raise ProviderUnknown("PROVIDER_UNAVAILABLE", f"HTTP {answer.status}")
    return answer.body


def open_answer(keys: AlipayKeys, method: str, body: bytes) -> SignedNode:
    """Finds, cuts and verifies the node of `method`. Raises AnswerRejected.

    An unsigned answer is never trusted, an error least of all: anybody on the way could have
    written it.
    """
    text, by_name, node = _read(method, body)
    candidates = keys.alipay_keys
    if keys.certificates is not None and "alipay_cert_sn" in by_name:
        serial = _text(by_name["alipay_cert_sn"])
        certified = keys.certificates.key(serial)
        if certified is None:
            raise UnknownCertificate(serial)
        candidates = (certified,)
    return _verified(text, by_name, node, candidates)


def _read(method: str, body: bytes) -> tuple[str, Mapping[str, Member], Member]:
    """The text of an answer, its members by name, and the node of `method`. Raises AnswerRejected."""
    try:
        text = body.decode("utf-8")
        members = scan_object(text)
    except ValueError as problem:
        # Repeated names inside the node end here too: two readers could see two different answers.
        raise AnswerRejected("malformed_body") from problem
    by_name = {member.name: member for member in members}
    if len(by_name) != len(members):
        raise AnswerRejected("ambiguous_response")
    return text, by_name, _only_node(by_name, method.replace(".", "_") + "_response")


def _verified(
    text: str, by_name: Mapping[str, Member], node: Member, candidates: Sequence[RSAPublicKey]
) -> SignedNode:
    """The node if one of the keys has signed it. Raises AnswerRejected."""
    signature = _text(by_name.get("sign"))
    if not signature:
        raise AnswerRejected("unsigned_response")
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
