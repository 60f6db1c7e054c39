"""A whole core in this process, made by the bootstrap itself, on a database of the tests."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from core_service.bootstrap import running_core
from core_service.settings import Settings
from tests.core_service.merchant_rows import TEST_KEYS
from tests.core_service.rpc.running import TOKEN, channel_to


@contextmanager
def whole_core(database_url: str, data_dir: Path) -> Iterator[grpc.Channel]:
    """A channel to it; `TEST_KEYS` open its secrets, loopback may be called."""
    settings = Settings.load(
        {
            "DATABASE_URL": database_url,
            "NOVAPAY_ENV": "test",
            "NOVAPAY_DATA_DIR": str(data_dir),
            "NOVAPAY_GRPC_BIND": "127.0.0.1:0",
            "NOVAPAY_GRPC_TOKEN": TOKEN,
            "NOVAPAY_CORE_PROCESSES": "1",
            "NOVAPAY_OUTBOUND_ALLOW": "127.0.0.0/8",
            "NOVAPAY_DATA_ENCRYPTION_KEYS": f"test:{base64.b64encode(TEST_KEYS['test']).decode()}",
        }
    )
    with running_core(settings, database_url) as server, channel_to(server) as channel:
        yield channel
