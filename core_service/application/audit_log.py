"""Reading the audit log."""

from core_service.storage import audit
from core_service.storage.audit import AuditEntry
from core_service.storage.paging import Page, page_request


def newest(
    target: str | None, *, page_size: int | None, page_token: str | None
) -> Page[AuditEntry]:
    """Records, newest first; with `target`, those about it. Raises INVALID_REQUEST."""
    wanted = page_request(page_size, page_token)
    if target and not target.isprintable():
        return Page((), "")
    return audit.newest(target or None, wanted)
