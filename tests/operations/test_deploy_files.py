"""The files in deploy/ fit the program: commands and settings that exist, room to drain, no secret in the edge."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from core_service.cli.parser import build_parser
from core_service.cli.programs import WORKER_STOP_SECONDS
from core_service.supervisor import Program

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


def test_the_image_holds_every_package() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for folder in ("core_service", "rest_edge", "admin", "generated"):
        assert f"COPY {folder} {folder}" in text
