"""The files in deploy/ fit the program: commands and settings that exist, room to drain, no secret in the edge."""

import base64
import configparser
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core_service.cli.parser import build_parser
from core_service.cli.programs import WORKER_STOP_SECONDS
from core_service.supervisor import Program
from tests.core_service.rpc.certificates import Authority
from tests.stack import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OBJECTS: list[Any] = [
    item
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for item in yaml.safe_load_all(path.read_text())
]
PODS = {
    item["metadata"]["name"]: item["spec"]["template"]["spec"]
    for item in OBJECTS
    if item["kind"] in ("Deployment", "Job")
}
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = {name: it for name, it in COMPOSE["services"].items() if it.get("image") == "novapay"}
CORE_SECRETS = ("DATABASE_URL", "NOVAPAY_DATA_ENCRYPTION_KEYS", "NOVAPAY_GRPC_TOKEN")
_NAME = re.compile(r"\b(?:NOVAPAY_[A-Z_]+|DATABASE_URL(?:_FILE)?)\b")


def texts() -> list[Path]:
    return [path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc"]


@pytest.mark.parametrize("path", texts(), ids=lambda path: path.name)
def test_every_setting_is_documented(path: Path) -> None:
    known = (ROOT / "docs/operations.md").read_text()
    names = {name.removesuffix("_FILE") for name in _NAME.findall(path.read_text())}
    assert {name for name in names if f"`{name}`" not in known} == set()


def unit(path: Path) -> configparser.RawConfigParser:
    parsed = configparser.RawConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(path.read_text())
    return parsed


def commands() -> list[str]:
    starts = [
        line.partition("novapay ")[2]
        for path in UNITS
        for line in path.read_text().splitlines()
        if line.startswith("ExecStart")
    ]
    pods = [" ".join(pod["containers"][0]["args"]) for pod in PODS.values()]
    return [*starts, *pods, *(" ".join(service["command"]) for service in SERVICES.values())]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_exists(command: str) -> None:
    assert build_parser().parse_args(command.split()).run


def longest_stop(name: str) -> float:
    """What the supervisor of a group gives its processes before it kills them."""
    if "worker" in name:
        return WORKER_STOP_SECONDS
    return Program("", (), {}).stop_timeout_seconds


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_has_time_to_drain(path: Path) -> None:
    assert float(unit(path)["Service"]["TimeoutStopSec"]) >= longest_stop(path.stem)
    assert unit(path)["Service"]["Restart"] == "always"


def test_containers_have_time_to_drain_and_probes() -> None:
    for name, pod in PODS.items():
        if name == "novapay-migrate":
            continue
        assert pod["terminationGracePeriodSeconds"] >= longest_stop(name), name
        container = pod["containers"][0]
        assert container["livenessProbe"], name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"]["cpu"], name
        assert "readinessProbe" in container or name == "novapay-worker"
    for name, service in SERVICES.items():
        if name != "migrate":
            assert int(service["stop_grace_period"].removesuffix("s")) >= longest_stop(name), name


def test_pods_do_not_count_the_cores_of_their_node() -> None:
    numbers: dict[str, dict[str, int]] = {
        name: {
            item["name"]: int(item["value"])
            for item in pod["containers"][0]["env"]
            if item["name"].endswith("_PROCESSES")
        }
        for name, pod in PODS.items()
    }
    assert set(numbers["novapay-worker"]) == {"NOVAPAY_WORKER_PROCESSES"}
    assert set(numbers["novapay-core"]) == {"NOVAPAY_CORE_PROCESSES"}
    # The edge is told how many there are behind the address that it calls.
    replicas = next(
        item["spec"]["replicas"]
        for item in OBJECTS
        if (item["kind"], item["metadata"]["name"]) == ("Deployment", "novapay-core")
    )
    together = replicas * numbers["novapay-core"]["NOVAPAY_CORE_PROCESSES"]
    assert numbers["novapay-edge"]["NOVAPAY_CORE_PROCESSES"] == together
    assert numbers["novapay-edge"]["NOVAPAY_EDGE_PROCESSES"]


def test_the_edge_has_no_secret_of_the_core() -> None:
    pod = PODS["novapay-edge"]["containers"][0]
    names = {item["name"] for item in pod["env"]} | set(SERVICES["edge"]["environment"])
    config = next(item for item in OBJECTS if item["kind"] == "ConfigMap")["data"]
    names |= set(config)
    names |= set(_NAME.findall((DEPLOY / "systemd/common.env").read_text()))
    names |= set(_NAME.findall((DEPLOY / "systemd/novapay-edge.service").read_text()))
    assert names.isdisjoint(
        {name for secret in CORE_SECRETS for name in (secret, f"{secret}_FILE")}
    )


def test_what_containers_ask_for_is_given() -> None:
    for name, service in SERVICES.items():
        assert set(service["secrets"]) <= set(COMPOSE["secrets"]), name
        for value in service["environment"].values():
            if str(value).startswith("/run/secrets/"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, value)
    selectors = [item["spec"]["selector"] for item in OBJECTS if item["kind"] == "Service"]
    labels = [
        item["spec"]["template"]["metadata"]["labels"]
        for item in OBJECTS
        if item["kind"] == "Deployment"
    ]
    for selector in selectors:
        assert selector in labels


def environment_of(where: str) -> dict[str, str]:
    """What the file gives a core."""
    if where == "compose":
        return dict(SERVICES["core"]["environment"])
    config = next(item for item in OBJECTS if item["kind"] == "ConfigMap")["data"]
    container = PODS["novapay-core"]["containers"][0]
    return {**config, **{item["name"]: item["value"] for item in container["env"]}}


def test_core_workers_and_migrations_are_told_the_same() -> None:
    core, *others = (
        {
            item["name"]: item["value"]
            for item in PODS[f"novapay-{name}"]["containers"][0]["env"]
            if not item["name"].endswith("_PROCESSES")
        }
        for name in ("core", "worker", "migrate")
    )
    assert others == [core, core]
    assert SERVICES["core"]["environment"] == SERVICES["worker"]["environment"]
    assert SERVICES["core"]["environment"] == SERVICES["migrate"]["environment"]


def secrets_of(database_url: str) -> dict[str, bytes]:
    """As the heads of the files ask for them: the certificate names the core as the edge calls it, and no address."""
    authority, callers = Authority(), Authority()
    core, client = authority.issue("core", "core", "novapay-core"), callers.issue("core-client")
    return {
        "database_url": database_url.encode(),
        "encryption_keys": b"k1:" + base64.b64encode(b"k" * 32),
        "grpc_token": b"test-token-" + b"x" * 32,
        "core_cert": core.certificate,
        "core_key": core.private_key,
        "core_ca": authority.certificate,
        "client_ca": callers.certificate,
        "core_client_cert": client.certificate,
        "core_client_key": client.private_key,
    }


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_a_core_with_the_settings_of_the_file_becomes_ready(
    where: str, database_url: str, data_dir: Path
) -> None:
    secrets = secrets_of(database_url)
    for name, content in secrets.items():
        (data_dir / name).write_bytes(content)
    variables = {
        name: re.sub(r"^(/run)?/secrets/(.+)$", rf"{data_dir}/\2", str(value))
        for name, value in environment_of(where).items()
    }
    variables |= {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
        "NOVAPAY_DATA_DIR": str(data_dir),
        "NOVAPAY_PUBLIC_BASE_URL": "https://pay.example.com",
        "NOVAPAY_GRPC_BIND": f"0.0.0.0:{free_port()}",
        "NOVAPAY_METRICS_BIND": f"127.0.0.1:{free_port()}",
    }
    command = [sys.executable, "-m", "core_service.cli"]
    with subprocess.Popen(
        [*command, "core", "--json"],
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as core:
        try:
            assert core.stdout is not None
            assert core.stdout.readline() == '{"ready": true, "group": "core"}\n'
            probe = PODS["novapay-core"]["containers"][0]["readinessProbe"]["exec"]["command"]
            for asked in (
                [sys.executable, *probe[1:]],
                [*command, "merchants", "create", "--code", "M1", "--name", "N"],
            ):
                subprocess.run(asked, cwd=ROOT, env=variables, check=True, timeout=30)
        finally:
            core.terminate()
    assert core.returncode == 0


def test_the_image_holds_every_package() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for folder in ("core_service", "rest_edge", "admin", "generated"):
        assert f"COPY {folder} {folder}" in text


def test_the_image_starts_with_what_it_holds(tmp_path: Path) -> None:
    """With the packages of this environment in place of those that it installs."""
    for line in (DEPLOY / "Containerfile").read_text().splitlines():
        if line.startswith("COPY "):
            _, source, target = line.split()
            (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
            copy(ROOT / source, tmp_path / target)
    venv, here = tmp_path / ".venv", Path(sys.prefix)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "lib").symlink_to(here / "lib")
    shutil.copy2(here / "pyvenv.cfg", venv)
    starter = runpy.run_path(str(tmp_path / "novapay"))
    stamp = starter["stamp_of"](
        tmp_path / "requirements/run.lock", starter["source_roots"](tmp_path)
    )
    starter["stamp_path"](venv).write_text(stamp)
    started = subprocess.run(
        [tmp_path / "novapay", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr
    assert "doctor" in started.stdout


def test_units_on_one_machine_have_ports_of_their_own() -> None:
    """A file of the environment wins over the unit's own lines."""
    ports = []
    for path in UNITS:
        text = path.read_text()
        for file in re.findall(r"EnvironmentFile=/etc/novapay/(\S+)", text):
            assert "NOVAPAY_METRICS_BIND" not in (DEPLOY / "systemd" / file).read_text()
        ports += re.findall(r"^Environment=NOVAPAY_METRICS_BIND=(\S+)$", text, re.MULTILINE)
    assert len(ports) == len(set(ports)) == len(UNITS)
