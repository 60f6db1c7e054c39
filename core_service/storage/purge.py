"""Deleting rows that nobody needs any more, a bounded batch at a time.

Each statement skips rows that are locked, so that several workers may purge at once without waiting
for each other.
"""

from core_service.storage.database import execute

BATCH = 1000


def delete_expired_nonces() -> int:
    """Nonces past the time at which their request could still be replayed."""
    return execute(
        """
        DELETE FROM nonces WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM nonces WHERE expires_at < now() LIMIT %s FOR UPDATE SKIP LOCKED))
        """,
        (BATCH,),
    )


def delete_old_idempotency_keys(*, retention_days: int) -> int:
    """Answers and crashed runs past their retention; never one that is still running."""
    return execute(
        """
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys
            WHERE created_at < now() - %s * interval '1 day'
              AND (outcome IS NOT NULL OR lease_until < now())
            LIMIT %s FOR UPDATE SKIP LOCKED))
        """,
        (retention_days, BATCH),
    )


def delete_ended_sessions() -> int:
    """Operators' sessions past their absolute limit."""
    return execute(
        """
        DELETE FROM operator_sessions WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM operator_sessions
            WHERE expires_at < now() LIMIT %s FOR UPDATE SKIP LOCKED))
        """,
        (BATCH,),
    )


def delete_ended_staff_sessions() -> int:
    """Sessions of merchants' staff past their absolute limit."""
    return execute(
        """
        DELETE FROM staff_sessions WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM staff_sessions
            WHERE expires_at < now() LIMIT %s FOR UPDATE SKIP LOCKED))
        """,
        (BATCH,),
    )


def delete_old_signed_requests(*, retention_days: int) -> int:
    """What became of signed requests, past its retention."""
    return execute(
        """
        DELETE FROM signed_requests WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM signed_requests
            WHERE at < now() - %s * interval '1 day' LIMIT %s FOR UPDATE SKIP LOCKED))
        """,
        (retention_days, BATCH),
    )


def delete_old_sign_in_failures() -> int:
    """Counts of failed sign-ins whose window is over."""
    return execute(
        """
        DELETE FROM sign_in_failures WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM sign_in_failures
            WHERE window_ends_at < now() LIMIT %s FOR UPDATE SKIP LOCKED))
        """,
        (BATCH,),
    )
