"""Explains a merchant's signature to its developers: the checks of a signed request, one by one."""

from dataclasses import dataclass
from datetime import datetime

from core_service.application import merchant_cache, system_config
from core_service.application.merchant_cache import CredentialFacts, MerchantSnapshot
from core_service.domain import signature, signature_explainer
from core_service.domain.signature_explainer import Attempt, Difference
from core_service.storage import merchant_snapshots


@dataclass(frozen=True)
class Check:
    """One check, named by the refusal of a request that fails it; None: not made."""

    code: str
    holds: bool | None


@dataclass(frozen=True)
class Explanation:
    """What there is to say about one request."""

    string_to_sign: bytes
    checks: tuple[Check, ...]
    difference: Difference | None
    findings: tuple[str, ...]


def explain(
    merchant_code: str, attempt: Attempt, string_to_sign: bytes, *, now: datetime
) -> Explanation:
    """Raises MERCHANT_NOT_FOUND. Only this merchant's own keys count as known."""
    merchant = merchant_cache.by_code(merchant_code)
    sent = attempt.trimmed()
    credential = _live(merchant, sent.key_id, now)
    checks = _checks(merchant, sent, credential, now)
    is_wrong = Check("INVALID_SIGNATURE", holds=False) in checks
    return Explanation(
        string_to_sign=sent.string_to_sign,
        checks=tuple(checks),
        difference=signature_explainer.difference(sent.string_to_sign, string_to_sign)
        if string_to_sign
        else None,
        findings=_findings(merchant, sent, credential, now) if is_wrong else (),
    )


def _checks(
    merchant: MerchantSnapshot,
    sent: Attempt,
    credential: CredentialFacts | None,
    now: datetime,
) -> list[Check]:
    matches = None if credential is None or not sent.signature else _matches(sent, credential)
    has_code, is_own = signature_explainer.body_names(sent.body, merchant.facts.code)
    signed_at = signature.parse_timestamp(sent.timestamp)
    is_nonce = signature.is_nonce(sent.nonce)
    max_age = system_config.current().merchant_signature_max_age_seconds
    in_time = None if signed_at is None else abs(now.timestamp() - signed_at) <= max_age
    is_new = (
        not merchant_snapshots.nonce_exists(merchant.facts.id, sent.nonce.decode("ascii"))
        if is_nonce
        else None
    )
    return [
        Check("INVALID_REQUEST", has_code),
        Check("API_KEY_REQUIRED", bool(sent.key_id)),
        Check("SIGNATURE_REQUIRED", bool(sent.timestamp and sent.nonce and sent.signature)),
        Check("INVALID_API_KEY", credential is not None),
        Check("INVALID_SIGNATURE_TIMESTAMP", signed_at is not None),
        Check("SIGNATURE_EXPIRED", in_time),
        Check("INVALID_SIGNATURE_NONCE", is_nonce),
        Check("INVALID_SIGNATURE", matches),
        Check("MERCHANT_NOT_FOUND", is_own),
        Check("NONCE_REPLAYED", is_new),
    ]


def _live(merchant: MerchantSnapshot, key_id: bytes, now: datetime) -> CredentialFacts | None:
    if not signature.is_key_id(key_id):
        return None
    credential = merchant.credentials.get(key_id.decode("ascii"))
    return credential if credential is not None and credential.is_live(now) else None


def _matches(sent: Attempt, credential: CredentialFacts) -> bool:
    digest = signature.request_signature(credential.secret, sent.timestamp, sent.nonce, sent.body)
    return signature.matches_hex(digest, sent.signature)


def _findings(
    merchant: MerchantSnapshot, sent: Attempt, credential: CredentialFacts | None, now: datetime
) -> tuple[str, ...]:
    assert credential is not None
    others = {
        key_id: other.secret
        for key_id, other in merchant.credentials.items()
        if key_id != credential.key_id and other.is_live(now)
    }
    digest = signature.request_signature(credential.secret, sent.timestamp, sent.nonce, sent.body)
    found = signature_explainer.findings(sent, credential.secret, others)
    if signature_explainer.is_base64_of(digest, sent.signature):
        found.append("BASE64")
    return tuple(dict.fromkeys(found))
