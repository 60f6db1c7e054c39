"""The configuration service: runtime settings and the audit log."""

from datetime import UTC, datetime

import grpc

from core_service.application import audit_log, system_config
from core_service.rpc.interceptors import call_of
from core_service.rpc.timestamps import timestamp
from core_service.storage.audit import AuditEntry, AuditFilter
from novapay.config.v1 import config_service_pb2 as pb
from novapay.config.v1.config_service_pb2_grpc import ConfigServiceServicer

_Context = grpc.ServicerContext


class ConfigServicer(ConfigServiceServicer):
    """Turns requests into use cases and rows into answers."""

    def ListSystemConfigs(  # noqa: N802 (named by the protocol)
        self, request: pb.ListSystemConfigsRequest, context: _Context
    ) -> pb.ListSystemConfigsResponse:
        """Answer every setting."""
        return pb.ListSystemConfigsResponse(
            configs=[
                pb.SystemConfig(
                    key=entry.key,
                    value=entry.value,
                    group=entry.group,
                    label=entry.label,
                    updated_at=timestamp(entry.updated_at),
                    default_value=entry.default_value,
                    updated_by=entry.updated_by,
                    minimum=entry.minimum,
                    maximum=entry.maximum,
                )
                for entry in system_config.entries()
            ]
        )

    def UpdateSystemConfigs(  # noqa: N802 (named by the protocol)
        self, request: pb.UpdateSystemConfigsRequest, context: _Context
    ) -> pb.UpdateSystemConfigsResponse:
        """Set all of the values or none."""
        changes = [(change.key, change.value) for change in request.configs]
        updated = system_config.update(call_of(context), changes, now=datetime.now(UTC))
        return pb.UpdateSystemConfigsResponse(success=True, updated=updated)

    def ListAuditRecords(  # noqa: N802 (named by the protocol)
        self, request: pb.ListAuditRecordsRequest, context: _Context
    ) -> pb.ListAuditRecordsResponse:
        """Answer a page of audit records, newest first."""
        which = AuditFilter(
            target=request.target or None,
            actor=request.actor or None,
            action=request.action or None,
        )
        page = audit_log.newest(which, page_size=request.page_size, page_token=request.page_token)
        return pb.ListAuditRecordsResponse(
            records=[_record(entry) for entry in page.items], next_page_token=page.next_token
        )

    def VerifyAuditLog(  # noqa: N802 (named by the protocol)
        self, request: pb.VerifyAuditLogRequest, context: _Context
    ) -> pb.VerifyAuditLogResponse:
        """Answer what a walk along the chain found."""
        found = audit_log.verify(request.from_sequence or 1)
        return pb.VerifyAuditLogResponse(
            intact=found.problem is None,
            checked=found.checked,
            next_sequence=found.next_sequence or 0,
            broken_sequence=found.broken_at or 0,
            problem=found.problem or "",
            last_sequence=found.end.sequence,
            last_hash=found.end.hash.hex(),
        )


def _record(entry: AuditEntry) -> pb.AuditRecord:
    return pb.AuditRecord(
        id=entry.id,
        at=timestamp(entry.at),
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        before=entry.before,
        after=entry.after,
        client_address=entry.client_address,
        request_id=entry.request_id,
        reason=entry.reason,
        sequence=entry.sequence,
        hash=entry.hash.hex(),
    )
