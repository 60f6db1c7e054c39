import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg2
import pytest

from core_service.cli import main, programs
from core_service.cli.failure import CommandFailed
from core_service.cli.parser import build_parser
from core_service.cli.programs import edge_environment, refuse_taken
from core_service.errors import CoreError
from core_service.rpc.error_details import status_of
from core_service.settings import Settings
from core_service.storage import database, sealed_places
from core_service.storage.secret_box import SecretBox
from novapay.access.v1 import access_service_pb2 as access
from novapay.access.v1 import access_service_pb2_grpc as access_grpc
from novapay.merchants.v1 import merchant_service_pb2 as merchants
from novapay.merchants.v1 import merchant_service_pb2_grpc as merchants_grpc
from sandbox.server import SandboxServer
from tests.core_service.rpc.certificates import Authority
from tests.factories import make_account, make_merchant
from tests.frame.test_settings import production

ROOT = Path(__file__).parents[2]

COMMANDS = [
    ["up"],
    ["core"],
    ["edge"],
    ["worker"],
    ["sandbox"],
    ["migrate"],
    ["doctor"],
    ["demo"],
    ["routes"],
    ["merchants"],
    ["merchants", "create"],
    ["merchants", "set"],
    ["credentials"],
    ["credentials", "create"],
    ["accounts"],
    ["accounts", "create"],
    ["bindings"],
    ["bindings", "set"],
    ["admins"],
    ["admins", "create"],
]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*command, "--help"])
    assert ended.value.code == 0
    assert " ".join(["usage: novapay", *command]) in capsys.readouterr().out


def novapay(data_dir: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "core_service.cli", *arguments],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            "NOVAPAY_DATA_DIR": str(data_dir),
            **environ,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_migrate_brings_its_own_database(data_dir: Path) -> None:
    check = novapay(data_dir, "migrate", "--check", "--json")
    assert check.returncode == 1
    names = json.loads(check.stdout)["pending"]
    assert names[0] == "0001_initial"
    assert json.loads(novapay(data_dir, "migrate", "--json").stdout) == {"applied": names}
    again = novapay(data_dir, "migrate", "--check", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, {"pending": []})


def test_core_refuses_a_schema_that_lacks_migrations(
    empty_database_url: str, data_dir: Path
) -> None:
    environ = {"DATABASE_URL": empty_database_url, "NOVAPAY_GRPC_BIND": "127.0.0.1:0"}
    started = novapay(data_dir, "core", **environ)
    assert started.returncode == 1
    assert "run `novapay migrate` first" in started.stderr


def test_doctor_finds_an_installation_well(database_url: str, data_dir: Path) -> None:
    done = novapay(data_dir, "doctor", "--json", DATABASE_URL=database_url)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"]) == (0, True)
    checks = ["settings", "database", "clock", "schema", "keys", "accounts"]
    assert checks == [check["check"] for check in answer["checks"]]


def test_doctor_names_every_wrong_setting(data_dir: Path) -> None:
    done = novapay(data_dir, "doctor", "--json", NOVAPAY_ENV="production", NOVAPAY_HTTP_BIND="x")
    wrong = [check["found"] for check in json.loads(done.stdout)["checks"] if not check["ok"]]
    assert done.returncode == 1
    for name in ("NOVAPAY_HTTP_BIND", "NOVAPAY_DATA_ENCRYPTION_KEYS", "NOVAPAY_PUBLIC_BASE_URL"):
        assert any(name in found for found in wrong), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CALLBACK_TIMEOUT_MS", "0"),
        ("NOVAPAY_GRPC_BIND", "unix:/nonexistent/dir/s"),
        ("NOVAPAY_GRPC_TLS_CERT", "garbage.pem"),
    ],
)
def test_doctor_and_core_name_a_setting_with_which_the_core_does_not_start(
    database_url: str, data_dir: Path, name: str, value: str
) -> None:
    environ = {"DATABASE_URL": database_url, "NOVAPAY_GRPC_BIND": "127.0.0.1:0", name: value}
    if name == "NOVAPAY_GRPC_TLS_CERT":
        environ[name] = value = str(data_dir / value)
        environ["NOVAPAY_GRPC_TLS_KEY"] = str(data_dir / "key.pem")
        (data_dir / "garbage.pem").write_text("garbage")
        (data_dir / "key.pem").write_bytes(Authority().issue("core").private_key)
    done = novapay(data_dir, "doctor", **environ)
    assert done.returncode == 1
    assert f"WRONG settings: {name}={value}: " in done.stdout
    done = novapay(data_dir, "core", **environ)
    assert done.returncode == 1
    assert f"{name}={value}: " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOVAPAY_HTTP_BIND", "8000"),
        ("NOVAPAY_HTTP_BIND", "127.0.0.1:99999"),
        ("NOVAPAY_METRICS_BIND", "x"),
        ("NOVAPAY_GRPC_BIND", "foo"),
    ],
)
def test_the_edge_names_a_wrong_setting_in_one_line(data_dir: Path, name: str, value: str) -> None:
    done = novapay(data_dir, "edge", **{name: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"novapay: {name}={value}: must be ")


def test_up_names_what_only_the_edge_needs(data_dir: Path) -> None:
    """Before anything is started: it would end over and over."""
    identity = Authority().issue("core")
    (data_dir / "cert.pem").write_bytes(identity.certificate)
    (data_dir / "key.pem").write_bytes(identity.private_key)
    environ = {
        "NOVAPAY_GRPC_TLS_CERT": str(data_dir / "cert.pem"),
        "NOVAPAY_GRPC_TLS_KEY": str(data_dir / "key.pem"),
    }
    done = novapay(data_dir, "up", **environ)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("novapay: NOVAPAY_GRPC_TLS_CA is needed")


def test_doctor_says_when_the_database_is_away(data_dir: Path) -> None:
    done = novapay(data_dir, "doctor", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert done.returncode == 1
    assert "WRONG database" in done.stdout


def test_doctor_names_what_no_key_opens_and_accounts_that_cannot_work(
    database_url: str, data_dir: Path
) -> None:
    """One merchant whose secret was sealed by a lost key, and an account without its keys."""
    kept = SecretBox({"k1": b"k" * 32})
    lost = SecretBox({"lost": b"l" * 32})
    config = b'{"config": {"appId": "2021000000000000"}, "callbackToken": "t"}'
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO merchants (id, code, name, status, notify_secret_sealed,"
            " notify_secret_mask, created_at, updated_at)"
            " VALUES ('mch_1', 'M1', 'N', 'APPROVED', %s, '', now(), now())",
            [lost.seal(b"secret", sealed_places.notify_secret("mch_1"))],
        )
        cursor.execute(
            "INSERT INTO channel_accounts (id, merchant_id, channel_code, display_name, enabled,"
            " config_sealed, config_masked, created_at, updated_at)"
            " VALUES ('acc_1', 'mch_1', 'alipay.page', '', true, %s, '{}', now(), now())",
            [kept.seal(config, sealed_places.account_config("mch_1", "acc_1"))],
        )
    connection.close()
    keys = f"k1:{base64.b64encode(b'k' * 32).decode()}"
    environ = {"DATABASE_URL": database_url, "NOVAPAY_DATA_ENCRYPTION_KEYS": keys}
    done = novapay(data_dir, "doctor", "--json", **environ)
    wrong = {c["check"]: c["found"] for c in json.loads(done.stdout)["checks"] if not c["ok"]}
    assert (done.returncode, set(wrong)) == (1, {"keys", "accounts"})
    assert "merchants mch_1" in wrong["keys"]
    assert "'lost'" in wrong["keys"]
    assert "M1 alipay.page acc_1" in wrong["accounts"]
    assert "privateKey" in wrong["accounts"]


def test_doctor_asks_the_provider_and_warns_of_what_ends(
    database_url: str, data_dir: Path, tmp_path: Path
) -> None:
    """A good account of the sandbox behind an edge that is not running, then the same with a stranger's key."""
    box = SecretBox({"k1": b"k" * 32})
    keys = f"k1:{base64.b64encode(b'k' * 32).decode()}"
    with SandboxServer(tmp_path / "sandbox") as sandbox:
        listing = sandbox.get("/control/accounts")["accounts"]
        config = next(one["config"] for one in listing if one["channel"] == "alipay.page")
        database.configure(database_url, max_connections=2)
        with database.connection_scope():
            merchant = make_merchant(box=box)
            account = make_account(merchant, config=config, box=box)
        database.database.close_all()
        environ = {
            "DATABASE_URL": database_url,
            "NOVAPAY_DATA_ENCRYPTION_KEYS": keys,
            "NOVAPAY_PUBLIC_BASE_URL": "http://127.0.0.1:1",
        }
        done = novapay(data_dir, "doctor", **environ)
        assert done.returncode == 0, done.stdout
        assert "ok    accounts: 1 provider accounts are usable" in done.stdout
        assert "warn  account warnings" in done.stdout
        assert f"{merchant.code} alipay.page {account}: CALLBACK_UNREACHABLE" in done.stdout
        sandbox.control(
            "scenarios", scenario="bad_signature_answer", match={"operation": "query"}, times=None
        )
        database.configure(database_url, max_connections=2)
        with database.connection_scope():
            database.execute("UPDATE channel_account_checks SET checked_at = '2020-01-01Z'")
        database.database.close_all()
        done = novapay(data_dir, "doctor", "--json", **environ)
    (wrong,) = (check for check in json.loads(done.stdout)["checks"] if not check["ok"])
    assert (done.returncode, wrong["check"]) == (1, "accounts")
    assert "ANSWER_NOT_TRUSTED" in wrong["found"]
    assert "public key" in wrong["remedy"]


def test_the_sandbox_has_no_place_in_production(data_dir: Path) -> None:
    assert novapay(data_dir, "sandbox", NOVAPAY_ENV="production").returncode == 1


def test_nobody_else_chooses_a_members_password_in_production(data_dir: Path) -> None:
    arguments = ("staff", "create", "--merchant", "demo", "--email", "a@b.example", "--password")
    done = novapay(data_dir, *arguments, **production())
    assert done.returncode == 1
    assert "chosen by its owner" in done.stderr


def test_a_taken_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CommandFailed, match=f"NOVAPAY_HTTP_BIND={bind}: another program"):
            refuse_taken({"NOVAPAY_HTTP_BIND": bind})


def test_a_taken_unix_socket_is_named(data_dir: Path) -> None:
    path = data_dir / "core.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(CommandFailed, match="NOVAPAY_GRPC_BIND"):
            refuse_taken({"NOVAPAY_GRPC_BIND": f"unix:{path}"})
    refuse_taken({"NOVAPAY_GRPC_BIND": f"unix:{path}"})  # left behind by a dead server


def test_a_sandbox_that_listens_without_answering_is_not_ready(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bind = f"127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings.load({"NOVAPAY_DATA_DIR": str(data_dir), "NOVAPAY_SANDBOX_BIND": bind})
        monkeypatch.setattr(programs, "PROBE_TIMEOUT_SECONDS", 0.2)
        is_ready = programs.sandbox_program(settings).is_ready
        assert is_ready is not None
        assert not is_ready()


def test_the_edge_gets_no_secret_of_the_core() -> None:
    secret = {
        "DATABASE_URL": "x",
        "NOVAPAY_GRPC_TOKEN_FILE": "x",
        "NOVAPAY_DATA_ENCRYPTION_KEYS": "x",
        "ADMIN_BOOTSTRAP_PASSWORD": "x",
    }
    environment = edge_environment({**secret, "NOVAPAY_HTTP_BIND": "127.0.0.1:1"})
    assert environment["NOVAPAY_HTTP_BIND"] == "127.0.0.1:1"
    assert not secret.keys() & environment.keys()


class RecordingMerchants(merchants_grpc.MerchantServiceServicer):
    """A core of its own kind: remembers what it was asked, and by whom."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.tokens: set[str | bytes] = set()

    def _remember(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        self.tokens.add(dict(context.invocation_metadata())["authorization"])

    def CreateMerchant(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._remember(request, context)
        if request.code == "TAKEN":
            context.abort_with_status(status_of_refusal("MERCHANT_CODE_TAKEN"))
        merchant = merchants.Merchant(id="mch_1", code=request.code, status=request.status)
        return merchants.CreateMerchantResponse(merchant=merchant)

    def UpdateMerchant(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._remember(request, context)
        merchant = merchants.Merchant(id="mch_1", code=request.id, status=request.status)
        merchant.created_at.FromJsonString("2026-01-02T03:04:05.678Z")
        return merchants.UpdateMerchantResponse(merchant=merchant)

    def CreateCredential(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._remember(request, context)
        credential = merchants.Credential(key_id="npk_1")
        return merchants.CreateCredentialResponse(credential=credential, secret="nps_1")

    def CreateChannelAccount(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Any:
        self._remember(request, context)
        account = merchants.ChannelAccount(id="acc_1", callback_token="t", callback_url="http://x")
        return merchants.CreateChannelAccountResponse(account=account)

    def SetBinding(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._remember(request, context)
        binding = merchants.Binding(id="bnd_1", enabled=request.enabled, fee_rate="0.0060")
        return merchants.SetBindingResponse(binding=binding)


class RecordingAccess(access_grpc.AccessServiceServicer):
    def __init__(self) -> None:
        self.requests: list[Any] = []

    def CreateOperator(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        del context
        self.requests.append(request)
        operator = access.Operator(id="op_1", email=request.email, role=request.role)
        return access.CreateOperatorResponse(operator=operator)


def status_of_refusal(reason: str) -> Any:
    from grpc_status import rpc_status

    return rpc_status.to_status(status_of(CoreError(reason)))


@contextmanager
def serving(
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[tuple[int, RecordingMerchants, RecordingAccess]]:
    """A core of its own kind on a port of loopback."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    # The stubs want every RPC; the ones that no command uses are left out.
    merchant_service = RecordingMerchants()  # type: ignore[abstract]
    access_service = RecordingAccess()  # type: ignore[abstract]
    merchants_grpc.add_MerchantServiceServicer_to_server(merchant_service, server)
    access_grpc.add_AccessServiceServicer_to_server(access_service, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield port, merchant_service, access_service
    server.stop(None).wait()


@pytest.fixture
def core(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[RecordingMerchants, RecordingAccess]]:
    with serving() as (port, merchant_service, access_service):
        monkeypatch.setenv("NOVAPAY_DATA_DIR", str(data_dir))
        monkeypatch.setenv("NOVAPAY_GRPC_BIND", f"127.0.0.1:{port}")
        monkeypatch.setenv("NOVAPAY_GRPC_TOKEN", "test-token")
        yield merchant_service, access_service


Core = tuple[RecordingMerchants, RecordingAccess]


def answer_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_merchants_create(core: Core, capsys: pytest.CaptureFixture[str]) -> None:
    answer = answer_of(capsys, "merchants", "create", "--code", "M1", "--name", "N", "--approve")
    assert answer == {"id": "mch_1", "code": "M1", "status": "APPROVED"}
    approved = core[0].requests[0]
    assert approved.legal_name
    assert approved.contact_email
    answer = answer_of(capsys, "merchants", "create", "--code", "M2", "--name", "N")
    assert answer["status"] == "PENDING"
    assert not core[0].requests[1].HasField("legal_name")
    assert core[0].tokens == {"Bearer test-token"}


def test_merchants_set_changes_only_what_is_given(
    core: Core, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = ["merchants", "set", "--code", "M1", "--status", "suspended", "--ip-allowlist", ""]
    answer = answer_of(capsys, *arguments)
    assert (answer["status"], answer["createdAt"]) == ("SUSPENDED", "2026-01-02T03:04:05.678Z")
    assert answer["callbackBase"] is None
    assert list(core[0].requests[0].update_mask.paths) == ["status", "api_ip_whitelist"]
    (tmp_path / "secret").write_text("signing-secret\n")
    with (tmp_path / "secret").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        answer_of(capsys, "merchants", "set", "--code", "M1", "--notify-secret")
    assert core[0].requests[1].notify_secret == "signing-secret"


def test_credentials_accounts_and_bindings(
    core: Core, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = answer_of(capsys, "credentials", "create", "--merchant", "M1")
    assert made == {"keyId": "npk_1", "secret": "nps_1"}
    config = tmp_path / "config.json"
    config.write_text('{"appId": "1"}')
    channel = ["--merchant", "M1", "--channel", "alipay.page"]
    made = answer_of(capsys, "accounts", "create", *channel, "--config", str(config))
    assert made == {"id": "acc_1", "callbackToken": "t", "callbackUrl": "http://x"}
    made = answer_of(capsys, "bindings", "set", *channel, "--fee-rate", "0.006", "--disable")
    assert (made["feeRate"], made["enabled"], made["minAmount"]) == ("0.0060", False, None)
    assert list(core[0].requests[-1].update_mask.paths) == ["enabled", "fee_rate"]


def test_admins_create_reads_the_password_from_standard_input(
    core: Core, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("correct horse battery\n")
    with (tmp_path / "password").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        arguments = ["admins", "create", "--email", "a@example.com", "--role", "viewer"]
        made = answer_of(capsys, *arguments)
    assert made["role"] == "VIEWER"
    assert core[1].requests[0].password == "correct horse battery"


def test_a_machine_without_the_cores_certificate_calls_it(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the authority of that certificate and one to show, nothing else."""
    authority = Authority()
    core, service = authority.issue("core"), authority.issue("service")
    credentials = grpc.ssl_server_credentials(
        [(core.private_key, core.certificate)], authority.certificate, require_client_auth=True
    )
    files = {
        "CA": authority.certificate,
        "CLIENT_CERT": service.certificate,
        "CLIENT_KEY": service.private_key,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        monkeypatch.setenv(f"NOVAPAY_GRPC_TLS_{name}", str(tmp_path / name))
    with serving(credentials) as (port, asked, _):
        monkeypatch.setenv("NOVAPAY_DATA_DIR", str(data_dir))
        monkeypatch.setenv("NOVAPAY_GRPC_BIND", f"127.0.0.1:{port}")
        monkeypatch.setenv("NOVAPAY_GRPC_TOKEN", "test-token")
        assert main(["credentials", "create", "--merchant", "M1"]) == 0
    assert asked.tokens == {"Bearer test-token"}


def test_a_core_on_this_machine_is_called_by_its_certificates_name(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate names no address, and only who has it may leave the address unchecked."""
    authority = Authority()
    core = authority.issue("core", "*.core.test", "core")
    credentials = grpc.ssl_server_credentials([(core.private_key, core.certificate)])
    files = {"CA": authority.certificate, "CERT": core.certificate, "KEY": core.private_key}
    monkeypatch.setenv("NOVAPAY_DATA_DIR", str(data_dir))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        monkeypatch.setenv(f"NOVAPAY_GRPC_TLS_{name}", str(tmp_path / name))
    with serving(credentials) as (port, _, _):
        command = ["credentials", "create", "--merchant", "M1"]
        monkeypatch.setenv("NOVAPAY_GRPC_BIND", f"0.0.0.0:{port}")
        assert main(command) == 0
        monkeypatch.delenv("NOVAPAY_GRPC_TLS_KEY")
        monkeypatch.delenv("NOVAPAY_GRPC_TLS_CERT")
        assert main(command) == 1


def test_a_refusal_of_the_core_is_told(core: Core, capsys: pytest.CaptureFixture[str]) -> None:
    del core
    assert main(["merchants", "create", "--code", "TAKEN", "--name", "N", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["code"] == "MERCHANT_CODE_TAKEN"
    assert "MERCHANT_CODE_TAKEN" in printed.err


def test_a_core_that_is_away_is_told(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOVAPAY_DATA_DIR", str(data_dir))
    monkeypatch.setenv("NOVAPAY_GRPC_BIND", "127.0.0.1:1")
    assert main(["credentials", "create", "--merchant", "M1"]) == 1
    assert "no core answers at 127.0.0.1:1" in capsys.readouterr().err
