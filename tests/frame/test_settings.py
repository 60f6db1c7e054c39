import base64
import ipaddress
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core_service.domain.signature import LARGEST_MAX_AGE_SECONDS
from core_service.settings import (
    SYSTEM_CONFIG_BOUNDS,
    SYSTEM_CONFIG_DEFAULTS,
    Environment,
    Settings,
    SettingsError,
    parse_bind,
)
from tests.core_service.rpc.certificates import Authority

KEY = base64.b64encode(b"k" * 32).decode()
TEST_TOKEN = "test-token-" + "x" * 32


def production(**changes: str) -> dict[str, str]:
    return {
        "NOVAPAY_ENV": "production",
        "NOVAPAY_PUBLIC_BASE_URL": "https://pay.example.com/",
        "NOVAPAY_DATA_ENCRYPTION_KEYS": f"k2:{KEY}",
        "NOVAPAY_GRPC_TOKEN": TEST_TOKEN,
        **changes,
    }


def problems_of(environ: dict[str, str], *, serves_grpc: bool = False) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ, serves_grpc=serves_grpc)
    return raised.value.problems


def test_development_has_the_documented_defaults(tmp_path: Path) -> None:
    settings = Settings.load({"NOVAPAY_DATA_DIR": str(tmp_path)})
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.database_url is None
    assert (settings.http_bind, settings.grpc_bind) == ("127.0.0.1:8000", "127.0.0.1:50051")
    assert settings.sandbox_bind == "127.0.0.1:8010"
    assert settings.public_base_url == "http://127.0.0.1:8000"
    assert settings.outbound_allow == (ipaddress.ip_network("127.0.0.0/8"),)
    assert settings.trusted_proxies == ()
    assert settings.system_config_defaults["CALLBACK_MAX_ATTEMPTS"] == "14"
    assert settings.admin_bootstrap is not None


def test_made_secrets_are_kept_private_and_found_again(tmp_path: Path) -> None:
    environ = {"NOVAPAY_DATA_DIR": str(tmp_path / "new")}
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(Settings.load, [environ] * 8))
    assert len({settings.grpc_token for settings in loaded}) == 1
    assert len({tuple(settings.encryption_keys.items()) for settings in loaded}) == 1
    files = sorted((tmp_path / "new").iterdir())
    assert ["encryption_keys", "grpc_token"] == [path.name for path in files]
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in files}


def test_a_kept_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    environ = {"NOVAPAY_DATA_DIR": str(tmp_path)}
    Settings.load(environ)
    (tmp_path / "grpc_token").chmod(0o644)
    assert ["chmod 600" in problem for problem in problems_of(environ)] == [True]


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    problems = problems_of(
        {
            "NOVAPAY_DATA_DIR": str(tmp_path),
            "NOVAPAY_HTTP_BIND": "8000",
            "NOVAPAY_CORE_PROCESSES": "none",
            "NOVAPAY_OUTBOUND_ALLOW": "10.0.0.0/33",
            "NOVAPAY_DATA_ENCRYPTION_KEYS": "k1:c2hvcnQ=",
            "CALLBACK_TIMEOUT_MS": "-1",
            "DATABASE_URL": "mysql://localhost/x",
            "NOVAPAY_GRPC_TLS_CERT": str(tmp_path / "missing.pem"),
        }
    )
    for name in (
        "NOVAPAY_HTTP_BIND",
        "NOVAPAY_CORE_PROCESSES",
        "NOVAPAY_OUTBOUND_ALLOW",
        "NOVAPAY_DATA_ENCRYPTION_KEYS",
        "CALLBACK_TIMEOUT_MS",
        "DATABASE_URL",
        "NOVAPAY_GRPC_TLS_CERT",
    ):
        assert any(name in problem for problem in problems), name
    assert not any("c2hvcnQ" in problem for problem in problems)


def test_production_accepts_a_complete_environment(tmp_path: Path) -> None:
    settings = Settings.load(production(NOVAPAY_DATA_DIR=str(tmp_path / "unused")))
    assert settings.public_base_url == "https://pay.example.com"
    assert dict(settings.encryption_keys) == {"k2": b"k" * 32}
    assert settings.outbound_allow == ()
    assert settings.admin_bootstrap is None
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"NOVAPAY_PUBLIC_BASE_URL": ""}, "NOVAPAY_PUBLIC_BASE_URL"),
        ({"NOVAPAY_PUBLIC_BASE_URL": "http://pay.example.com"}, "NOVAPAY_PUBLIC_BASE_URL"),
        ({"NOVAPAY_DATA_ENCRYPTION_KEYS": ""}, "NOVAPAY_DATA_ENCRYPTION_KEYS"),
        ({"NOVAPAY_SANDBOX_BIND": "127.0.0.1:8010"}, "NOVAPAY_SANDBOX_BIND"),
        ({"NOVAPAY_OUTBOUND_ALLOW": "127.0.0.0/8"}, "NOVAPAY_OUTBOUND_ALLOW"),
        ({"NOVAPAY_OUTBOUND_ALLOW": "0.0.0.0/0"}, "NOVAPAY_OUTBOUND_ALLOW"),
        ({"NOVAPAY_OUTBOUND_ALLOW": "10.0.0.0/8"}, "NOVAPAY_OUTBOUND_ALLOW"),
        ({"NOVAPAY_FAILPOINTS": "c1=kill"}, "NOVAPAY_FAILPOINTS"),
        ({"NOVAPAY_GRPC_TOKEN": "short"}, "NOVAPAY_GRPC_TOKEN"),
        ({"ADMIN_BOOTSTRAP_EMAIL": "a@example.com"}, "ADMIN_BOOTSTRAP_PASSWORD"),
        ({"NOVAPAY_FAILPOINT_DIR": "/points"}, "NOVAPAY_FAILPOINT_DIR"),
    ],
)
def test_production_refuses_development_defaults(changes: dict[str, str], named: str) -> None:
    problems = problems_of(production(**changes))
    assert [named in problem for problem in problems] == [True]


def test_secrets_can_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"k9:{KEY}\n")
    environ = production(NOVAPAY_DATA_ENCRYPTION_KEYS_FILE=str(tmp_path / "keys"))
    assert any("both set" in problem for problem in problems_of(environ))
    del environ["NOVAPAY_DATA_ENCRYPTION_KEYS"]
    assert list(Settings.load(environ).encryption_keys) == ["k9"]
    environ["NOVAPAY_GRPC_TOKEN_FILE"] = str(tmp_path / "absent")
    assert any("cannot be read" in problem for problem in problems_of(environ))


def test_printing_settings_shows_no_secret() -> None:
    text = repr(Settings.load(production(DATABASE_URL="postgresql://u:hidden@h/d")))
    assert "hidden" not in text
    assert TEST_TOKEN not in text
    assert "kkkk" not in text


def test_one_unix_socket_means_one_core(tmp_path: Path) -> None:
    environ = production(NOVAPAY_GRPC_BIND=f"unix:{tmp_path}/s")
    assert Settings.load(environ).core_processes == 1
    assert "NOVAPAY_CORE_PROCESSES" in problems_of({**environ, "NOVAPAY_CORE_PROCESSES": "2"})[0]


def test_a_socket_needs_a_directory_where_it_is_served(tmp_path: Path) -> None:
    environ = production(NOVAPAY_GRPC_BIND=f"unix:{tmp_path}/absent/s")
    assert Settings.load(environ)
    (problem,) = problems_of(environ, serves_grpc=True)
    assert problem.startswith(f"NOVAPAY_GRPC_BIND=unix:{tmp_path}/absent/s: ")
    assert f"{tmp_path}/absent" in problem.partition(": ")[2]
    assert "NOVAPAY_GRPC_BIND=unix:" in problems_of(production(NOVAPAY_GRPC_BIND="unix:"))[0]


@pytest.mark.parametrize("cores", [1, 2, 65, 130, 1000])
def test_default_processes_fit_the_cores_of_this_process_and_the_maximum(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    settings = Settings.load(production())
    assert settings.core_processes == min(cores, 64)
    assert settings.edge_processes == min(max(1, cores // 2), 64)
    assert settings.worker_processes == min(max(1, cores // 4), 64)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CALLBACK_TIMEOUT_MS", "0"),
        ("PAYMENT_EXPIRE_MINUTES", "10081"),
        ("SETTLEMENT_HOLD_DAYS", "x"),
    ],
)
def test_defaults_of_the_system_configuration_have_bounds(key: str, value: str) -> None:
    (problem,) = problems_of(production(**{key: value}))
    minimum, maximum = SYSTEM_CONFIG_BOUNDS[key]
    assert problem == f"{key}={value}: must be a whole number from {minimum} to {maximum}"


def test_the_bounds_of_the_system_configuration() -> None:
    assert SYSTEM_CONFIG_BOUNDS.keys() == SYSTEM_CONFIG_DEFAULTS.keys()
    for key, (minimum, maximum) in SYSTEM_CONFIG_BOUNDS.items():
        assert minimum <= SYSTEM_CONFIG_DEFAULTS[key] <= maximum
    assert SYSTEM_CONFIG_BOUNDS["MERCHANT_SIGNATURE_MAX_AGE_SECONDS"][1] == LARGEST_MAX_AGE_SECONDS


def tls_files(folder: Path) -> dict[str, str]:
    """Settings of mutual TLS with good files."""
    authority = Authority()
    core, service = authority.issue("core", "core"), authority.issue("service")
    contents = {
        "CERT": core.certificate,
        "KEY": core.private_key,
        "CLIENT_CA": authority.certificate,
        "CA": authority.certificate,
        "CLIENT_CERT": service.certificate,
        "CLIENT_KEY": service.private_key,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {f"NOVAPAY_GRPC_TLS_{name}": str(folder / name) for name in contents}


def test_only_who_serves_grpc_needs_the_cores_certificate(tmp_path: Path) -> None:
    files = tls_files(tmp_path)
    assert Settings.load(production(**files), serves_grpc=True).grpc_tls
    caller = {
        name: files[f"NOVAPAY_GRPC_TLS_{name}"] for name in ("CA", "CLIENT_CERT", "CLIENT_KEY")
    }
    environ = production(**{f"NOVAPAY_GRPC_TLS_{name}": path for name, path in caller.items()})
    assert Settings.load(environ).grpc_tls
    (problem,) = problems_of(environ, serves_grpc=True)
    assert "NOVAPAY_GRPC_TLS_CERT and NOVAPAY_GRPC_TLS_KEY are needed" in problem


@pytest.mark.parametrize("without", ["KEY", "CERT", "CLIENT_CERT", "CLIENT_KEY"])
def test_a_certificate_and_its_key_go_together(tmp_path: Path, without: str) -> None:
    environ = production(**tls_files(tmp_path))
    del environ[f"NOVAPAY_GRPC_TLS_{without}"]
    (problem,) = problems_of(environ)
    assert f"NOVAPAY_GRPC_TLS_{without}" in problem
    assert "go together" in problem


def test_a_core_that_asks_for_certificates_has_one_to_show(tmp_path: Path) -> None:
    environ = production(**tls_files(tmp_path))
    del environ["NOVAPAY_GRPC_TLS_CLIENT_CERT"], environ["NOVAPAY_GRPC_TLS_CLIENT_KEY"]
    assert Settings.load(environ)
    (problem,) = problems_of(environ, serves_grpc=True)
    assert "NOVAPAY_GRPC_TLS_CLIENT_CERT" in problem


@pytest.mark.parametrize("name", ["CERT", "KEY", "CLIENT_CA", "CA", "CLIENT_CERT", "CLIENT_KEY"])
def test_a_tls_file_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    environ = production(**tls_files(tmp_path))
    for content in (b"garbage", Authority().issue("stranger").private_key):
        (tmp_path / name).write_bytes(content)
        (problem,) = problems_of(environ, serves_grpc=True)
        assert problem.startswith(f"NOVAPAY_GRPC_TLS_{name}={tmp_path / name}: ")


def test_the_base_url_follows_the_bind(tmp_path: Path) -> None:
    environ = {"NOVAPAY_DATA_DIR": str(tmp_path), "NOVAPAY_HTTP_BIND": "0.0.0.0:9000"}
    assert Settings.load(environ).public_base_url == "http://127.0.0.1:9000"


def test_binds() -> None:
    assert parse_bind("[::1]:80") == ("::1", 80)
    for wrong in ("", ":80", "host", "host:", "host:99999", "host:x"):
        with pytest.raises(ValueError, match="host:port"):
            parse_bind(wrong)
