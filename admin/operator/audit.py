"""The audit log: who changed what, and whether anybody changed the log."""

import json
from collections.abc import Mapping
from typing import Any

from admin import csv_file, texts
from admin.console import Family
from admin.layout.view import render
from admin.page import Page
from admin.query import ask_for_list, put_texts
from admin.visit import Reply, Visit
from novapay.config.v1 import config_service_pb2 as config

PAGE_SIZE = 50
_MOST_ON_A_PAGE = 200
"""Of the core."""


def wanted_of(visit: Visit) -> config.ListAuditRecordsRequest:
    """What the address asks for."""
    wanted = config.ListAuditRecordsRequest(page_size=PAGE_SIZE)
    put_texts(visit, wanted, "target", "actor", "action", "page_token")
    return wanted


class AuditLog(Page):
    """Newest first, by what was changed, by whom, or by what was done."""

    path = "/admin/audit-log"
    rpc = "ConfigService.ListAuditRecords"

    async def get(self, visit: Visit, **_params: str) -> Reply:
        """A page of the list."""
        answer = await ask_for_list(visit, self.rpc, wanted_of)
        return render(
            visit,
            "operator/audit.html",
            records=[(record, changes(record)) for record in answer.records],
            next_page=answer.next_page_token,
            actions=[
                (key.removeprefix("action."), visit.t(key))
                for key in texts.all_texts()
                if key.startswith("action.")
            ],
            most_rows=csv_file.MOST_ROWS,
        )


class AuditLogFile(csv_file.ListFile):
    """The same records as CSV, each with the whole of what it keeps."""

    path = "/admin/audit-log.csv"
    rpc = AuditLog.rpc
    page_size = _MOST_ON_A_PAGE
    rows = "records"
    columns = (
        "audit.sequence", "audit.at", "audit.actor", "audit.address", "audit.action", "audit.target", "audit.reason",
        "audit.before", "audit.after", "frame.request_id", "audit.hash",
    )  # fmt: skip

    def wanted(self, visit: Visit) -> config.ListAuditRecordsRequest:
        """As the list."""
        return wanted_of(visit)

    def cells(self, row: config.AuditRecord) -> list[str]:
        """A record."""
        return [
            str(row.sequence),
            csv_file.time_cell(row, "at"),
            row.actor,
            row.client_address,
            row.action,
            row.target,
            row.reason,
            row.before,
            row.after,
            row.request_id,
            row.hash,
        ]


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


FAMILY = Family("audit", "system", (AuditLog, AuditLogFile, Verification))
