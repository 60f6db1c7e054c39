"""What a person should look at, and putting it away."""

from datetime import datetime

from core_service.calls import Call
from core_service.errors import CoreError
from core_service.storage import anomalies, audit
from core_service.storage.anomalies import AnomalyRow
from core_service.storage.database import transact


def resolve(call: Call, anomaly_id: str, note: str, *, now: datetime) -> AnomalyRow:
    """Puts an anomaly away with a note of what was done. Raises NOT_FOUND, ANOMALY_RESOLVED."""

    def work() -> AnomalyRow:
        anomaly = anomalies.find(anomaly_id)
        if anomaly is None:
            raise CoreError("NOT_FOUND")
        call.ensure_sees(anomaly.merchant_id, "NOT_FOUND")
        if not anomalies.resolve(anomaly, who=audit.who(call), note=note, now=now):
            raise CoreError("ANOMALY_RESOLVED")
        audit.record(
            call,
            action="anomaly.resolve",
            target=anomaly.id,
            before={"kind": anomaly.kind, "order": anomaly.order_id},
            after={"note": note},
        )
        resolved = anomalies.find(anomaly_id)
        assert resolved is not None
        return resolved

    return transact(work)
