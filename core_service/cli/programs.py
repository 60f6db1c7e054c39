"""How each program of NovaPay is started, with which part of the environment, and when it is ready.

The edge and the sandbox get no secret of the core: neither its database nor its keys nor its token.
"""

import errno
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from core_service.cli.failure import CommandFailed
from core_service.metrics import FOLDER_SETTING
from core_service.settings import Settings, parse_bind
from core_service.supervisor import Program

ROOT = Path(__file__).resolve().parents[2]
PROBE_TIMEOUT_SECONDS = 2.0

_CORE_SECRETS = (
    "DATABASE_URL",
    "NOVAPAY_DATA_ENCRYPTION_KEYS",
    "NOVAPAY_GRPC_TOKEN",
    "ADMIN_BOOTSTRAP_EMAIL",
    "ADMIN_BOOTSTRAP_PASSWORD",
)


def core_programs(settings: Settings, database_url: str) -> list[Program]:
    """Each process binds the same address; the kernel spreads the connections."""
    environment = core_environment(settings, database_url)
    serving = ServingProbe(environment)
    return [
        Program(
            f"core-{number}",
            [sys.executable, "-m", "core_service", "serve"],
            environment,
            is_ready=serving,
        )
        for number in range(1, settings.core_processes + 1)
    ]


WORKER_STOP_SECONDS = 90.0
"""More than the longest callback in flight, with what its lease lasts beyond it; most end within the second."""


def worker_programs(settings: Settings, database_url: str) -> list[Program]:
    """Workers claim their work in the database, so any number of them may run."""
    environment = core_environment(settings, database_url)
    command = [sys.executable, "-m", "core_service", "work"]
    return [
        Program(f"worker-{number}", command, environment, stop_timeout_seconds=WORKER_STOP_SECONDS)
        for number in range(1, settings.worker_processes + 1)
    ]


def metrics_program(bind: str, folder: Path, environment: Mapping[str, str]) -> Program:
    """The port that adds up what this machine's processes count; with a database in its environment, the queues too."""
    return Program(
        "metrics",
        [sys.executable, "-m", "core_service.exporter", bind, str(folder)],
        # It shows what the others count and must not count among them.
        {name: value for name, value in environment.items() if name != FOLDER_SETTING},
        is_ready=lambda: accepts_connections(bind),
        stop_timeout_seconds=5,
    )


def edge_program(settings: Settings) -> Program:
    """Gunicorn, which starts the edge's processes itself."""
    return Program(
        "edge",
        edge_command(),
        edge_environment(shared_environment(settings)),
        is_ready=lambda: is_healthy(settings.http_bind, "/api/health"),
    )


def sandbox_program(settings: Settings) -> Program:
    """The simulated providers and the demo merchant."""
    return Program(
        "sandbox",
        sandbox_command(),
        without_core_secrets(shared_environment(settings)),
        # Listening is not enough: its first start makes the test keys, which takes seconds on a busy machine.
        is_ready=lambda: is_healthy(settings.sandbox_bind, "/health"),
        stop_timeout_seconds=10,
    )


def edge_command() -> list[str]:
    """Arguments of gunicorn are kept in its configuration file, where they are explained."""
    config = str(ROOT / "rest_edge" / "gunicorn.conf.py")
    return [sys.executable, "-m", "gunicorn", "-c", config, "rest_edge.front:get_front()"]


def sandbox_command() -> list[str]:
    """How the sandbox is started."""
    return [sys.executable, "-m", "sandbox"]


def core_environment(settings: Settings, database_url: str) -> dict[str, str]:
    """Environment of the core and the workers: everything, with the address of the database."""
    environment = shared_environment(settings)
    environment.pop("DATABASE_URL_FILE", None)
    environment["DATABASE_URL"] = database_url
    return environment


def shared_environment(settings: Settings) -> dict[str, str]:
    """The environment of this process with all defaults that programs must agree on filled in."""
    return {
        **source_path(os.environ),
        "NOVAPAY_DATA_DIR": str(settings.data_dir),
        "NOVAPAY_PUBLIC_BASE_URL": settings.public_base_url,
        "NOVAPAY_CORE_PROCESSES": str(settings.core_processes),
        "NOVAPAY_EDGE_PROCESSES": str(settings.edge_processes),
        "NOVAPAY_WORKER_PROCESSES": str(settings.worker_processes),
    }


def edge_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment of the edge."""
    return without_core_secrets(source_path(environment))


def without_core_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Drop what only the core and the command line may know."""
    hidden = {name for secret in _CORE_SECRETS for name in (secret, f"{secret}_FILE")}
    return {name: value for name, value in environment.items() if name not in hidden}


def source_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Make both source roots importable, whichever Python runs us."""
    roots = [str(ROOT), str(ROOT / "generated")]
    if inherited := environment.get("PYTHONPATH"):
        roots.append(inherited)
    return {**environment, "PYTHONPATH": os.pathsep.join(roots)}


class ServingProbe:
    """Asks the core's health service, in a process of its own: gRPC's threads dislike forks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._asking: subprocess.Popen[bytes] | None = None
        self._is_serving = False

    def __call__(self) -> bool:
        """Tell whether it has answered SERVING; never waits."""
        if self._is_serving:
            return True
        if self._asking is None:
            self._asking = subprocess.Popen(
                [sys.executable, "-m", "core_service.cli.probe"],
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        code = self._asking.poll()
        if code is not None:
            self._asking = None
            self._is_serving = code == 0
        return self._is_serving


def is_healthy(bind: str, path: str) -> bool:
    """Tell whether a web server on this machine answers its health check with 200."""
    host, port = _reachable(bind)
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def accepts_connections(bind: str) -> bool:
    """Tell whether somebody listens there."""
    try:
        socket.create_connection(_reachable(bind), PROBE_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def refuse_taken(addresses: Mapping[str, str]) -> None:
    """Fail in clear words when another program has one of our addresses (by setting's name)."""
    problems = []
    for name, bind in addresses.items():
        reason = _why_taken(bind)
        if reason:
            problems.append(f"{name}={bind}: {reason}")
    if problems:
        raise CommandFailed("; ".join(problems))


def _why_taken(bind: str) -> str | None:
    if bind.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as client:
            # A second server would take the path over without a word.
            if client.connect_ex(bind.removeprefix("unix:")) == 0:
                return "another program is listening there"
        return None
    host, port = parse_bind(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "another program is listening there; stop it or choose another address"
            return f"cannot listen there: {error.strerror or error}"
    return None


def _reachable(bind: str) -> tuple[str, int]:
    """Where to connect on this machine for a server that may listen on every interface."""
    host, port = parse_bind(bind)
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 (called, not bound)
