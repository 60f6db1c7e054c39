"""How far the workers' longer jobs have got. A lease makes one worker at a time work on each."""

import json
from typing import Any

from core_service.storage.database import execute, fetch_one

LEASE_SECONDS = 60


def claim(job: str) -> dict[str, Any] | None:
    """Where the job stands, for whoever may work on it now; None: somebody else does."""
    row = fetch_one(
        "INSERT INTO job_progress AS p (job, position, lease_until, updated_at) "
        "VALUES (%(job)s, '{}', now() + make_interval(secs => %(lease)s), now()) "
        "ON CONFLICT (job) DO UPDATE SET lease_until = EXCLUDED.lease_until "
        "WHERE p.lease_until IS NULL OR p.lease_until < now() RETURNING position",
        {"job": job, "lease": LEASE_SECONDS},
    )
    return None if row is None else dict(json.loads(row["position"]))


def give_back(job: str, position: dict[str, Any]) -> None:
    """Ends the lease. One that had run out costs nothing but work: the jobs count anew and never add."""
    execute(
        "UPDATE job_progress SET position = %s, lease_until = NULL, updated_at = now() WHERE job = %s",
        (json.dumps(position), job),
    )


def position_of(job: str) -> dict[str, Any]:
    """Where the job stands, for whoever only looks."""
    row = fetch_one("SELECT position FROM job_progress WHERE job = %s", (job,))
    return {} if row is None else dict(json.loads(row["position"]))
