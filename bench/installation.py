"""The installation under load: a database, `novapay up` on it, and merchants that sell through the sandbox."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from bench.processor import tree_seconds
from core_service.client import service_channel
from core_service.embedded_postgres import EmbeddedPostgres
from novapay.merchants.v1 import merchant_service_pb2 as pb
from novapay.merchants.v1.merchant_service_pb2_grpc import MerchantServiceStub
from tests.payer import sandbox_accounts
from tests.stack import Merchant, Stack, free_port, wait_until

SHOPS = 8
PROFILE: dict[str, Any] = {
    "legal_name": "Bench Ltd.",
    "contact_name": "Bench",
    "contact_email": "bench@example.com",
    "contact_phone": "+86 10 0000 0000",
    "company_registration_id": "91110000BENCH00000",
}


@dataclass
class Shop:
    """A merchant and where its Alipay account takes notifications."""

    merchant: Merchant
    notification_path: str


@dataclass
class Installation:
    """Everything that a scenario needs."""

    stack: Stack
    shops: list[Shop]
    database_url: str
    postmaster: int
    receiver_port: int
    _receiver: int

    def groups(self) -> dict[str, list[int]]:
        """Process group → the processes whose trees belong to it."""
        found = {
            name: self.stack.process_ids(name) for name in ("edge", "core", "worker", "sandbox")
        }
        return {**found, "postgres": [self.postmaster], "receiver": [self._receiver]}

    def processor_seconds(self) -> dict[str, float]:
        """What each group has used so far."""
        return {name: tree_seconds(pids) for name, pids in self.groups().items()}

    def pause_workers(self) -> None:
        """Stop the workers where they are, without work in their hands."""
        for pid in self.stack.process_ids("worker"):
            os.kill(pid, signal.SIGSTOP)

    def resume_workers(self) -> None:
        """Let the workers go on."""
        for pid in self.stack.process_ids("worker"):
            os.kill(pid, signal.SIGCONT)

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a statement answers, on a connection of its own."""
        connection = psycopg2.connect(self.database_url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@contextmanager
def installation(folder: Path, **environment: str) -> Iterator[Installation]:
    """Starts everything, yields it, and stops everything."""
    folder.chmod(0o711)  # the account that runs PostgreSQL for root must get through
    receiver_port = free_port()
    with EmbeddedPostgres(folder / "database") as postgres:
        stack = Stack(folder, DATABASE_URL=postgres.url, **environment).start()
        receiver = subprocess.Popen([sys.executable, "-m", "bench.receiver", str(receiver_port)])
        try:
            wait_until(lambda: listens(receiver_port), what="the receiver")
            yield Installation(
                stack=stack,
                shops=_open_shops(stack, f"http://127.0.0.1:{receiver_port}/callback"),
                database_url=postgres.url,
                postmaster=_postmaster(postgres.url),
                receiver_port=receiver_port,
                _receiver=receiver.pid,
            )
        finally:
            receiver.kill()
            receiver.wait()
            for pid in stack.process_ids("worker"):
                os.kill(pid, signal.SIGCONT)
            stack.stop()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """For one run."""
    with tempfile.TemporaryDirectory(prefix="novapay-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _postmaster(url: str) -> int:
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()
    assert backend is not None
    parent = int(Path(f"/proc/{backend[0]}/stat").read_text().rpartition(")")[2].split()[1])
    connection.close()
    return parent


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _open_shops(stack: Stack, callback_base: str) -> list[Shop]:
    """Approved merchants with an account and a binding for every channel, all at the same sandbox accounts."""
    configurations = sandbox_accounts(stack)
    shops = []
    with service_channel(stack.grpc_address, stack.service_token) as channel:
        stub = MerchantServiceStub(channel)
        for number in range(SHOPS):
            code = f"bench-{number}"
            stub.CreateMerchant(
                pb.CreateMerchantRequest(
                    code=code, name=code, status=pb.MERCHANT_STATUS_APPROVED, **PROFILE
                )
            )
            update = pb.UpdateMerchantRequest(id=code, callback_base=callback_base)
            update.update_mask.paths.append("callback_base")
            stub.UpdateMerchant(update)
            key = stub.CreateCredential(pb.CreateCredentialRequest(merchant_code=code))
            accounts = {}
            for channel_code, config in configurations.items():
                made = stub.CreateChannelAccount(
                    pb.CreateChannelAccountRequest(
                        merchant_code=code, channel_code=channel_code, config=json.dumps(config)
                    )
                )
                accounts[channel_code] = made.account
                binding = pb.SetBindingRequest(
                    merchant_code=code, channel_code=channel_code, enabled=True, fee_rate="0.006"
                )
                binding.update_mask.paths.extend(["enabled", "fee_rate"])
                stub.SetBinding(binding)
            alipay = accounts["alipay.page"]
            path = alipay.callback_url.removeprefix(stack.base)
            merchant = Merchant(stack.http, code, key.credential.key_id, key.secret)
            shops.append(Shop(merchant, path))
    return shops
