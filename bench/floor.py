"""What create cannot do without: one signature, one transaction; and what the frameworks cost when they do nothing."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from bench import load
from bench.installation import Installation, listens
from bench.processor import tree_seconds
from bench.results import Sample
from core_service.embedded_postgres import find_binaries
from core_service.storage.order_creation import WITH_KEY
from tests.notifications import ALIPAY
from tests.stack import ROOT, free_port, wait_until

SIGNATURE, TRANSACTION, RPC, ROUTE = "one signature", "one transaction", "empty RPC", "empty route"
DIGITS = 16
"""Of the 26 characters of an id: those that are random."""
_KEY = serialization.load_pem_private_key(ALIPAY["app_private_key_pkcs8"].encode(), None)


def signature(seconds: float) -> Sample:
    """RSA-2048 with SHA-256 by the parsed key, in this process."""
    assert isinstance(_KEY, rsa.RSAPrivateKey)
    count, started, used = 0, time.monotonic(), time.process_time()
    while time.monotonic() - started < seconds:
        _KEY.sign(b"x" * 700, padding.PKCS1v15(), hashes.SHA256())
        count += 1
    each = 1000 * (time.process_time() - used) / count
    return Sample(SIGNATURE, 1, count / (time.monotonic() - started), processor={"floor": each})


def transaction(installation: Installation, connections: int, seconds: float) -> Sample:
    """The statement of create by pgbench, prepared once per connection as the core does it."""
    with tempfile.TemporaryDirectory(prefix="novapay-bench-") as folder:
        script = Path(folder, "create.sql")
        script.write_text(_script(installation))
        before, started = tree_seconds([installation.postmaster]), os.times()
        done = subprocess.run(
            [
                str(find_binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared",
                f"--client={connections}", "--jobs=1", f"--time={max(2, round(seconds))}",
                f"--file={script}", installation.database_url,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ended = os.times()
    client = (ended.children_user + ended.children_system) - (
        started.children_user + started.children_system
    )
    count = int(_word_after(done.stdout, "number of transactions actually processed:"))
    assert count, "pgbench came to no transaction: this machine is too busy to measure on"
    database = tree_seconds([installation.postmaster]) - before
    return Sample(
        TRANSACTION,
        connections,
        float(_word_after(done.stdout, "tps =")),
        [float(_word_after(done.stdout, "latency average ="))],
        int(_word_after(done.stdout, "number of failed transactions:")),
        {"postgres": 1000 * database / count, "floor": 1000 * (database + client) / count},
    )


def _script(installation: Installation) -> str:
    """The core's own statement; every value is that of an order which was made before, but for what must be new."""
    row = installation.rows(
        "SELECT to_jsonb(o), o.merchant_id, k.operation, k.fingerprint, k.response, m.version "
        "FROM payment_orders o JOIN merchants m ON m.id = o.merchant_id "
        "JOIN idempotency_keys k ON k.merchant_id = o.merchant_id AND k.resource_id = o.id "
        "WHERE o.channel_code = 'alipay.page' ORDER BY o.created_at DESC LIMIT 1"
    )[0]
    order, merchant, operation, fingerprint, response, version = row
    values = {
        **{name: _literal(value) for name, value in order.items()},
        "merchant_id": _literal(merchant),
        "merchant_version": str(version),
        "operation": _literal(operation),
        "fingerprint": f"'\\x{bytes(fingerprint).hex()}'",
        "response": f"'\\x{bytes(response).hex()}'",
        "nonce_expires_at": "now() + interval '10 minutes'",
        "actor": "'merchant'",
        "request_id": "'0123456789abcdef0123456789abcdef'",
        "ask_at": "now() + interval '1 day'",  # nobody asks a provider about these
        **dict.fromkeys(
            ("external_order_id", "event_id", "nonce", "key"), "'bench_' || :number::text"
        ),
        # An id like ours: workers learn from it when the order was made.
        "id": f"'{order['id'][:-DIGITS]}' || lpad(:number::text, {DIGITS}, '0')",
    }
    sql = re.sub(r"%\((\w+)\)s", lambda match: values[match[1]], WITH_KEY.sql)
    return f"\\set number random(1, {10**DIGITS - 1})\n{sql};\n"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _word_after(text: str, label: str) -> str:
    return text.partition(label)[2].split()[0]


class Pieces:
    """An empty RPC server and an empty edge, kept running beside the installation."""

    def __init__(self, rpc_port: int, route_port: int, edge: int) -> None:
        self._rpc_port = rpc_port
        self._route_port = route_port
        self._edge = edge

    def empty_rpc(self, connections: int, seconds: float) -> Sample:
        """The hop from edge to core with nothing behind it; processor time of both ends."""
        done = subprocess.run(
            [sys.executable, "-m", "bench.empty_rpc", "call", str(self._rpc_port),
             str(connections), str(seconds)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        count, elapsed, client, server = (float(word) for word in done.stdout.split())
        return Sample(
            RPC, connections, count / elapsed,
            processor={"floor": 1000 * (client + server) / count},
        )  # fmt: skip

    def empty_route(self, connections: int, seconds: float) -> Sample:
        """A Falcon route that answers at once, under the edge's own gunicorn settings."""
        before = tree_seconds([self._edge])
        result = load.run(
            self._route_port, [load.http("/empty")] * int(25_000 * seconds),
            connections=connections, seconds=seconds, status=200, expected="{}",
        )  # fmt: skip
        used = tree_seconds([self._edge]) - before
        return Sample(
            ROUTE, connections, result.rate, result.milliseconds, result.wrong,
            {"floor": 1000 * used / max(1, result.right)}, result.first_error,
        )  # fmt: skip


@contextmanager
def pieces() -> Iterator[Pieces]:
    """Starts both."""
    rpc_port, route_port = free_port(), free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
        "NOVAPAY_HTTP_BIND": f"127.0.0.1:{route_port}",
    }
    commands = (
        [sys.executable, "-m", "bench.empty_rpc", "serve", str(rpc_port)],
        [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "bench/empty_route.py")],
    )
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        for port in (rpc_port, route_port):
            wait_until(partial(listens, port), what="the empty servers")
        yield Pieces(rpc_port, route_port, running[1].pid)
    finally:
        for process in running:
            process.terminate()
            process.wait()
