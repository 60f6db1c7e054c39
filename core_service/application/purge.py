"""Deletes what is past its time: one bounded batch per call, so that no transaction is long.

Each function returns how many rows it deleted; a full batch means that there may be more.
"""

from core_service.application import system_config
from core_service.storage import callbacks as deliveries
from core_service.storage import purge
from core_service.storage.database import transact

BATCH = purge.BATCH
SIGNED_REQUEST_RETENTION_DAYS = 7


def purge_nonces() -> int:
    """Nonces that no request could repeat any more."""
    return transact(purge.delete_expired_nonces)


def purge_idempotency_keys() -> int:
    """Idempotent answers past IDEMPOTENCY_RETENTION_DAYS."""
    days = system_config.current().idempotency_retention_days
    return transact(lambda: purge.delete_old_idempotency_keys(retention_days=days))


def purge_sessions() -> int:
    """Operators' sessions that have ended."""
    return transact(purge.delete_ended_sessions)


def purge_staff_sessions() -> int:
    """Sessions of merchants' staff that have ended."""
    return transact(purge.delete_ended_staff_sessions)


def purge_signed_requests() -> int:
    """The log of signed requests past a week."""
    days = SIGNED_REQUEST_RETENTION_DAYS
    return transact(lambda: purge.delete_old_signed_requests(retention_days=days))


def purge_sign_in_failures() -> int:
    """Failed sign-ins that count no longer."""
    return transact(purge.delete_old_sign_in_failures)


def close_dead_resends() -> int:
    """Attempts of a second delivery by hand that nobody will record."""
    return transact(lambda: deliveries.close_dead_resends(limit=BATCH))
