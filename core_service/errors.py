"""The one error type of the core, its families, and every reason code of the HTTP contract.

Rules raise `CoreError` anywhere in the core; `rpc/interceptors.py` maps the family to a gRPC code and
`rest_edge/errors.py` maps it to an HTTP status, once for every route. The reason passes through untouched.
Callers read `message` only as a sentence for a person: it comes from the table below, never from an exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Family(StrEnum):
    """What kind of failure this is; decides the gRPC code and the HTTP status."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    UNPROCESSABLE = "UNPROCESSABLE"
    RATE_LIMITED = "RATE_LIMITED"
    PROVIDER_FAILURE = "PROVIDER_FAILURE"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True)
class FieldViolation:
    """One thing wrong with one field; `field` is the JSON path as the caller wrote it."""

    field: str
    reason: str


class CoreError(Exception):
    """A refusal with a stable reason.

    `details` is what the contract puts into `details`: JSON-compatible, never secret.
    `retry_after_seconds` becomes `Retry-After` (and `google.rpc.RetryInfo`).
    """

    def __init__(
        self,
        reason: str,
        message: str | None = None,
        *,
        details: Any = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        family, default_message = REASONS[reason]
        self.family = family
        self.reason = reason
        self.message = message or default_message
        self.details = details
        self.violations = violations
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{reason}: {self.message}")


def outcome_open() -> CoreError:
    """What was asked may have been done, or not: PROVIDER_TIMEOUT, as for a silent provider (V18)."""
    return CoreError(
        "PROVIDER_TIMEOUT", "The outcome is not known yet; send the same request again."
    )


def invalid_request(*violations: FieldViolation) -> CoreError:
    """INVALID_REQUEST that names each field."""
    return CoreError("INVALID_REQUEST", violations=violations)


REASONS: Mapping[str, tuple[Family, str]] = {
    # 400
    "INVALID_REQUEST": (
        Family.INVALID_ARGUMENT,
        "The request has fields that are missing or wrong; see details.",
    ),
    "INVALID_JSON": (Family.INVALID_ARGUMENT, "The body is not a JSON object that can be read."),
    "INVALID_AMOUNT": (
        Family.INVALID_ARGUMENT,
        "The amount must be more than 0, at most 100000000.00 and have at most two decimals.",
    ),
    "INVALID_IDEMPOTENCY_KEY": (
        Family.INVALID_ARGUMENT,
        "Idempotency-Key must be 1 to 255 visible ASCII characters.",
    ),
    "INVALID_NOTIFICATION": (
        Family.INVALID_ARGUMENT,
        "The provider notification did not pass verification.",
    ),
    # 401
    "API_KEY_REQUIRED": (Family.UNAUTHENTICATED, "The header x-novapay-key is required."),
    "INVALID_API_KEY": (Family.UNAUTHENTICATED, "The API key is unknown, disabled or expired."),
    "SIGNATURE_REQUIRED": (
        Family.UNAUTHENTICATED,
        "The headers x-novapay-timestamp, x-novapay-nonce and x-novapay-signature are required.",
    ),
    "INVALID_SIGNATURE_NONCE": (
        Family.UNAUTHENTICATED,
        "x-novapay-nonce must be 8 to 128 characters of A-Z a-z 0-9 . _ : -",
    ),
    "INVALID_SIGNATURE_TIMESTAMP": (
        Family.UNAUTHENTICATED,
        "x-novapay-timestamp must be Unix seconds, Unix milliseconds or an RFC 3339 time with a zone.",
    ),
    "SIGNATURE_EXPIRED": (
        Family.UNAUTHENTICATED,
        "The timestamp is too far from now; check the clock and sign again.",
    ),
    "INVALID_SIGNATURE": (
        Family.UNAUTHENTICATED,
        "The signature does not fit; sign '{timestamp}.{nonce}.{raw body}' with the API secret.",
    ),
    "NONCE_REPLAYED": (
        Family.UNAUTHENTICATED,
        "This nonce was used before; make a new one for every request.",
    ),
    "ADMIN_UNAUTHENTICATED": (Family.UNAUTHENTICATED, "Sign in first."),
    "STAFF_UNAUTHENTICATED": (Family.UNAUTHENTICATED, "Sign in first."),
    "UNAUTHENTICATED": (Family.UNAUTHENTICATED, "This call needs credentials."),
    # 403
    "MERCHANT_PENDING_REVIEW": (
        Family.PERMISSION_DENIED,
        "The merchant has not been approved yet.",
    ),
    "MERCHANT_REJECTED": (Family.PERMISSION_DENIED, "The merchant's application was rejected."),
    "MERCHANT_SUSPENDED": (Family.PERMISSION_DENIED, "The merchant is suspended."),
    "MERCHANT_PROFILE_INCOMPLETE": (
        Family.PERMISSION_DENIED,
        "The merchant's profile lacks fields that this channel needs; see details.",
    ),
    "IP_NOT_ALLOWED": (
        Family.PERMISSION_DENIED,
        "The client address is not in the merchant's allowlist.",
    ),
    "CSRF_REJECTED": (Family.PERMISSION_DENIED, "The request does not come from this site."),
    "PERMISSION_DENIED": (Family.PERMISSION_DENIED, "This caller may not do that."),
    "PASSWORD_CHANGE_REQUIRED": (
        Family.PERMISSION_DENIED,
        "Choose a password of your own first; until then nothing else is allowed.",
    ),
    # 404
    "MERCHANT_NOT_FOUND": (Family.NOT_FOUND, "There is no such merchant."),
    "UNSUPPORTED_CHANNEL": (
        Family.NOT_FOUND,
        "There is no such channel; GET /api/channels lists them.",
    ),
    "ORDER_NOT_FOUND": (Family.NOT_FOUND, "There is no such order."),
    "REFUND_NOT_FOUND": (Family.NOT_FOUND, "There is no such refund."),
    "CHANNEL_ACCOUNT_NOT_FOUND": (Family.NOT_FOUND, "There is no such channel account."),
    "NOT_FOUND": (Family.NOT_FOUND, "There is nothing here."),
    # 409
    "IDEMPOTENCY_CONFLICT": (
        Family.CONFLICT,
        "This Idempotency-Key was used with another request.",
    ),
    "IDEMPOTENCY_IN_PROGRESS": (
        Family.CONFLICT,
        "The first request with this Idempotency-Key is still running.",
    ),
    "ORDER_CHANNEL_CONFLICT": (
        Family.CONFLICT,
        "This externalOrderId exists with another channel.",
    ),
    "ORDER_AMOUNT_CONFLICT": (Family.CONFLICT, "This externalOrderId exists with another amount."),
    "ORDER_ALREADY_PAID": (
        Family.CONFLICT,
        "The order is paid and cannot be closed; refund it instead.",
    ),
    "ORDER_NOT_REFUNDABLE": (Family.CONFLICT, "Only a paid order can be refunded."),
    "REFUND_REFERENCE_CONFLICT": (
        Family.CONFLICT,
        "This externalRefundId exists for another order.",
    ),
    "REFUND_AMOUNT_CONFLICT": (
        Family.CONFLICT,
        "This externalRefundId exists with another amount.",
    ),
    "REFUND_REASON_CONFLICT": (
        Family.CONFLICT,
        "This externalRefundId exists with another reason.",
    ),
    "ANOMALY_RESOLVED": (Family.CONFLICT, "This anomaly has been put away already."),
    "MERCHANT_CODE_TAKEN": (Family.CONFLICT, "Another merchant has this code."),
    # 422
    "CHANNEL_NOT_CONFIGURED": (
        Family.UNPROCESSABLE,
        "The merchant has no account for this channel.",
    ),
    "CHANNEL_DISABLED": (Family.UNPROCESSABLE, "This channel is switched off for the merchant."),
    "ACCOUNT_DISABLED": (Family.UNPROCESSABLE, "The channel account is disabled."),
    "AMOUNT_TOO_SMALL": (Family.UNPROCESSABLE, "The amount is below the channel's limit."),
    "AMOUNT_TOO_LARGE": (Family.UNPROCESSABLE, "The amount is above the channel's limit."),
    "REFUND_AMOUNT_EXCEEDED": (
        Family.UNPROCESSABLE,
        "The refund exceeds what can still be refunded.",
    ),
    "CHANNEL_CLOSE_UNSUPPORTED": (Family.UNPROCESSABLE, "This channel cannot close orders."),
    "CHANNEL_REFUND_UNSUPPORTED": (Family.UNPROCESSABLE, "This channel cannot refund."),
    "CALLBACK_URL_FORBIDDEN": (Family.UNPROCESSABLE, "The callback address is not a public one."),
    "ACCOUNT_NOT_OF_MERCHANT": (
        Family.UNPROCESSABLE,
        "The channel account belongs to another merchant.",
    ),
    "ACCOUNT_CHANNEL_MISMATCH": (
        Family.UNPROCESSABLE,
        "The channel account is for another channel.",
    ),
    # 429
    "RATE_LIMITED": (Family.RATE_LIMITED, "Too many requests; try again later."),
    # 500
    "PROVIDER_ERROR": (Family.PROVIDER_FAILURE, "The provider refused; see details."),
    "PROVIDER_TIMEOUT": (
        Family.PROVIDER_FAILURE,
        "The provider did not answer in time; the outcome is not known yet. Send the same request again.",
    ),
    "PROVIDER_UNAVAILABLE": (
        Family.PROVIDER_FAILURE,
        "The provider cannot be reached right now; send the same request again.",
    ),
    "INTERNAL": (Family.INTERNAL, "Something went wrong here; quote the request id."),
    # 503
    "OVERLOADED": (Family.UNAVAILABLE, "Too much work at the moment; try again shortly."),
    "DATABASE_UNAVAILABLE": (
        Family.UNAVAILABLE,
        "The database cannot be reached; try again shortly.",
    ),
}
