"""The configuration service: runtime settings and the audit log."""

from datetime import UTC, datetime

import grpc

from core_service.application import audit_log, system_config
from core_service.rpc.interceptors import call_of
from core_service.rpc.timestamps import timestamp
from core_service.storage.audit import AuditEntry
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
        page = audit_log.newest(
            request.target, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListAuditRecordsResponse(
            records=[_record(entry) for entry in page.items], next_page_token=page.next_token
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
    )
