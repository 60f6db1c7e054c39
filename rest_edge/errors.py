"""Every error body of the HTTP surface: family → status once, `CoreError` → `{"error", "code", "details"}`.

What Falcon refuses by itself (unknown path, wrong method) takes the same shape. Only codes of the contract are used:
where it names none (405, 414, 431, 501), the code is INVALID_REQUEST and the status says the rest.
"""

import json
from collections.abc import Mapping
from typing import Any

from core_service.errors import CoreError, Family, FieldViolation, invalid_request

STATUS_BY_FAMILY: Mapping[Family, int] = {
    Family.INVALID_ARGUMENT: 400,
    Family.UNAUTHENTICATED: 401,
    Family.PERMISSION_DENIED: 403,
    Family.NOT_FOUND: 404,
    Family.CONFLICT: 409,
    Family.UNPROCESSABLE: 422,
    Family.RATE_LIMITED: 429,
    Family.PROVIDER_FAILURE: 500,
    Family.UNAVAILABLE: 503,
    Family.INTERNAL: 500,
}

DEFAULT_RETRY_AFTER_SECONDS = 1


class EdgeRefusal(Exception):
    """A refusal by the edge itself whose status has no family, such as 405 or 413."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        super().__init__(message)


def body_too_large(limit_bytes: int) -> EdgeRefusal:
    """413."""
    return EdgeRefusal(413, "BODY_TOO_LARGE", f"The body may have at most {limit_bytes} bytes.")


def method_not_allowed() -> EdgeRefusal:
    """405; the `Allow` header is the caller's business."""
    return EdgeRefusal(
        405,
        "INVALID_REQUEST",
        "This path does not take that method.",
        [{"field": "method", "reason": "not allowed for this path"}],
    )


def unsupported_transfer_coding() -> EdgeRefusal:
    """501."""
    return EdgeRefusal(
        501,
        "INVALID_REQUEST",
        "The transfer coding is not supported.",
        [{"field": "transfer-encoding", "reason": "only chunked is supported"}],
    )


def invalid_field(field: str, reason: str) -> CoreError:
    """400 INVALID_REQUEST about one field."""
    return invalid_request(FieldViolation(field, reason))


def in_wechat_words(body: bytes) -> bytes:
    """WeChat reads `code` and `message` of a refusal, so both stand beside our own `error`."""
    refusal = json.loads(body)
    refusal |= {"code": "FAIL", "message": refusal["error"]}
    return json.dumps(refusal, ensure_ascii=False, separators=(",", ":")).encode()


def error_body(error: CoreError | EdgeRefusal, request_id: str) -> tuple[int, bytes]:
    """Status and JSON bytes of an error."""
    if isinstance(error, EdgeRefusal):
        return error.status, _body(error.message, error.code, error.details)
    if error.violations:
        details: Any = [{"field": item.field, "reason": item.reason} for item in error.violations]
    else:
        details = error.details
    message = error.message
    if error.family is Family.INTERNAL:
        message = f"{CoreError('INTERNAL').message} ({request_id})"
        details = None
    return STATUS_BY_FAMILY[error.family], _body(message, error.reason, details)


def retry_after_seconds(error: CoreError | EdgeRefusal) -> int | None:
    """Value of `Retry-After`; 429 and 503 always have one."""
    if isinstance(error, EdgeRefusal):
        return None
    if error.retry_after_seconds is None and error.family in (
        Family.RATE_LIMITED,
        Family.UNAVAILABLE,
    ):
        return DEFAULT_RETRY_AFTER_SECONDS
    return error.retry_after_seconds


def _body(message: str, code: str, details: Any) -> bytes:
    document = {"error": message, "code": code, "details": details}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )
