"""A core process as it is started: what it needs, what it refuses, how it ends."""

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from core_service.client import service_channel
from core_service.storage import database
from core_service.storage.secret_box import SecretBox
from novapay.access.v1 import access_service_pb2, access_service_pb2_grpc
from novapay.merchants.v1 import merchant_service_pb2, merchant_service_pb2_grpc
from tests.core_service.merchant_rows import TEST_KEYS, insert_merchant
from tests.stack import ADMIN_EMAIL, ADMIN_PASSWORD, ROOT, wait_until

TOKEN = "test-token-of-the-bootstrap-test"  # a test token


def environment(database_url: str, data_dir: Path, **settings: str) -> dict[str, str]:
    key = base64.b64encode(TEST_KEYS["test"]).decode()
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT}/generated",
        "DATABASE_URL": database_url,
        "NOVAPAY_ENV": "test",
        "NOVAPAY_DATA_DIR": str(data_dir),
        "NOVAPAY_GRPC_BIND": f"unix:{data_dir}/core.sock",
        "NOVAPAY_GRPC_TOKEN": TOKEN,
        "NOVAPAY_DATA_ENCRYPTION_KEYS": f"test:{key}",
        "ADMIN_BOOTSTRAP_EMAIL": ADMIN_EMAIL,
        "ADMIN_BOOTSTRAP_PASSWORD": ADMIN_PASSWORD,
        **settings,
    }


@contextmanager
def started(command: str, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "core_service", command],
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_serving(channel: grpc.Channel) -> bool:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=1
        )
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_k07_serves_and_ends_on_sigterm_with_status_0(database_url: str, data_dir: Path) -> None:
    variables = environment(database_url, data_dir)
    with (
        started("serve", variables) as process,
        service_channel(variables["NOVAPAY_GRPC_BIND"], TOKEN) as channel,
    ):
        wait_until(lambda: is_serving(channel), what="the core")
        merchants = merchant_service_pb2_grpc.MerchantServiceStub(channel)
        request = merchant_service_pb2.ListMerchantsRequest()
        assert not merchants.ListMerchants(request, timeout=5).merchants
        session = access_service_pb2_grpc.AccessServiceStub(channel).SignIn(
            access_service_pb2.SignInRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD),
            timeout=5,
        )
        assert session.operator.role == access_service_pb2.OPERATOR_ROLE_SUPER_ADMIN
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stderr is not None
        logged = process.stderr.read()
    assert ADMIN_PASSWORD not in logged
    assert TOKEN not in logged


def test_k07_workers_end_on_sigterm_with_status_0(database_url: str, data_dir: Path) -> None:
    with started("work", environment(database_url, data_dir)) as process:
        assert process.stderr is not None
        assert "workers_started" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_k14_a_schema_that_is_too_old(empty_database_url: str, data_dir: Path) -> None:
    variables = environment(empty_database_url, data_dir)
    assert "run `novapay migrate`" in refusal_of("serve", variables)
    assert "run `novapay migrate`" in refusal_of("work", variables)


@pytest.mark.parametrize(
    ("key_id", "complaint"),
    [("test", "'test' does not open"), ("other", "'test' is not in NOVAPAY_DATA_ENCRYPTION_KEYS")],
)
def test_k14_a_wrong_or_missing_master_key(
    make_database: Callable[[], str], data_dir: Path, box: SecretBox, key_id: str, complaint: str
) -> None:
    url = make_database()
    database.configure(url, max_connections=2)
    insert_merchant(box)
    database.database.close_all()
    wrong = base64.b64encode(b"w" * 32).decode()
    variables = environment(url, data_dir, NOVAPAY_DATA_ENCRYPTION_KEYS=f"{key_id}:{wrong}")
    assert complaint in refusal_of("serve", variables)


def test_check_config_names_every_problem(data_dir: Path) -> None:
    variables = environment("mysql://x", data_dir, NOVAPAY_ENV="nowhere")
    told = refusal_of("check-config", variables)
    assert "NOVAPAY_ENV" in told
    assert "DATABASE_URL" in told
    with started("check-config", environment("postgresql://x", data_dir)) as process:
        assert process.wait(15) == 0


def refusal_of(command: str, variables: dict[str, str]) -> str:
    """What a process says that refuses to start."""
    with started(command, variables) as process:
        _, told = process.communicate(timeout=20)
        assert process.returncode == 2
    assert "Traceback" not in told
    return told
