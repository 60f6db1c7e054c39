"""Signed calls to WeChat Pay, verified answers, and keeping the platform certificates fresh."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from core_service import turns
from core_service.outbound_http import Answer, Deadline, OutboundError, ProviderClient
from core_service.providers.base import AskedTooOften, ProviderUnknown
from core_service.providers.wire import compact_json, parse_object
from core_service.providers.wxpay.account import WxpayKeys
from core_service.providers.wxpay.platform_keys import (
    PUBLIC_KEY_PREFIX,
    MessageRejected,
    read_certificates,
)
from core_service.providers.wxpay.signing import authorization, check_message

_CERTIFICATES_PATH = "/v3/certificates"
_REFRESH_SECONDS = 3.0
_TOO_OFTEN_STATUS = 429
_UNAVAILABLE_STATUSES = (502, 503, 504)
_USER_AGENT = "NovaPay/1"


@dataclass(frozen=True)
class Reply:
    """A verified success, or an error that counts as an answer.

    WeChat Pay does not sign errors. A 4xx with one of its business codes still counts as its word,
    because it came over TLS from the host the account names; a stranger on the way cannot write it.
    Whatever does not look like that is no reply.
    """

    status: int
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether it is a verified 2xx."""
        return self.status < 300

    @property
    def code(self) -> str:
        """The error code without its underscores: old and new spellings both occur."""
        return str(self.fields.get("code") or "").replace("_", "")

    @property
    def message(self) -> str:
        """What the provider says about an error, for people."""
        return str(self.fields.get("message") or "")

    def text_of(self, name: str) -> str | None:
        """A text field; None when it is missing, empty or something else."""
        value = self.fields.get(name)
        return value if isinstance(value, str) and value else None

    def amount_of(self, name: str) -> int | None:
        """A number of fen inside `amount`."""
        return amount_of(self.fields, name)


def amount_of(fields: Mapping[str, Any], name: str) -> int | None:
    """A number of fen inside the object `amount`; None when it is missing or no integer."""
    amount = fields.get("amount")
    value = amount.get(name) if isinstance(amount, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class WxpayApi:
    """One per process; knows no merchant."""

    def __init__(self, client: ProviderClient) -> None:
        self._client = client

    def call(
        self,
        keys: WxpayKeys,
        method: str,
        path: str,
        business: Mapping[str, Any] | None = None,
        *,
        now: datetime,
        timeout_seconds: float,
    ) -> Reply:
        """One call. Raises ProviderUnknown unless there is an answer that can be relied on."""
        deadline = Deadline(timeout_seconds)
        body = compact_json(business).encode("utf-8") if business is not None else b""
        answer = self.exchange(keys, method, path, body, now=now, deadline=deadline)
        # Errors usually come unsigned; one that claims a signature must have a good one.
        if answer.status < 300 or "wechatpay-signature" in answer.headers:
            answer = self._believed(keys, method, path, body, answer, now=now, deadline=deadline)
        reply = _read_reply(answer)
        if keys.platform.is_stale(now):
            self.refresh_platform_keys(keys, now=now, deadline=deadline, waits=False)
        return reply

    def verify(
        self,
        keys: WxpayKeys,
        headers: Mapping[str, str],
        body: bytes,
        *,
        now: datetime,
        deadline: Deadline | None = None,
    ) -> None:
        """Verifies a message. Raises MessageRejected.

        An unknown certificate serial may be a new certificate, so the list is fetched (at most once
        a minute) before refusing.
        """
        try:
            check_message(keys, headers, body, now=now)
        except MessageRejected as rejection:
            serial = headers.get("wechatpay-serial", "")
            if rejection.reason != "unknown_serial" or serial.startswith(PUBLIC_KEY_PREFIX):
                raise
            if not self.refresh_platform_keys(keys, now=now, deadline=deadline):
                raise
            check_message(keys, headers, body, now=now)

    def refresh_platform_keys(
        self,
        keys: WxpayKeys,
        *,
        now: datetime,
        deadline: Deadline | None = None,
        waits: bool = True,
    ) -> bool:
        """Fetches the platform certificates; False when that failed, which changes nothing.

        It takes no longer than the call that needs them has left, if `deadline` says. A caller that finds another one
        refreshing `waits` for it and shares the result, or goes on with what there is.
        """
        before = keys.platform.serials()
        try:
            seconds = (
                _REFRESH_SECONDS if deadline is None else min(_REFRESH_SECONDS, deadline.left())
            )
        except TimeoutError:
            return False
        own = Deadline(seconds)
        with turns.elsewhere():
            has_it = keys.platform.refreshing.acquire(timeout=seconds if waits else 0)
        if not has_it:
            return False
        try:
            if not keys.platform.may_refresh(now):
                return keys.platform.serials() != before
            keys.platform.note_attempt(now)
            answer = self.exchange(keys, "GET", _CERTIFICATES_PATH, b"", now=now, deadline=own)
            accept_certificates(keys, answer, now=now)
        except (ProviderUnknown, MessageRejected):
            return False
        finally:
            keys.platform.refreshing.release()
        return True

    def _believed(
        self,
        keys: WxpayKeys,
        method: str,
        path: str,
        body: bytes,
        answer: Answer,
        *,
        now: datetime,
        deadline: Deadline,
    ) -> Answer:
        """The verified answer.

        A signature probe is answered by repeating the call, once; the repeat carries the same
        numbers and cannot act twice.
        """
        try:
            try:
                self.verify(keys, answer.headers, answer.body, now=now, deadline=deadline)
            except MessageRejected as rejection:
                if rejection.reason != "signtest":
                    raise
                answer = self.exchange(keys, method, path, body, now=now, deadline=deadline)
                if answer.status >= 300:
                    raise
                self.verify(keys, answer.headers, answer.body, now=now, deadline=deadline)
        except MessageRejected as rejection:
            raise ProviderUnknown("PROVIDER_TIMEOUT", rejection.reason) from rejection
        return answer

    def exchange(
        self,
        keys: WxpayKeys,
        method: str,
        path: str,
        body: bytes,
        *,
        now: datetime,
        deadline: Deadline,
    ) -> Answer:
        """One signed request and whatever comes back. Raises ProviderUnknown."""
        url = keys.base_url + path
        wire_path = urlsplit(keys.base_url).path + path
        headers = {
            "Accept": "application/json",
            "User-Agent": _USER_AGENT,
            "Authorization": authorization(
                keys,
                method,
                wire_path,
                body,
                timestamp=str(int(now.timestamp())),
                nonce=secrets.token_hex(16),
            ),
        }
        if body:
            headers["Content-Type"] = "application/json"
        if keys.public_key_id:
            headers["Wechatpay-Serial"] = keys.public_key_id
        try:
            return self._client.request(
                method, url, headers=headers, body=body, timeout_seconds=deadline.left()
            )
        except TimeoutError as problem:
            raise ProviderUnknown("PROVIDER_TIMEOUT", "no time left for the call") from problem
        except OutboundError as problem:
            reason = "PROVIDER_TIMEOUT" if problem.request_sent else "PROVIDER_UNAVAILABLE"
            raise ProviderUnknown(reason, str(problem)) from problem


def accept_certificates(keys: WxpayKeys, answer: Answer, *, now: datetime) -> None:
    """Takes over the certificates of a genuine answer of `GET /v3/certificates`.

    Old ones stay as long as they are valid. Raises MessageRejected and changes nothing otherwise.
    """
    if answer.status == 404:
        # How a merchant with a public key is told that there are no certificates: nothing to ask
        # for soon.
        keys.platform.add({}, now)
    if not 200 <= answer.status < 300:
        raise MessageRejected("unsigned_response")
    if keys.platform.find(answer.headers.get("wechatpay-serial", ""), now) is not None:
        check_message(keys, answer.headers, answer.body, now=now)
        brought = read_certificates(keys.api_v3_key, answer.body)
    else:
        brought = read_certificates(keys.api_v3_key, answer.body)
        check_message(keys, answer.headers, answer.body, now=now, brought=brought)
    keys.platform.add(brought, now)


def _read_reply(answer: Answer) -> Reply:
    """Raises ProviderUnknown for what says nothing about the request."""
    if answer.status == _TOO_OFTEN_STATUS:
        raise AskedTooOften(f"HTTP {answer.status}")
    if answer.status in _UNAVAILABLE_STATUSES:
        raise ProviderUnknown("PROVIDER_UNAVAILABLE", f"HTTP {answer.status}")
    if answer.status == 202:
        raise ProviderUnknown("PROVIDER_TIMEOUT", "accepted, not done")
    if answer.status == 204:
        return Reply(204)
    if not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        raise ProviderUnknown("PROVIDER_TIMEOUT", f"HTTP {answer.status}")
    try:
        reply = Reply(answer.status, parse_object(answer.body))
    except ValueError as problem:
        raise ProviderUnknown("PROVIDER_TIMEOUT", f"HTTP {answer.status} malformed") from problem
    if not reply.succeeded and not reply.code:
        raise ProviderUnknown("PROVIDER_TIMEOUT", f"HTTP {answer.status} without a code")
    return reply
