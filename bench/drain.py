"""A full outbox: `python -m bench.drain [COUNT=100000] [MERCHANTS=200]`. All are told, and memory stays where it was.

Fills a database with due deliveries, evenly over the merchants, and starts the workers that this machine would have.
Says on standard error how far they are, prints one JSON object, and exits with 1 when a delivery was not delivered or
arrived under another id, or when the workers' memory grew by more than a fifth after the first tenth of the run.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from bench.installation import listens, temporary_folder
from bench.processor import tree_resident_bytes
from core_service.application import merchant_cache, system_config
from core_service.cli.programs import ROOT, worker_programs
from core_service.embedded_postgres import EmbeddedPostgres
from core_service.settings import Settings
from core_service.storage import database, migrator
from core_service.storage.secret_box import SecretBox
from tests.core_service.workers.callback_steps import announce
from tests.factories import make_account, make_merchant, make_order
from tests.stack import free_port, wait_until

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
MERCHANTS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
MOST_MEMORY = 1.2
"""Over what it was at the first tenth; until then caches fill."""
LOOK_SECONDS, TELL_SECONDS = 1.0, 5.0
PATIENCE_SECONDS = 60.0
"""Without a single delivery."""
MEGABYTE = 1024 * 1024

_COPIES = """
    INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object({changed}))).*
    FROM {table} t, generate_series(1, %s) n WHERE t.{of} = %s
"""
_LEFT = "SELECT count(*) FROM deliveries WHERE status IN ('PENDING', 'PROCESSING')"
_TOLD = """
    SELECT extract(epoch FROM min(first) - began)::float8, extract(epoch FROM max(first) - began)::float8,
           extract(epoch FROM min(last) - began)::float8, extract(epoch FROM max(last) - began)::float8
    FROM (SELECT min(delivered_at) AS first, max(delivered_at) AS last FROM deliveries GROUP BY merchant_id) m,
         (SELECT min(started_at) AS began FROM delivery_attempts) a
    GROUP BY began
"""


@dataclass
class Watched:
    """What was seen while the outbox emptied."""

    done: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)
    """Delivered so far, and the workers' megabytes then."""

    def memory_at_first_tenth(self) -> float:
        """What it may not grow beyond by more than a fifth."""
        return next((megabytes for done, megabytes in self.memory if done >= COUNT / 10), 0.0)


def fill(url: str, settings: Settings, address: str) -> None:
    """The merchants, each with its share of orders that have ended and of deliveries that are due."""
    box = SecretBox(settings.encryption_keys)
    database.configure(url, max_connections=2)
    merchant_cache.configure(box, settings.public_base_url)
    with database.connection_scope():
        system_config.refresh_now()
        originals = []
        for _ in range(MERCHANTS):
            merchant = make_merchant(callback_base=address, box=box)
            account = make_account(merchant, box=box)
            originals.append(make_order(merchant, account_id=account, status="FAILED"))
            announce(originals[-1])
    database.database.close_all()
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        # Triggers would look at each row; a copy of a right one is right.
        cursor.execute("SET session_replication_role = replica; SET statement_timeout = 0")
        for number, original in enumerate(originals):
            copies = COUNT // MERCHANTS + (number < COUNT % MERCHANTS) - 1
            order = _others("id", "external_order_id")
            cursor.execute(_copies("payment_orders", order, "id"), (copies, original))
            delivery = _others("id", "order_id", "subject_id")
            cursor.execute(_copies("deliveries", delivery, "order_id"), (copies, original))
        cursor.execute("VACUUM ANALYZE")
    connection.close()


def _copies(table: str, changed: str, of: str) -> str:
    return _COPIES.format(table=table, changed=changed, of=of)


def _others(*columns: str) -> str:
    """Another id of the same form for each copy."""
    return ", ".join(f"'{one}', left(t.{one}, -6) || lpad(n::text, 6, '0')" for one in columns)


@contextmanager
def receiving(port: int, told: Path) -> Iterator[None]:
    """A merchant's endpoint that notes what it was told."""
    receiver = subprocess.Popen([sys.executable, "-m", "bench.receiver", str(port), str(told)])
    try:
        wait_until(lambda: listens(port), what="the receiver")
        yield
    finally:
        receiver.kill()
        receiver.wait()


@contextmanager
def working(settings: Settings, url: str) -> Iterator[list[int]]:
    """The workers' processes; all must end by themselves when they are told to."""
    workers = [
        subprocess.Popen(program.command, env=dict(program.environment), cwd=ROOT, stderr=log)
        for program in worker_programs(settings, url)
        for log in [(settings.data_dir / f"{program.name}.log").open("wb")]
    ]
    try:
        yield [one.pid for one in workers]
    finally:
        for one in workers:
            one.terminate()
        codes = [one.wait() for one in workers]
    assert not any(codes), f"workers ended with {codes}"


def watch(url: str, workers: list[int]) -> Watched:
    """Until all is delivered, or nothing more comes."""
    seen, began = Watched(), time.monotonic()
    moved = told = began
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        while seen.done < COUNT and time.monotonic() - moved < PATIENCE_SECONDS:
            time.sleep(LOOK_SECONDS)
            cursor.execute(_LEFT)
            ((left,),) = cursor.fetchall()
            before, seen.done = seen.done, COUNT - left
            now = time.monotonic()
            moved = now if seen.done > before else moved
            megabytes = tree_resident_bytes(workers) / MEGABYTE
            seen.memory.append((seen.done, megabytes))
            if now - told > TELL_SECONDS or seen.done == COUNT:
                told = now
                rate = seen.done / (now - began)
                sys.stderr.write(
                    f"{seen.done:>7} of {COUNT}, {rate:.0f} a second, {megabytes:.1f} MB\n"
                )
    connection.close()
    return seen


def report(url: str, told: Path, seen: Watched) -> dict[str, Any]:
    """Everything that is printed; `broken` names the bounds that did not hold.

    Seconds are counted from the first attempt. Of the merchants: when the earliest and the latest of them was told
    something for the first time, and when everything.
    """
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id || ' ' || order_id, status FROM deliveries")
        rows = dict(cursor.fetchall())
        cursor.execute(_TOLD)
        times = [round(seconds, 1) for row in cursor for seconds in row] or [0.0] * 4
    connection.close()
    first_told, all_told = times[:2], times[2:]
    lines = told.read_text().splitlines()
    undelivered = sum(status != "DELIVERED" for status in rows.values())
    strange = len(set(lines) ^ rows.keys())
    memory = {
        "first": next((megabytes for done, megabytes in seen.memory if done), 0.0),
        "at_first_tenth": seen.memory_at_first_tenth(),
        "peak": max(megabytes for _, megabytes in seen.memory),
    }
    broken = ["undelivered"] if undelivered or len(rows) != COUNT else []
    broken += ["other ids"] if strange else []
    broken += ["memory"] if memory["peak"] > MOST_MEMORY * memory["at_first_tenth"] else []
    return {
        "deliveries": len(rows), "undelivered": undelivered, "other_ids": strange,
        "repeated": len(lines) - len(set(lines)),
        "seconds": all_told[1], "rate": round(COUNT / all_told[1], 1) if all_told[1] else 0.0,
        "memory": {name: round(megabytes, 1) for name, megabytes in memory.items()},
        "merchants": {"count": MERCHANTS, "first_told": first_told, "all_told": all_told},
        "broken": broken,
    }  # fmt: skip


def main() -> int:
    """The exit status."""
    with temporary_folder() as folder:
        folder.chmod(0o711)  # the account that runs PostgreSQL for root must get through
        settings = Settings.load({"NOVAPAY_DATA_DIR": str(folder / "data")})
        told, port = folder / "told", free_port()
        with EmbeddedPostgres(folder / "database") as postgres:
            migrator.migrate(postgres.url)
            fill(postgres.url, settings, f"http://127.0.0.1:{port}/callback")
            with receiving(port, told), working(settings, postgres.url) as workers:
                seen = watch(postgres.url, workers)
            said = report(postgres.url, told, seen)
    print(json.dumps({"name": "drain", **said}))
    return 1 if said["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
