"""The audit log: who changed what, and whether anybody changed the log."""

import json
from collections.abc import Mapping
from typing import Any

from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.visit import Reply, Visit
from novapay.config.v1 import config_service_pb2 as config

PAGE_SIZE = 50
_FILTERS = ("target", "actor", "action")


class AuditLog(Page):
    """Newest first, by what was changed, by whom, or by what was done."""

    path = "/admin/audit-log"
    rpc = "ConfigService.ListAuditRecords"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of the list."""
        wanted = {name: visit.query.get(name, "").strip() or None for name in _FILTERS}
        request = config.ListAuditRecordsRequest(
            page_size=PAGE_SIZE, page_token=visit.query.get("page_token") or None, **wanted
        )
        answer = await visit.call(self.rpc, request)
        return render(
            visit,
            "operator/audit.html",
            records=[(record, changes(record)) for record in answer.records],
            next_page=answer.next_page_token,
        )


class Verification(Page):
    """Walks the chain of hashes, a stretch with each request; the page asks for the next one by itself."""

    path = "/admin/audit-log/verification"
    rpc = "ConfigService.VerifyAuditLog"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """What was found so far."""
        first = int(visit.query.get("from", "1")[:18]) if _is_number(visit.query, "from") else 1
        before = int(visit.query["checked"][:18]) if _is_number(visit.query, "checked") else 0
        found = await visit.call(self.rpc, config.VerifyAuditLogRequest(from_sequence=first or 1))
        checked = before + found.checked
        more = visit.here(**{"from": str(found.next_sequence), "checked": str(checked)})
        return render(
            visit, "operator/audit_verification.html", found=found, checked=checked, more=more
        )


def changes(record: config.AuditRecord) -> list[tuple[str, str | None, str | None]]:
    """Field, value before, value after: what a record says that was changed."""
    before, after = (_fields(text) for text in (record.before, record.after))
    return [
        (name, _shown(before, name), _shown(after, name))
        for name in dict.fromkeys([*before, *after])
    ]


def _fields(text: str) -> dict[str, Any]:
    value = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {"": value}


def _shown(fields: dict[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_number(query: Mapping[str, str], name: str) -> bool:
    text = query.get(name, "")
    return text.isascii() and text.isdigit()


FAMILY = Family("audit", "system", (AuditLog, Verification))
