"""The leader of a Patroni cluster is killed under load: `python -m bench.leader_kill`.

Starts the cluster of `deploy/high_availability` (which says what has to be installed), NovaPay on it, and four clients
that create orders by signed requests. Then the leader's Patroni agent and its whole PostgreSQL server are killed with
SIGKILL, as when their machine is gone; once writes are answered again, the agent is started again and its server has
to come back as the synchronous standby. With `--pgbouncer` NovaPay reaches both servers through poolers only.

Prints one JSON object; exits with 1 when a write that was answered is not there afterwards.
"""

import argparse
import json
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from bench.installation import temporary_folder
from core_service.storage import servers
from deploy.high_availability.cluster import CannotStart, Cluster, Node
from tests.payer import sandbox_accounts
from tests.stack import Merchant, Stack, wait_until
from tests.stack_fixtures import open_shop

CLIENTS = 4
LOAD_SECONDS = 5.0
"""Before the kill, and after writes are answered again."""
PAUSE_SECONDS = 0.05
"""Of each client after each request; the question is what is lost, not how much goes through."""
PATIENCE_SECONDS = 180.0
ONE_OF_EACH = {f"NOVAPAY_{kind}_PROCESSES": "1" for kind in ("CORE", "WORKER", "EDGE")}


@dataclass
class Load:
    """Clients that create orders until `over`, and what they were answered."""

    merchant: Merchant
    answered: list[tuple[float, str]] = field(default_factory=list)
    """When the request was sent, by the monotonic clock, and the id of the order that was answered with 200."""
    refused: Counter[str] = field(default_factory=Counter)
    """Reason → how many requests were answered with it."""
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """One client."""
        while not self.over.wait(PAUSE_SECONDS):
            key = secrets.token_hex(12)
            body = {
                "channelCode": "alipay.page", "externalOrderId": key, "amount": "5.00", "subject": "kill"
            }  # fmt: skip
            sent_at = time.monotonic()
            answer = self.merchant.post("/api/payment-orders", body, idempotency_key=key)
            if answer.status == 200:
                self.answered.append((sent_at, answer.json["order"]["id"]))
            else:
                self.refused[answer.code or str(answer.status)] += 1

    def sent_after(self, moment: float) -> bool:
        """Whether a request that was sent later than `moment` was answered with 200."""
        return any(sent_at > moment for sent_at, _ in self.answered[-CLIENTS:])


def rehearse(cluster: Cluster, stack: Stack) -> dict[str, Any]:
    """Load, kill, and what came of it."""
    load = Load(open_shop(stack, sandbox_accounts(stack))[0])
    with ThreadPoolExecutor(CLIENTS) as clients:
        running = [clients.submit(load.run) for _ in range(CLIENTS)]
        try:
            time.sleep(LOAD_SECONDS)
            before, lost = len(load.answered), cluster.leader()
            kill(lost)
            killed_at = time.monotonic()
            again = seconds_until(lambda: load.sent_after(killed_at), killed_at)
            time.sleep(LOAD_SECONDS)
            started_at = time.monotonic()
            cluster.start_agent(lost)
            standby = seconds_until(lambda: lost.is_("sync"), started_at)
        finally:
            load.over.set()
    for client in running:
        client.result()
    return {
        "answered": len(load.answered),
        "answeredBeforeTheKill": before,
        "lost": sorted({order for _, order in load.answered} - kept(cluster)),
        "refused": dict(load.refused),
        "writesAgainAfterSeconds": again,
        "synchronousStandbyAgainAfterSeconds": standby,
    }


def kill(node: Node) -> None:
    """The agent and every process of its server, at once."""
    postmaster = psutil.Process(node.postmaster)
    for process in [node.agent, postmaster, *postmaster.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # without its postmaster it ends by itself
            process.kill()
    node.agent.wait()


def seconds_until(condition: Callable[[], bool], since: float) -> float:
    """Waits, and says how long it was since then."""
    wait_until(condition, seconds=PATIENCE_SECONDS, what="the cluster")
    return round(time.monotonic() - since, 1)


def kept(cluster: Cluster) -> set[str]:
    """Ids of all orders, as the leader of now has them."""
    with closing(servers.connect(cluster.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM payment_orders")
        return {row[0] for row in cursor.fetchall()}


def main() -> int:
    """One rehearsal."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--pgbouncer", action="store_true", help="with a PgBouncer for each node")
    with_poolers = parser.parse_args().pgbouncer
    prepared = {"NOVAPAY_PREPARED_STATEMENTS": "off"} if with_poolers else {}
    with temporary_folder() as folder:
        folder.chmod(0o711)  # the account that runs PostgreSQL for root must get through
        try:
            with Cluster(folder, with_poolers=with_poolers) as cluster:
                stack = Stack(folder, DATABASE_URL=cluster.url, **ONE_OF_EACH, **prepared).start()
                try:
                    result = rehearse(cluster, stack)
                finally:
                    stack.stop()
        except CannotStart as problem:
            print(problem, file=sys.stderr)
            return 1
    print(json.dumps(result, indent=2))
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
