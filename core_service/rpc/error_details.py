"""`CoreError` as google.rpc.Status on the wire.

Canonical code of the family, ErrorInfo, and BadRequest or RetryInfo where they say more. The way
back is `client.core_error_of`.
"""

import json
from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from core_service.errors import CoreError, Family

DOMAIN = "novapay"

_CODES: Mapping[Family, int] = {
    Family.INVALID_ARGUMENT: code_pb2.INVALID_ARGUMENT,
    Family.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
    Family.PERMISSION_DENIED: code_pb2.PERMISSION_DENIED,
    Family.NOT_FOUND: code_pb2.NOT_FOUND,
    Family.CONFLICT: code_pb2.ABORTED,
    Family.UNPROCESSABLE: code_pb2.FAILED_PRECONDITION,
    Family.RATE_LIMITED: code_pb2.RESOURCE_EXHAUSTED,
    # Not UNAVAILABLE: a client library would send it again by itself.
    Family.PROVIDER_FAILURE: code_pb2.UNKNOWN,
    Family.UNAVAILABLE: code_pb2.UNAVAILABLE,
    Family.INTERNAL: code_pb2.INTERNAL,
}


def status_of(error: CoreError) -> status_pb2.Status:
    """The same error always gives the same bytes, so that a stored refusal can be replayed."""
    status = status_pb2.Status(code=_CODES[error.family], message=error.message)
    facts = {"family": str(error.family)}
    if error.details is not None:
        facts["details"] = json.dumps(error.details, ensure_ascii=False, separators=(",", ":"))
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts),
        deterministic=True,
    )
    if error.violations:
        status.details.add().Pack(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.reason
                    )
                    for violation in error.violations
                ]
            )
        )
    if error.retry_after_seconds is not None:
        status.details.add().Pack(
            error_details_pb2.RetryInfo(retry_delay=Duration(seconds=error.retry_after_seconds))
        )
    return status
