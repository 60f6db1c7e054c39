"""Names of the call metadata between a caller and the core.

A merchant's credentials travel here and not in the message: they are about the caller, not about the thing asked for.
Values that a stranger chose are `-bin` (raw bytes), so that no header grammar can be broken with them.
"""

REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
"""Which trace the call is a part of, in the form of W3C Trace Context, whose HTTP header has this name too."""
CLIENT_ADDRESS = "x-novapay-client-address"
"""Textual IP address of the HTTP client; believed only from peers on this host or with a client certificate."""

SERVICE_TOKEN = "authorization"  # noqa: S105 (a name)
"""`Bearer <NOVAPAY_GRPC_TOKEN>`: an internal service."""

API_KEY = "x-novapay-key-bin"
TIMESTAMP = "x-novapay-timestamp-bin"
NONCE = "x-novapay-nonce-bin"
SIGNATURE = "x-novapay-signature-bin"
SIGNED_BODY = "x-novapay-body-bin"
"""The raw bytes of the HTTP body, which the signature covers (at most 64 KiB)."""

IDEMPOTENCY_KEY = "idempotency-key-bin"
FIELD_VIOLATIONS = "x-novapay-violations-bin"
"""Serialized google.rpc.BadRequest: what the edge could not put into the message; answered after authentication."""

REASON = "x-novapay-reason-bin"
"""Why an operator or a member of staff does what they do, UTF-8; kept in the audit record."""

SESSION_TOKEN = "x-novapay-session-bin"  # noqa: S105 (a name)
"""An operator's session token."""
STAFF_SESSION_TOKEN = "x-novapay-staff-session-bin"  # noqa: S105 (a name)
"""The session token of a member of a merchant's staff."""

PROCESS = "x-novapay-process"
"""Trailing metadata: a name of the core process that answered, as long as it runs."""

IDEMPOTENCY_STATUS = "x-novapay-idempotency-status"
"""Trailing metadata: created, replayed, conflict or in_progress."""

MAX_METADATA_BYTES = 128 * 1024
"""grpc.max_metadata_size on both sides."""
